"""A run as one page of HTML, and runs side by side, from the files of run folders. No TensorFlow."""
