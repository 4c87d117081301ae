"""A web page that runs the encoder and the decoder itself."""
