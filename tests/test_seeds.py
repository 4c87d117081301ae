import numpy as np
import pytest
import tensorflow as tf

from probvae.errors import InputError
from probvae.seeds import as_seed, fold_in, of_rows, split


@pytest.mark.parametrize("seed", [0, 3, 2**31 - 1, 2**40 + 5, -1])
def test_int_seeds_are_stateless(seed):
    first, second = (tf.random.stateless_normal([3], as_seed(seed)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_different_ints_give_different_seeds():
    seeds = {tuple(as_seed(s).numpy()) for s in [0, 1, 2**31, 2**31 + 1, -1]}
    assert len(seeds) == 5


def test_ints_and_pairs_of_any_type_pass():
    np.testing.assert_array_equal(as_seed((4, 5)), [4, 5])
    for seven in (tf.constant(7), np.int64(7), np.array(7), np.uint8(7)):
        np.testing.assert_array_equal(as_seed(seven), as_seed(7))
    np.testing.assert_array_equal(as_seed(np.int64(2**40 + 5)), as_seed(2**40 + 5))
    np.testing.assert_array_equal(as_seed(np.int64([1, 2])), [1, 2])


@pytest.mark.parametrize(
    "seed", ["a", [1, 2, 3], 1.5, True, tf.constant(1.0), (1, 2**40), [], [[1, 2]], [0.5, 1]]
)
def test_other_seeds_are_refused(seed):
    with pytest.raises(InputError, match=r"A seed must be an int or an int32 pair of shape \[2\]; got "):
        as_seed(seed)


def test_none_is_fresh_every_time():
    assert not np.array_equal(as_seed(None), as_seed(None))


def test_derived_seeds_differ_and_repeat():
    derived = [fold_in(1, 0), fold_in(1, 1), fold_in(2, 0), *split(1, 2)]
    assert len({tuple(s.numpy()) for s in derived}) == 5
    np.testing.assert_array_equal(fold_in(1, 1), fold_in(1, tf.constant(1, tf.int64)))


def test_a_seed_follows_from_the_whole_row():
    """Rows that differ in a value, or in what is missing, have other seeds; NaN of any bits is one value."""
    x = np.zeros([5, 3], np.float32)
    x[1, 2], x[2, 0], x[3, 2] = 1, np.nan, np.nan
    x[3, 1] = -0.0
    x[4, 2] = np.array([0xFFC00001], np.uint32).view(np.float32)[0]
    seeds = of_rows(3, x)
    assert len(np.unique(seeds[:4], axis=0)) == 4
    np.testing.assert_array_equal(seeds[3], seeds[4])
    np.testing.assert_array_equal(of_rows(3, x[[2, 0]]), seeds[[2, 0]])
    assert np.all(np.any(of_rows(4, x) != seeds, axis=1))
