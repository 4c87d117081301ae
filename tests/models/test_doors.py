"""Every door of Python by which x enters a model, times every kind of wrong x."""

import doors
import numpy as np
import pytest


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
