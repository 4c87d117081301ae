"""HTML reports of runs and comparisons of runs. No TensorFlow."""
