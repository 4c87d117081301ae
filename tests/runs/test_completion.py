"""Settings of a new run: warm-ups that fit, idle settings, defaults that do not suit the data."""

import numpy as np
import pytest

from probvae import InputError
from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.data.dataset import DataSet
from probvae.runs import completion

IMAGES = np.zeros([100, 8, 8, 1], np.uint8)


def data_set(x, levels=1):
    return DataSet("mine", x, x[:10], None, None, levels)


def completed(typed=(), **settings):
    warnings = []
    training = completion.complete_training(
        Training(batch_size=10, **settings), typed, Architecture(), data_set(IMAGES), warnings.append
    )
    return training.warmup_steps, warnings


def test_the_warm_up_of_a_recipe_is_at_most_a_tenth_of_the_run():
    assert completed(epochs=20, warmup_steps=500) == (20, [])  # of 200 steps
    assert completed(epochs=600, warmup_steps=500) == (500, [])
    assert completed(epochs=0, warmup_steps=500) == (0, [])
    steps, warnings = completed({"warmup_steps"}, epochs=20, warmup_steps=150)
    assert steps == 150 and "rises in 150 of 200 steps" in warnings[0] and "--warmup-steps 20" in warnings[0]
    assert completed({"warmup_steps"}, epochs=20, warmup_steps=20) == (20, [])
    with pytest.raises(InputError, match="warmup_steps must be at most the 200 steps of the run"):
        completed({"warmup_steps"}, epochs=20, warmup_steps=201)


@pytest.mark.parametrize(
    ("typed", "architecture", "message"),
    [
        ({"units"}, {}, "units has no effect with network conv; it is for network mlp, gated_mlp"),
        ({"filters"}, {"network": "mlp"}, "filters has no effect with network mlp"),
        ({"components"}, {}, "components has no effect with prior standard_normal; it is for prior mixture"),
        ({"classes"}, {}, "classes has no effect with likelihood bernoulli"),
        ({"crop"}, {}, "crop has no effect without an image size"),
    ],
)
def test_idle_settings_are_refused_where_they_are_typed(typed, architecture, message):
    with pytest.raises(InputError, match=message):
        completion.refuse_idle(typed, Architecture(**architecture), Training())
    completion.refuse_idle(set(), Architecture(**architecture), Training())  # as in a config.json


def test_settings_in_use_are_not_idle():
    typed = {"units", "components", "classes", "crop"}
    choices = {"network": "mlp", "prior": "vamp", "likelihood": "categorical"}
    completion.refuse_idle(typed, Architecture(**choices), Training(image_size=(8,)))
    ladder = Architecture(latent_layers=(1, 1), latent_dim=2)  # its layers have `units` between them
    completion.refuse_idle({"units"}, ladder, Training())


COUNTS = np.random.default_rng(0).poisson(4, [50, 3]).astype(np.float32)
ADVICE = {
    "counts": (data_set(COUNTS), {"likelihood": "normal", "network": "mlp"}, "poisson or negative_binomial"),
    "bits": (data_set(np.minimum(COUNTS, 1)), {"likelihood": "normal", "network": "mlp"}, "bernoulli"),
    "real": (data_set(COUNTS + 0.5), {"likelihood": "normal", "network": "mlp"}, ""),
    "negative": (data_set(COUNTS - 3), {"likelihood": "normal", "network": "mlp"}, ""),
    "colours": (data_set(np.zeros([20, 8, 8, 3], np.uint8), 255), {}, "binarized to eight"),
    "grey": (data_set(IMAGES, 255), {}, ""),
}


@pytest.mark.parametrize("name", ADVICE)
def test_advice_on_defaults(name):
    examples, choices, words = ADVICE[name]
    architecture = Architecture(event_shape=examples.event_shape, **choices)
    training = Training(binarize="threshold" if examples.train.ndim == 4 else "none")
    sentence = completion.advice(examples, set(), architecture, training)
    assert words in sentence and bool(words) == bool(sentence)
    assert completion.advice(examples, {"likelihood"}, architecture, training) == ""
