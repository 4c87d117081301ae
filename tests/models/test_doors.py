"""Every door of Python by which x enters a model, times every kind of wrong x."""

import re

import numpy as np
import pytest
import python_doors as doors
import tensorflow as tf

from probvae.objectives import memory


@pytest.fixture(scope="module")
def vae():
    return doors.model()


@pytest.mark.parametrize("name", doors.DOORS)
def test_wrong_x_is_refused_in_a_sentence_and_right_x_taken_afterwards(name, vae):
    door, x = doors.DOORS[name], doors.right()
    before = [v.numpy() for v in vae.variables]
    for kind, wrong in doors.WRONG.items():
        if kind in doors.ALLOWED.get(name, ()):
            continue
        said = doors.says(door, vae, wrong(x))
        assert not said.startswith("!!") and said.endswith(".") and "\n" not in said, (kind, said)
    for variable, value in zip(vae.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    door(vae, x)


@pytest.mark.parametrize("name", doors.CONTEXTS)
def test_wrong_y_is_refused_in_a_sentence_and_right_y_taken_afterwards(name):
    vae, door, x = doors.conditional(), doors.CONTEXTS[name], doors.right()
    for kind, wrong in doors.WRONG_CONTEXTS.items():
        said = doors.says(door, vae, x, wrong)
        assert not said.startswith("!!") and said.endswith(".") and "\n" not in said, (kind, said)
    door(vae, x, 1)
    door(vae, x, tf.constant([0.0, 0.5, -1.0]))


NUMBERS = (
    (doors.COUNTS, doors.WRONG_COUNTS, "must be a whole number of at least [012]; got "),
    (doors.SEEDS, doors.WRONG_SEEDS, r"A seed must be an int or an int32 pair of shape \[2\]; got "),
    (doors.WEIGHTS, doors.WRONG_WEIGHTS, "must be a finite number.*; got "),
    (
        doors.SAMPLES,
        doors.WRONG_SAMPLES,
        "The number of draws must be a whole number of at (least 0|most .*); got ",
    ),
    (doors.NAMES, doors.WRONG_NAMES, "must be (one of|of type str).*; got "),
    (doors.FLAGS, doors.WRONG_FLAGS, "must be (True or False|of type bool); got "),
)


@pytest.mark.parametrize(
    ("entries", "wrong", "sentence"), NUMBERS, ids=["counts", "seeds", "weights", "samples", "names", "flags"]
)
def test_wrong_numbers_are_refused_in_a_sentence(entries, wrong, sentence, vae):
    x = doors.right()
    for name, door in entries.items():
        for value in wrong:
            said = doors.says(door, vae, x, value)
            assert re.search(sentence, said) and said.endswith("."), (name, value, said)
    doors.SEEDS["vae.compile(seed=s)"](vae, x, 0)


def test_numbers_beyond_int32_are_refused_in_a_sentence(vae):
    x = doors.right()
    for name, door in doors.COUNTS.items():
        for value in doors.LARGE_COUNTS:
            said = doors.says(door, vae, x, value)
            assert re.search(r"must be a whole number of at most 2,147,483,647; got [\d,]+\.$", said), (
                name,
                said,
            )


# Whose results or draws grow with the number; the others work on one draw after the other.
GROWING = [
    name
    for name in doors.COUNTS
    if re.search(
        r"objectives|sample\(n|prior_draws|posterior_draws|num_chains|impute|steps=n\)$|importance", name
    )
    and "num_steps" not in name
]


def test_draws_that_do_not_fit_into_memory_are_refused_in_a_sentence(vae, monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 2**31)
    x = doors.right()
    for name in GROWING:
        said = doors.says(doors.COUNTS[name], vae, x, 10**9)
        assert re.search(r"=1,000,000,000 needs at least .* GiB of memory, .*: use (at most|fewer)", said), (
            name,
            said,
        )
