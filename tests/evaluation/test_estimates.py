import numpy as np
import pytest
from linear_gaussian import LinearGaussian

from probvae import InputError
from probvae.evaluation.estimates import (
    CONDITIONS,
    mean_estimate,
    paired_difference,
    refuse_unless_comparable,
)


def test_mean_estimate_by_hand():
    estimate = mean_estimate(np.array([1.0, 2.0, 6.0]), np.array([3.0, 0.0, 4.0]))
    assert estimate.mean == 3 and estimate.num_examples == 3
    assert estimate.standard_error == pytest.approx(np.sqrt(7 / 3))
    assert estimate.monte_carlo_error == pytest.approx(5 / 3)
    half = 4.302653 * np.sqrt(7 / 3)  # the 97.5% point of Student's t with two degrees of freedom
    assert (estimate.low, estimate.high) == pytest.approx((3 - half, 3 + half), rel=1e-5)
    assert mean_estimate(np.array([1.0, 2.0])).monte_carlo_error is None
    with pytest.raises(InputError, match="two or more examples; got 1"):
        mean_estimate(np.array([1.0]))


def test_intervals_of_the_mean_cover():
    """95% intervals hold the true mean of log p(x), known in closed form, 93% to 97% of 6,000 times.

    7 standard errors of the frequency wide: false-positive rate below 1e-6. Intervals half as wide fail.
    """
    model = LinearGaussian()
    log_p = model.marginal.logpdf(model.sample(6000 * 40, seed=0)).reshape(6000, 40)
    truth = -model.marginal.entropy()
    estimates = [mean_estimate(values) for values in log_p]
    inside = np.mean([e.low < truth < e.high for e in estimates])
    assert 0.93 < inside < 0.97
    assert not 0.93 < np.mean([abs(e.mean - truth) < (e.high - e.low) / 4 for e in estimates]) < 0.97


def test_intervals_of_a_paired_difference_cover():
    rng = np.random.default_rng(0)
    common = 10 * rng.standard_normal([6000, 30])
    first, second = common + rng.standard_normal([2, 6000, 30])
    intervals = [paired_difference(a + 0.2, b) for a, b in zip(first, second, strict=True)]
    assert 0.93 < np.mean([d.low < 0.2 < d.high for d in intervals]) < 0.97
    unpaired = np.sqrt(first.var(axis=1, ddof=1) / 30 + second.var(axis=1, ddof=1) / 30)
    assert np.mean([d.standard_error for d in intervals]) < 0.2 * unpaired.mean()


def test_difference_by_hand():
    d = paired_difference(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 4.0]))
    assert d.mean == pytest.approx(2 / 3) and d.first_better == pytest.approx(2 / 3)
    error = np.sqrt((1 + 16 + 25) / 9 / 2 / 3)  # the standard error of the mean of 1, 2 and -1
    assert d.standard_error == pytest.approx(error)
    assert d.high - d.mean == pytest.approx(4.302653 * error)  # the t quantile of two degrees of freedom
    with pytest.raises(InputError, match=r"shape \[3\] and \[2\]"):
        paired_difference(np.zeros(3), np.zeros(2))


@pytest.mark.parametrize("name", CONDITIONS)
def test_other_conditions_are_refused(name):
    same = dict.fromkeys(CONDITIONS, 1)
    refuse_unless_comparable(same, dict(same))
    words = {"num_images": "number of examples"}.get(name, name.replace("_", " "))
    with pytest.raises(InputError, match=f"not comparable: {words} is 1 .* and 2 .*--force"):
        refuse_unless_comparable(same, {**same, name: 2})
