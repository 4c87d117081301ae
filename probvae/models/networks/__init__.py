"""The networks of encoders and decoders, as lists of Keras layers without distributions."""
