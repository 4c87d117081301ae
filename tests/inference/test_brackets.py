"""Estimates of log p(x) from both sides, where log p(x) is known."""

import numpy as np
import pytest
from linear_gaussian import LinearGaussian

from probvae import InputError
from probvae.inference.annealing import AIS, BDMC
from probvae.inference.brackets import Sides, TwoSided, two_sided


def by_hand():
    def ais(log_marginal):
        return AIS(np.array(log_marginal), *4 * [np.ones(2)], np.ones(2, bool))

    bracket = BDMC(np.zeros([2, 1]), np.zeros([2, 1]), ais([-10.0, -20.0]), ais([-9.0, -18.0]))
    known = Sides(np.array([-11.5, -20.0]), np.ones(2), np.array([-9.5, -16.0]), np.ones(2), np.ones(2, bool))
    data = Sides(np.zeros(3), np.ones(3), np.ones(3), np.ones(3), np.array([True, False, True]))
    return TwoSided(data, known, bracket)


def test_distances_from_the_bracket_by_hand():
    found = by_hand()
    assert found.below.value == pytest.approx(1.5) and found.above.value == pytest.approx(1.5)
    assert found.below.standard_error == pytest.approx(0.5) and found.above.standard_error == pytest.approx(
        1.5
    )
    assert found.verdict() == (
        "on 2 simulated, below by 1.50 ± 0.50 and above by 1.50 ± 1.50 (known to 1.50)"
        "; the upper NOT to be trusted for 1 of 3"
    )
    with pytest.raises(InputError, match="num_simulated"):
        two_sided(LinearGaussian().vae(), np.zeros([1, 5]), num_simulated=1)


@pytest.mark.slow
@pytest.mark.long("test_distances_from_the_bracket_by_hand")
def test_both_sides_hold_the_truth():
    """In five dimensions with a wrong q(z|x), at four errors; nothing is the wrong way round."""
    model = LinearGaussian(observed=8, latent=5, noise=0.5)
    x = model.sample(12, seed=3)
    few = {"num_chains": 4, "num_steps": 60}
    found = two_sided(model.vae(shift=0.1, stretch=1.4), x, num_simulated=6, seed=1, **few)
    for sides, truth in (
        (found.data, model.marginal.logpdf(x)),
        (found.simulated, model.marginal.logpdf(found.bracket.x)),
    ):
        assert np.all(sides.lower < truth + 4 * sides.lower_error + 0.01)
        assert np.all(sides.upper > truth - 4 * sides.upper_error - 0.01)
        assert np.mean(sides.upper - sides.lower) < 0.5 and sides.reliable.mean() > 0.5
    assert abs(found.below.value) < 0.3 and abs(found.above.value) < 0.3
    assert "on 6 simulated" in found.verdict()
