"""Side-by-side timings of probvae and its peers; `probvae-benchmark` runs them."""
