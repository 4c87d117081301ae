"""Every stage of an evaluation for conditional models."""

import numpy as np
import pytest
from conditional_models import ConditionalLinearGaussian, tiny, tiny_m2
from scipy.special import logsumexp

from probvae.errors import InputError
from probvae.evaluation import calibration_error, contexts, state
from probvae.evaluation.stages import STAGES, run_stages
from probvae.models import conditional

FEW = state.Options(num_samples=40, train_images=20, gap_images=2, ais_images=2)


def evaluated(vae, example, *, labels=None, **changes):
    images = state.Images(example, labels)
    e = state.Evaluation(vae, images, images, state.Options(**{**FEW.__dict__, **changes}))
    assert run_stages(e) == []
    return e, state.metrics(e)


@pytest.fixture(scope="module")
def oracle():
    return ConditionalLinearGaussian()


@pytest.mark.slow
@pytest.mark.long("test_classes_of_the_m2_model")
def test_every_stage_of_classes(oracle):
    labels = np.arange(12) % 3
    y = np.eye(3, dtype=np.float32)[labels]
    x, vae = oracle.sample(y, 2), oracle.vae(shift=0.3)
    e, results = evaluated(vae, vae.join(x, y).numpy(), labels=labels)
    assert not e.skipped and set(e.seconds) == set(STAGES)
    log_p = oracle.log_prob(x, y)
    np.testing.assert_allclose(e.arrays["exact"], log_p, atol=6e-3)
    np.testing.assert_allclose(e.arrays["ais"], log_p[:2], atol=0.3)
    log_joint = np.stack([oracle.marginal(k).logpdf(x) for k in np.eye(3)], axis=1) - np.log(3)
    np.testing.assert_allclose(e.arrays["log_marginal_over_classes"], logsumexp(log_joint, axis=1), atol=6e-3)
    accuracy = np.mean(np.argmax(log_joint, axis=1) == labels)
    assert results["bayes_accuracy"]["mean"] == pytest.approx(accuracy)
    assert "classifier_accuracy" not in results
    bits = results["bits_per_dimension"]["mean"]
    assert bits == pytest.approx(-log_p.mean() / (5 * np.log(2)), rel=1e-2)
    lower, upper = results["bdmc_lower"]["mean"], results["bdmc_upper"]["mean"]
    assert -30 < lower < upper + 1 < 0
    of_x = {"mean"} | {key.removeprefix("predictive_") for key in results if key.startswith("predictive_")}
    expected = float(x.mean())
    assert of_x > {"roughness"} and f"{expected:.4g} ±" in results["predictive_mean"]["note"]


@pytest.mark.slow
def test_stages_that_need_p_of_y_or_few_different_y_say_so(oracle, monkeypatch, eager):
    monkeypatch.setattr(conditional, "MAX_CONTEXTS", 5)
    y = np.random.default_rng(0).standard_normal([8, 3]).astype(np.float32)
    vae = oracle.vae(shift=0.3)
    example = vae.join(oracle.sample(y, 2), y).numpy()
    e, results = evaluated(vae, example, ais_images=0, gap_images=0)
    assert set(e.skipped) == {"exact"} and "one after the other, 5 at most; there are 8" in e.skipped["exact"]
    assert "exact" not in results and "bayes_accuracy" not in results
    assert "IWAE" in results["bits_per_dimension"]["note"] and "predictive_mean" in results
    nobody = state.Images(example[:0], None)
    alone = state.Evaluation(vae, state.Images(example, None), nobody, FEW)
    monkeypatch.setattr("probvae.evaluation.stages.STAGES", {"predictive check": STAGES["predictive check"]})
    run_stages(alone)
    assert "without a p(y)" in alone.skipped["predictive check"]


@pytest.mark.slow
def test_classes_of_the_m2_model(eager):
    vae = tiny_m2(latent_dim=4)
    x = np.float32(np.random.default_rng(0).integers(0, 2, [9, 6]))
    labels = np.arange(9) % 3
    e = state.Evaluation(
        vae,
        state.Images(vae.join(x, labels).numpy(), labels),
        state.Images(vae.join(x, 0).numpy(), None),
        FEW,
    )
    STAGES["bounds"](e)
    STAGES["classes"](e)
    STAGES["classifier"](e)
    results = state.metrics(e)
    guesses = np.argmax(vae.classifier(x).mean(), axis=1)
    assert results["classifier_accuracy"]["mean"] == pytest.approx(np.mean(guesses == labels))
    below = e.arrays["log_marginal_over_classes"]
    assert np.all(below > e.arrays["iwae"] - np.log(3) - 1e-6)  # p(x) is more than p(x, y) of one class
    probabilities = vae.classifier(x).mean().numpy()
    error = results["classifier_calibration_error"]
    assert error["mean"] == pytest.approx(calibration_error(probabilities, labels).value, rel=1e-5)


def test_calibration_error_is_the_hand_written_one():
    """A frequency is compared with a mean probability within each bin, not of all examples."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([0.5, 0.5, 0.5], 400)
    labels = np.array([rng.choice(3, p=p) for p in probabilities])
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (top >= low) & (top < low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - top[inside].mean())
    found = calibration_error(probabilities, labels)
    assert found.value == pytest.approx(expected, abs=1e-12) and 0.005 < found.standard_error < 0.05
    assert found.value > abs(right.mean() - top.mean()) + 0.005
    assert calibration_error(probabilities, labels) == found
    overconfident = probabilities**3 / np.sum(probabilities**3, axis=1, keepdims=True)
    assert calibration_error(overconfident, labels).value > found.value + 5 * found.standard_error
    certain = np.eye(3)[labels]
    assert calibration_error(certain, labels).value == 0
    assert calibration_error(certain, (labels + 1) % 3).value == 1


def test_outliers_of_a_conditional_model_are_scored_by_x(eager):
    vae = tiny(latent_dim=4)
    rng = np.random.default_rng(0)
    x = np.float32(rng.random([6, 8, 8, 1]) < 0.2)
    example = vae.join(x, np.arange(6) % 3).numpy()
    e = state.Evaluation(vae, state.Images(example, None), state.Images(example, None), FEW)
    for stage in ("bounds", "training examples", "outlier scores"):
        STAGES[stage](e)
    assert np.all(np.isfinite(e.arrays["score_complexity"]))
    from probvae.evaluation.outliers import compressed_size

    expected = -e.arrays["iwae"] - compressed_size(x)
    np.testing.assert_allclose(e.arrays["score_complexity"], expected, rtol=1e-6)


def test_too_many_different_y_for_quadrature(oracle):
    vae = oracle.vae()
    with pytest.raises(InputError, match="100 at most; there are 101"):
        contexts.exact_given(vae, np.random.default_rng(0).standard_normal([101, 8]).astype(np.float32))
