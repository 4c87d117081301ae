"""Work block by block: every row once and in order, and an early stop."""

import numpy as np
import pytest
import tensorflow as tf

from probvae.inference.blocks import Stopped, compiled_in_blocks, in_blocks, padded
from probvae.inference.estimates import estimate

X = np.arange(14.0).reshape(7, 2)


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_results_are_those_of_the_whole(size):
    np.testing.assert_array_equal(in_blocks(lambda rows: X[rows] ** 2, len(X), size), X**2)
    one, draws = in_blocks(lambda rows: (X[rows, 0], np.stack([X[rows]] * 3)), len(X), size, axes=(0, 1))
    np.testing.assert_array_equal(one, X[:, 0])
    np.testing.assert_array_equal(draws, np.stack([X] * 3))


def test_no_rows_are_one_empty_block():
    assert in_blocks(lambda rows: X[:0][rows], 0, 3).shape == (0, 2)


def test_a_stop_keeps_what_is_finished():
    done = []

    def stop_past_half(fraction):
        done.append(fraction)
        if fraction > 0.5:
            raise Stopped

    finished = in_blocks(lambda rows: X[rows], len(X), 2, on_progress=stop_past_half)
    np.testing.assert_array_equal(finished, X[:4])  # the block after which it stopped is kept
    assert done == [2 / 7, 4 / 7]

    def stop_at(start):
        def work(rows):
            if rows.start == start:
                raise Stopped
            return X[rows]

        return in_blocks(work, len(X), 2)

    np.testing.assert_array_equal(stop_at(4), X[:4])  # that in which it stopped is not
    with pytest.raises(Stopped):
        stop_at(0)


def test_the_last_row_fills_a_block_up():
    np.testing.assert_array_equal(padded(X[5:], 4), X[[5, 6, 6, 6]])
    np.testing.assert_array_equal(padded(X, 7), X)


def test_error_of_a_mean():
    assert estimate(np.array([1.0, 2.0, 6.0])) == (3.0, pytest.approx(np.sqrt(7 / 3)))
    value, error = estimate(np.array([2.0]))
    assert value == 2 and np.isnan(error)


def test_compiled_blocks_keep_every_row_in_its_place():
    """Seven rows in blocks of three: the rows that fill up the last block are dropped."""
    blocks = []
    found = compiled_in_blocks(
        lambda x, seed: (2 * x, tf.fill(tf.shape(x), seed[1])),
        [np.arange(7)],
        seed=0,
        batch_size=3,
        on_progress=blocks.append,
    )
    np.testing.assert_array_equal(found[0], 2 * np.arange(7))
    np.testing.assert_array_equal(found[1], np.arange(7) // 3)  # the second number of a seed: the block's
    np.testing.assert_allclose(blocks, [3 / 7, 6 / 7, 1])
