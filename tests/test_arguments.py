import math

import numpy as np
import pytest
import tensorflow as tf
from python_doors import model, right

from probvae import data, inference, runs
from probvae.arguments import count, weight
from probvae.errors import InputError


@pytest.mark.parametrize("value", [3, np.int64(3), np.array(3), tf.constant(3), np.uint8(3)])
def test_counts_are_ints(value):
    assert count("number", value) == 3 and type(count("number", value)) is int


@pytest.mark.parametrize(
    "value", [0, -1, 2.5, 3.0, "3", True, None, [3], np.array([3]), tf.constant(2.0), np.bool_(1), math.nan]
)
def test_other_counts_are_refused(value):
    with pytest.raises(InputError, match=r"num_samples must be a whole number of at least 1; got "):
        count("num_samples", value)


@pytest.mark.parametrize("value", [0, 1.5, np.float32(2), np.array(0.5), tf.constant(1.0)])
def test_weights_are_unchanged(value):
    assert weight("beta", value) is value


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "1", True, None, [1.0], tf.constant([1.0])])
def test_other_weights_are_refused(value):
    with pytest.raises(InputError, match=r"beta must be a finite number of at least 0; got "):
        weight("beta", value)


def test_limits():
    assert count("number", 0, 0) == 0 and weight("alpha", -2.0, -math.inf) == -2
    with pytest.raises(InputError, match="order must be a finite number above 1; got 1"):
        weight("order", 1, 1.0, above=True)
    with pytest.raises(InputError, match="alpha must be a finite number; got nan"):
        weight("alpha", math.nan, -math.inf)


def test_tensors_of_a_graph_pass():
    @tf.function
    def both(number, beta):
        assert count("number", number) is number and weight("beta", beta) is beta
        return number

    both(tf.constant(-1), tf.constant(-1.0))
    with pytest.raises(InputError, match="number must be a whole number of at least 1; got float32 of shape"):
        tf.function(lambda number: count("number", number), autograph=False)(tf.constant(1.0))


DOORS = {
    "ais": lambda **o: inference.ais(None, None, **o),
    "reverse_ais": lambda **o: inference.reverse_ais(model(), right(), np.zeros([8, 2], np.float32), **o),
    "bdmc": lambda **o: inference.bdmc(None, 2, **o),
    "two_sided": lambda **o: inference.two_sided(model(), right(), **o),
    "from_tf_dataset": lambda **o: data.from_tf_dataset(None, name="x", **o),
    "evaluate": lambda **o: runs.evaluate("nowhere", **o),
    "sample": lambda **o: runs.sample("nowhere", **o),
}


@pytest.mark.parametrize("name", DOORS)
def test_options_that_a_function_does_not_have_are_refused(name):
    with pytest.raises(InputError, match=rf"^{name} has no argument 'colour_': (did you mean|it takes) "):
        DOORS[name](colour_=3)
