"""Stages of an evaluation on examples that have no finite density, or no value at all."""

import dataclasses
import json

import numpy as np
import pytest
from conftest import shared_vae
from linear_gaussian import LinearGaussian
from seed_recorder import recorded, twice

import probvae
from probvae.evaluation import latent_stages, latents
from probvae.evaluation.activity import used_dimensions
from probvae.evaluation.hidden_values import imputation_coverage
from probvae.evaluation.stages import STAGES, run_stages
from probvae.evaluation.state import Evaluation, Images, Options, metrics
from probvae.files import strict_json
from probvae.runs.evaluation import COVERAGE, RANKS, WRITTEN, _figures

OPTIONS = Options(num_samples=30, train_images=10, gap_images=4, ais_images=0)


def evaluated(vae, x, train):
    evaluation = Evaluation(vae, Images(x, None), Images(train, None), OPTIONS)
    assert run_stages(evaluation) == [] and not evaluation.skipped
    return evaluation


@pytest.fixture(scope="module")
def draws():
    """The random draws of the evaluation `infinite`."""
    return []


@pytest.fixture(scope="module")
def infinite(draws):
    """An evaluation of ten examples, of which the third is so far away that its density is 0 in float32."""
    model = LinearGaussian()
    x = model.sample(10, seed=0)
    x[3, 1] = 1e25
    with recorded() as found:
        evaluation = evaluated(model.vae(), x, model.sample(10, seed=1))
    draws.extend(found)
    return evaluation


# Draws that are the same on purpose: the ELBOs before and after an optimization, which are compared, and
# those of the quadrature, which find where the mass is and do not enter its result.
SHARED = ("inference/amortization.py", "inference/quadrature.py", "inference/quadrature_grid.py")


def test_stages_share_no_draw(infinite, draws):
    found = twice(draws)
    assert found and all(place.startswith(SHARED) for places in found for place in places), found


@pytest.mark.slow
@pytest.mark.long("test_stages_share_no_draw")
def test_stages_of_many_dimensions_share_no_draw():
    """Importance sampling of the test, training and outlying examples, and annealing."""
    model = LinearGaussian(latent=4)
    x, train, outliers = (model.sample(10, seed=seed) for seed in range(3))
    options = dataclasses.replace(OPTIONS, ais_images=2)
    evaluation = Evaluation(model.vae(), Images(x, None), Images(train, None), options, outliers=outliers)
    with recorded() as draws:
        assert run_stages(evaluation) == [] and not evaluation.skipped
    found = twice(draws)
    alike = (*SHARED, "inference/annealing")  # the pilot run of both sides of the bracket
    assert all(place.startswith(alike) for places in found for place in places), found


def test_an_example_of_density_zero_is_counted_and_left_out(infinite):
    """No warning ends it (warnings are errors here), and the other examples keep their numbers."""
    lines = {line.key: line for line in infinite.lines}
    for key in ("elbo", "iwae", "exact", "bits_per_dimension", "distortion"):
        assert lines[key].estimate.num_examples == 9, key
        assert "1 of 10 examples are not finite (the first is example 3: " in lines[key].note
        assert np.isfinite(lines[key].estimate.mean) and np.isfinite(lines[key].estimate.standard_error)
    known = np.arange(10) != 3
    assert infinite.arrays["elbo"][3] == infinite.arrays["exact"][3] == -np.inf
    assert lines["exact"].estimate.mean == pytest.approx(np.mean(infinite.arrays["exact"][known]))
    expected = LinearGaussian().marginal.logpdf(infinite.test.x[known])
    np.testing.assert_allclose(infinite.arrays["exact"][known], expected, atol=0.01)


def test_its_pictures_can_be_drawn_and_its_numbers_written(infinite):
    for figure in _figures(infinite).values():
        figure.canvas.draw()
    text = strict_json.text({"results": metrics(infinite), "infinite": [np.inf, -np.inf, np.nan]})
    assert json.loads(text)["infinite"] == [None, None, None]
    assert strict_json.parse(text, "it", levels=4)["results"]["elbo"]["num_examples"] == 9


def test_the_certificate_of_a_narrow_posterior(monkeypatch):
    """The table has its regions, the report and the files their pictures."""
    monkeypatch.setattr(latent_stages, "SIMULATIONS", 150)
    model = LinearGaussian()
    x = model.sample(10, seed=0)
    options = dataclasses.replace(OPTIONS, calibrate=True)
    evaluation = Evaluation(model.vae(stretch=0.5), Images(x, None), Images(x, None), options)
    latent_stages.certificate(evaluation)
    lines = {line.key: line for line in evaluation.lines}
    assert lines["certificate_0"].estimate.mean < 0.4 and "times too narrow" in lines["certificate_0"].note
    assert lines["certificate_1"].name == "90% highest-density region, simulated"
    assert len(lines) == 6 and all(line.estimate.num_examples == 150 for line in lines.values())
    assert {COVERAGE["certificate"], RANKS["certificate"]} <= set(_figures(evaluation)) <= set(WRITTEN)


def test_intervals_of_imputed_values_hold_what_they_should():
    """Simulated from the model, so that only chance is left: 200 examples, 5 standard errors."""
    for likelihood in ("normal", "bernoulli"):  # without ties, and with many
        vae = probvae.build(
            probvae.Architecture((4,), network="mlp", units=(4,), likelihood=likelihood, missing=True)
        )
        half, most = imputation_coverage(vae, 200, num_samples=200, seed=1)
        assert abs(half.share - 0.5) < 0.18 and abs(most.share - 0.9) < 0.11, likelihood


def test_bits_are_those_of_the_values_that_were_seen():
    """Half of the values missing and half of the nats, the same bits; without a value there are none."""
    nan = np.nan
    x = np.array([[0, 1, 1, 0], [nan, 1, nan, 0], [nan, nan, nan, nan]], np.float32)
    bits = latents.bits_per_dimension(np.array([-4.0, -2.0, 0.0]) * np.log(2), (4,), x)
    np.testing.assert_allclose(bits, [1, 1, nan])
    np.testing.assert_allclose(latents.bits_per_dimension(np.array([-4.0]) * np.log(2), (4,)), [1])


@pytest.mark.parametrize(
    ("likelihood", "note"), [("bernoulli", "; lower is better"), ("normal", "of a density: it depends")]
)
def test_bits_of_a_density_are_not_said_to_compare_with_others(likelihood, note):
    vae = probvae.build(
        probvae.Architecture((6,), network="mlp", units=(4,), likelihood=likelihood, missing=True)
    )
    x = np.random.default_rng(0).integers(0, 2, [8, 6]).astype(np.float32)
    x[2:4, ::2] = np.nan
    x[5] = np.nan
    evaluation = Evaluation(vae, Images(x, None), Images(x[:2], None), OPTIONS)
    for name in ("bounds", "exact", "bits per dimension"):
        STAGES[name](evaluation)
    line = next(line for line in evaluation.lines if line.key == "bits_per_dimension")
    assert note in line.note and "over the values that were seen" in line.note
    assert line.estimate.num_examples == 7
    seen = np.array([6, 6, 3, 3, 6, 6, 6])
    log_p = evaluation.arrays["exact"][np.arange(8) != 5]
    assert line.estimate.mean == pytest.approx(np.mean(-log_p / seen / np.log(2)))


@pytest.mark.parametrize(
    "choices",
    [{}, {"posterior": "iaf"}, {"posterior": "von_mises_fisher", "prior": "uniform_sphere", "latent_dim": 3}],
)
def test_used_dimensions_are_counted_by_one_rule_and_not_on_a_sphere(choices, eager):
    x = np.random.default_rng(0).integers(0, 2, [20, 8, 8, 1]).astype(np.float32)
    evaluation = Evaluation(shared_vae(**choices), Images(x, None), Images(x, None), OPTIONS)
    latent_stages.rate_and_distortion(evaluation)
    lines = {line.key: line for line in evaluation.lines}
    assert ("active_units" in lines) == ("latent_variance" in evaluation.arrays) == ("prior" not in choices)
    if "active_units" in lines:
        used = used_dimensions(evaluation.arrays["latent_variance"])
        assert lines["active_units"].estimate.mean == used.sum()
        assert all((f"z[{i}]" in lines["active_units"].note) == is_used for i, is_used in enumerate(used))
