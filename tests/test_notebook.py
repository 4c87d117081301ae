"""What a user in a notebook meets: how objects show themselves, opened runs, figures in other styles."""

import inspect
from html.parser import HTMLParser

import numpy as np
import pytest
import tensorflow as tf
from conftest import tiny_vae
from tensorflow_probability import distributions as tfd

import probvae
from probvae import conditional, display, elementwise, flows, hierarchy, mixtures, priors, spherical, tables
from probvae.config import CHOICES, Architecture, Training
from probvae.evaluation import marginal

MODULES = (conditional, elementwise, flows, hierarchy, mixtures, priors, spherical, tables, marginal)


class Cells(HTMLParser):
    """Collects the text of a page, and the tags that it is not supposed to have."""

    def __init__(self):
        super().__init__()
        self.text, self.tags = "", set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data + "\n"


def page(thing):
    cells = Cells()
    cells.feed(thing._repr_html_())
    assert cells.tags <= {"div", "strong", "table", "tbody", "tr", "th", "td", "code"}
    return cells.text


# ---- how objects show themselves -------------------------------------------------------------------


def test_a_model_says_what_it_is_made_of():
    vae = tiny_vae(prior="mixture", latent_dim=3)
    text = repr(vae)
    for part in (
        "MultivariateNormalDiag (diagonal)",
        "NormalMixture (mixture)",
        "Independent Bernoulli (bernoulli)",
        "latent_dim   3",
        "(8, 8, 1)",
        f"{sum(int(tf.size(v)) for v in vae.trainable_variables):,}",
    ):
        assert part in text and part.split("  ")[-1].strip() in page(vae)
    assert len(text.splitlines()) <= 10
    assert str(vae) == text


def test_a_model_of_ones_own_networks_says_what_it_can():
    vae = tiny_vae("iaf")
    own = probvae.VAE(vae.prior, vae.encoder, vae.decoder)
    assert "posterior    Flow\n" in repr(own) and "network" not in repr(own)


@pytest.mark.parametrize("choices", [{"context_dim": 3}, {"context_dim": 3, "classifier": True}])
def test_conditional_models_show_both_shapes(choices):
    text = repr(tiny_vae(**choices))
    assert "(67,)" in text and "(8, 8, 1)" in text and "context_dim  3" in text


def own_distributions():
    """Every class of a distribution that probvae defines."""
    for module in MODULES:
        for name, cls in vars(module).items():
            if (
                inspect.isclass(cls)
                and issubclass(cls, tfd.Distribution)
                and cls.__module__ == module.__name__
            ):
                yield pytest.param(cls, id=name)


@pytest.mark.parametrize("cls", list(own_distributions()))
def test_every_distribution_of_ours_shows_itself(cls):
    assert issubclass(cls, display.Shown) and cls.__repr__ is display.Shown.__repr__


@pytest.mark.parametrize(
    ("prior", "posterior", "detail"),
    [
        ("vamp", "diagonal", "pseudo_inputs=100"),
        ("realnvp", "iaf", "variables="),
        ("mixture", "tril", "components="),
    ],
)
def test_distributions_say_what_and_which_shapes(prior, posterior, detail):
    vae = tiny_vae(posterior, prior=prior)
    text = repr(vae.prior)
    assert text.startswith("<probvae ") and "event_shape=[2]" in text and "\n" not in text and detail in text
    assert "batch_shape" in page(vae.prior)


def test_html_is_escaped():
    class Prior(priors.FlowPrior):
        """A <script>alert(1)</script> of a prior."""

    prior = Prior(2, [], list)
    assert "<script>" in page(prior)  # as text
    assert "<script>" not in prior._repr_html_()
    training = Training(data="<img src=x onerror=alert(1)>")
    assert "<img" not in training._repr_html_() and "<img" in page(training)


def test_unknown_sizes_are_shown_as_such():
    seen = []

    @tf.function(input_signature=[tf.TensorSpec([None, 2])], autograph=False)
    def shown(logits):
        seen.append(repr(elementwise.Bernoulli(logits=logits)))
        return logits

    shown(tf.zeros([3, 2]))
    assert "batch_shape=[?, 2]" in seen[0]


@pytest.mark.parametrize(
    "config",
    [
        Architecture(),
        Architecture((4,), latent_dim=7, network="mlp", units=(5,), likelihood="normal", missing=True),
        Training(),
        Training(data="it's", objective="iwae", num_samples=5, column_kinds=("a=poisson",)),
    ],
)
def test_a_configuration_shows_the_call_that_makes_it(config):
    text = repr(config)
    assert eval(text, {"Architecture": Architecture, "Training": Training}) == config  # our own text
    assert len(text) < 250 and "=" in text
    assert type(config).__name__ in page(config)
    assert set(config.MAIN) <= {*CHOICES, "event_shape", "latent_dim", "data", "batch_size", "epochs"} | {
        "learning_rate",
        "seed",
    }


def test_a_distribution_still_computes_as_before():
    """The mixin changes texts alone: copies, parameters and composite tensors work as TFP's."""
    p = elementwise.Bernoulli(logits=tf.constant([0.5, -1.0]))
    np.testing.assert_allclose(
        p.log_prob([1.0, 0.0]), tfd.Bernoulli([0.5, -1.0]).log_prob([1.0, 0.0]), rtol=1e-6
    )
    again = p.copy(logits=tf.zeros([2]))
    assert isinstance(again, elementwise.Bernoulli) and "probvae Bernoulli" in str(again)
