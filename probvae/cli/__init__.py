"""The commands. They load TensorFlow only when they begin to work, so that --help is quick."""
