"""Products of large float32 matrices: the machine's rate, to hold the others to."""

import numpy as np
import tensorflow as tf

from benchmark.cases import MATRIX, Case, Work


def prepare(case: Case, images: np.ndarray) -> Work:
    """Return what multiplies a number of pairs of matrices."""
    a = tf.random.stateless_normal([MATRIX, MATRIX], [0, 1])

    def multiply(number: int) -> None:
        for _ in range(number):
            product = a @ a
        product.numpy()

    return multiply
