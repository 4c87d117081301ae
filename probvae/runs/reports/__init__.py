"""A run as one page of HTML, and runs side by side. No TensorFlow."""
