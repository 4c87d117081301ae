"""A Python program that has TensorFlow alone."""

# The beginning of the program: probvae and what it stands on cannot be imported.
ALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("probvae", "tensorflow_probability", "tf_keras"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
"""
