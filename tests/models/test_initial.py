"""Initial weights without a model are those of the model, bit for bit."""

import numpy as np
import pytest
from marked_cases import cases

from probvae.config.architecture import Architecture
from probvae.models import initial
from probvae.models.building import build
from probvae.models.networks.registry import NETWORKS
from probvae.posteriors import POSTERIORS
from probvae.priors import PRIORS

VECTORS = {"event_shape": (3,), "network": "mlp", "likelihood": "normal", "units": (4, 3), "components": 2}
SPHERE = {"posterior": "von_mises_fisher", "prior": "uniform_sphere", "latent_dim": 3}
MIXED = {"likelihood": "mixed", "columns": ("normal", "categorical:3", "bernoulli")}
IMAGES = {"event_shape": (8, 8, 1), "filters": (2, 3)}
CASES = {
    "plain": {},
    **{f"posterior {name}": {"posterior": name} for name in POSTERIORS if name != SPHERE["posterior"]},
    **{f"prior {name}": {"prior": name} for name in PRIORS if name != SPHERE["prior"]},
    "sphere": SPHERE,
    "gated": {"network": "gated_mlp"},
    "mixed": MIXED,
    "trained columns": {"likelihood": "mixed", "columns": ("ordinal:3", "student_t", "normal")},
    "normal_shared": {"likelihood": "normal_shared"},
    "missing": {"missing": True},
    "hierarchy": {"latent_layers": (1, 1), "prior": "standard_normal"},
    "with y": {"context_dim": 2},
    "series": {"event_shape": (8, 2), "network": "conv1d", "filters": (2, 3)},
    **{f"images {name}": {**IMAGES, "network": name} for name in NETWORKS if name.endswith("conv")},
}
WHOLE = ("hierarchy", "with y", "prior vamp", "posterior iaf", "posterior spline")  # built as a whole
SLOW = [name for name in CASES if name not in ("plain", "mixed", "gated", "prior mixture")]


@pytest.mark.parametrize("name", cases(CASES, slow=SLOW))
def test_initial_weights_are_those_of_the_model(name):
    architecture = Architecture(**{**VECTORS, **CASES[name]})
    initial._RECIPES.clear()
    for seed in (3, 0, 7):
        expected = [v.numpy() for v in build(architecture, seed=seed).variables]
        given = initial.initial_weights(architecture, seed)
        assert len(given) == len(expected)
        for a, b in zip(given, expected, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
    whole = initial._RECIPES[initial.identity_of(architecture)] is None
    assert whole == (name in WHOLE)


def test_a_recipe_that_gives_other_weights_is_not_used(monkeypatch):
    made = initial._made
    monkeypatch.setattr(initial, "_made", lambda *args: [w + 1 for w in made(*args)])
    architecture = Architecture(**{**VECTORS, "units": (5,)})
    assert initial.initial_weights(architecture, 1)[0].shape == (3, 5)
    assert initial._RECIPES[initial.identity_of(architecture)] is None
    expected = build(architecture, seed=2).variables[0]
    np.testing.assert_array_equal(initial.initial_weights(architecture, 2)[0], expected)
