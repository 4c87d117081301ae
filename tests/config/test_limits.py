"""The sizes of models, as known before TensorFlow is loaded, against those of models that are built."""

import numpy as np
import pytest
import tensorflow as tf
from marked_cases import cases

from probvae import Architecture
from probvae.config.choices import COLUMNS, column_sizes
from probvae.config.limits import num_weights
from probvae.distributions.columns import KINDS, SCALED, SIZED, inputs, kind_of
from probvae.likelihoods import LIKELIHOODS
from probvae.models.building import build
from probvae.models.networks.registry import NETWORKS
from probvae.posteriors import POSTERIORS
from probvae.priors import PRIORS

SHAPES = {
    "conv": (9, 12, 1),
    "residual_conv": (9, 12, 3),
    "conv1d": (13, 2),
    "mlp": (2, 3),
    "gated_mlp": (7,),
}
KIND_OF_COLUMN = (*KINDS, "categorical:4", "categorical:9", "ordinal:4", "ordinal:2", "size:0.5")
TABLE = {"event_shape": (len(KIND_OF_COLUMN),), "likelihood": "mixed", "columns": KIND_OF_COLUMN}


def pair(posterior="diagonal", prior="standard_normal", **choices):
    """A posterior and a prior that go together."""
    if posterior == "von_mises_fisher":
        prior = "uniform_sphere"
    if prior == "uniform_sphere":
        posterior = "von_mises_fisher"
    return {"posterior": posterior, "prior": prior, "components": 7, **choices}


CASES = {
    **{f"posterior {name}": pair(name, latent_dim=5) for name in POSTERIORS},
    "posterior low_rank 3": pair("low_rank", latent_dim=3),
    "posterior spline 1": pair("spline", latent_dim=1),
    **{f"prior {name}": pair(prior=name, latent_dim=5) for name in PRIORS},
    **{f"likelihood {name}": {"likelihood": name, "classes": 8} for name in LIKELIHOODS if name != "mixed"},
    "likelihood mixed": TABLE,
    "likelihood mixed missing": {**TABLE, "missing": True},
    "colour": {"likelihood": "logistic_mixture", "event_shape": SHAPES["residual_conv"], "network": "conv"},
}
for network, shape in SHAPES.items():
    of_network = {"network": network, "event_shape": shape}
    CASES[f"{network}"] = of_network
    CASES[f"{network} of classes"] = {**of_network, "missing": True, "context_dim": 3, "classifier": True}
    CASES[f"{network} ladder"] = {**of_network, "latent_layers": (1, 2, 3), "latent_dim": 6}


SLOW = [f"{n} {more}" for n in ("residual_conv", "conv1d", "gated_mlp") for more in ("of classes", "ladder")]


@pytest.mark.parametrize("name", cases(CASES, slow=SLOW))
def test_weights_are_those_of_the_model(name):
    sizes = {"event_shape": (4,), "network": "mlp", "filters": (3, 4), "units": (6, 5)}
    architecture = Architecture(**{**sizes, **CASES[name]})
    vae = build(architecture)
    sizes = [int(np.prod(w.shape)) for w in vae.trainable_weights if w.shape.rank]  # without a shared scale
    assert num_weights(architecture) == sum(sizes)


def test_every_network_and_column_has_a_size():
    assert SHAPES.keys() == NETWORKS.keys()
    assert {*KINDS, *SIZED, *SCALED} == set(COLUMNS)
    for name in KIND_OF_COLUMN:
        kind, sizes = kind_of(name), column_sizes(name)
        assert (sizes.parameters, sizes.trained) == (kind.n - len(kind.trained), len(kind.trained))
        facts = COLUMNS[name.partition(":")[0]]
        assert (facts.takes_size, facts.is_size) == (kind.takes_size, kind.log_size > 0)
        assert sizes.inputs == inputs(tf.zeros([1, 1]), (name,)).shape[1]
        assert sizes.levels == (kind.largest + 1 if kind.discrete and not kind.counts else 0)
    assert column_sizes("unknown:3") == column_sizes("ordinal") == column_sizes("normal")
