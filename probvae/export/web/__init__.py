"""A web page that runs encoder and decoder in the browser."""
