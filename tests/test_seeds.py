import numpy as np
import pytest
import tensorflow as tf

from probvae.seeds import as_seed, fold_in, split


@pytest.mark.parametrize("seed", [0, 3, 2**31 - 1, 2**40 + 5, -1])
def test_int_seeds_are_stateless(seed):
    first, second = (tf.random.stateless_normal([3], as_seed(seed)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_different_ints_give_different_seeds():
    seeds = {tuple(as_seed(s).numpy()) for s in [0, 1, 2**31, 2**31 + 1, -1]}
    assert len(seeds) == 5


def test_pairs_pass_and_other_shapes_are_refused():
    np.testing.assert_array_equal(as_seed((4, 5)), [4, 5])
    np.testing.assert_array_equal(as_seed(tf.constant(7)), as_seed(7))
    with pytest.raises(ValueError, match=r"shape \[2\]; got a tensor of shape \(3,\)"):
        as_seed([1, 2, 3])


def test_none_is_fresh_every_time():
    assert not np.array_equal(as_seed(None), as_seed(None))


def test_derived_seeds_differ_and_repeat():
    derived = [fold_in(1, 0), fold_in(1, 1), fold_in(2, 0), *split(1, 2)]
    assert len({tuple(s.numpy()) for s in derived}) == 5
    np.testing.assert_array_equal(fold_in(1, 1), fold_in(1, tf.constant(1, tf.int64)))
