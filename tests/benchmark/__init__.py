"""Side-by-side timings of probvae and its peers: `python tests/benchmark --help`."""
