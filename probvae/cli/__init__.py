"""The commands: thin, and quick to answer --help because they load TensorFlow only to work."""
