"""The latent explorer: a web page in which a trained encoder and decoder run in the browser."""
