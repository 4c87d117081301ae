"""Outlier scores: their signs, hand computations, and files that come back as they were."""

import csv

import numpy as np
import pytest
from conftest import tiny_vae
from linear_gaussian import LinearGaussian
from scipy import stats
from statistics_helpers import ALPHA

from probvae import InputError
from probvae.evaluation import outliers
from probvae.evaluation.latents import rate_distortion

MODEL = LinearGaussian()


@pytest.fixture(scope="module")
def sets():
    """Scores of 400 examples of the model's own and of 300 others, far along the latent axes."""
    vae, inlier = MODEL.vae(), MODEL.sample(400, seed=1)
    other = MODEL.sample(300, seed=2) + 6 * MODEL.weights[:, 0].astype(np.float32)
    reference = MODEL.marginal.logpdf(MODEL.sample(2000, seed=3))
    return [
        outliers.scores(vae, x, MODEL.marginal.logpdf(x), reference_log_marginal=reference, seed=0)
        for x in (inlier, other)
    ]


def test_higher_is_more_outlying(sets):
    """For every score; a score of the wrong sign has an area below a half."""
    inlier, other = sets
    assert set(inlier) == {
        "log_marginal",
        "score_log_marginal",
        "score_typicality",
        "score_rate",
        "score_distortion",
    }
    for name in ("score_log_marginal", "score_typicality", "score_rate"):
        area, error = outliers.auroc(inlier[name], other[name])
        assert area > 0.98 and area - 4.9 * error > 0.5, name
        assert outliers.auroc(-inlier[name], -other[name]).value < 0.02


def test_scores_by_hand(sets, eager):
    vae, x = MODEL.vae(), MODEL.sample(400, seed=1)
    log_marginal = MODEL.marginal.logpdf(x)
    reference = MODEL.marginal.logpdf(MODEL.sample(2000, seed=3))
    np.testing.assert_array_equal(sets[0]["score_log_marginal"], -log_marginal)
    np.testing.assert_allclose(sets[0]["score_typicality"], np.abs(log_marginal - reference.mean()))
    parts = rate_distortion(vae, x, seed=0)
    np.testing.assert_array_equal(sets[0]["score_rate"], parts.rate)
    np.testing.assert_array_equal(sets[0]["score_distortion"], parts.distortion)
    with_regret = outliers.scores(
        vae,
        x,
        log_marginal,
        reference_log_marginal=reference,
        optimized_elbo=log_marginal,  # the best that a fitted q(z|x) can reach
        seed=0,
    )
    regret = log_marginal + parts.rate + parts.distortion
    np.testing.assert_allclose(with_regret["score_regret"], regret)


def test_typicality_finds_what_is_too_likely():
    """The mode is the likeliest example and an untypical one."""
    vae, reference = MODEL.vae(), MODEL.marginal.logpdf(MODEL.sample(2000, seed=3))
    x = MODEL.bias[None].astype(np.float32)
    scores = outliers.scores(vae, x, MODEL.marginal.logpdf(x)[None], reference_log_marginal=reference, seed=0)
    typical = np.abs(reference - reference.mean())
    assert scores["score_typicality"] > np.quantile(typical, 0.8)
    assert scores["score_log_marginal"] < np.min(-reference)


def test_complexity_of_images(x):
    vae, log_marginal = tiny_vae(), np.linspace(-50, -40, 5)
    scores = outliers.scores(vae, x.numpy(), log_marginal, reference_log_marginal=log_marginal, seed=0)
    expected = -log_marginal - outliers.compressed_size(x.numpy())
    np.testing.assert_allclose(scores["score_complexity"], expected)


def test_compressed_size_orders_images_and_keeps_their_bits():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 2, [1, 32, 32, 1])
    blank, columns = np.zeros_like(noise), np.tile(rng.integers(0, 2, [1, 1, 32, 1]), [1, 32, 1, 1])
    bits = outliers.compressed_size(np.concatenate([blank, columns, noise])) / np.log(2)
    assert bits[0] < bits[1] < bits[2] and bits[1] < 200
    assert 1024 <= bits[2] < 1100  # random bits do not compress, and cost one bit each
    grey = outliers.compressed_size(rng.random([2, 32, 32, 3])) / np.log(2)
    assert np.all((grey >= 8 * 3072) & (grey < 8 * 3072 + 200))
    gradient = np.tile(np.arange(256)[None, :, None, None] / 255, [1, 1, 32, 1])
    assert outliers.compressed_size(gradient) / np.log(2) < 500  # its differences are constant
    with pytest.raises(ValueError, match=r"in \[0, 1\]; found values from 0 to 2"):
        outliers.compressed_size(np.array([[0.0, 2.0]]))


def test_scores_refuse_arrays_that_do_not_fit():
    vae, x = MODEL.vae(), MODEL.sample(4, seed=0)
    with pytest.raises(ValueError, match=r"log_marginal of shape \[4\].*got \[3\]"):
        outliers.scores(vae, x, np.zeros(3), reference_log_marginal=np.zeros(2), seed=0)
    for reference in ([], [np.nan], [-np.inf, 0.0]):
        with pytest.raises(ValueError, match="reference_log_marginal needs"):
            outliers.scores(vae, x, np.zeros(4), reference_log_marginal=reference, seed=0)


# ---- the area under the curve --------------------------------------------------------------------


def test_auroc_by_hand():
    """Of the four pairs the outlier wins 2 and ties 1; the error by DeLong's formula."""
    area, error = outliers.auroc(np.array([0.0, 1.0]), np.array([1.0, 0.5]))
    assert area == (1 + 1 + 0.5 + 0) / 4
    above = np.array([0.75, 0.5])  # share of inliers below each outlier
    below = np.array([1.0, 0.25])  # share of outliers above each inlier
    np.testing.assert_allclose(error, np.sqrt(above.var(ddof=1) / 2 + below.var(ddof=1) / 2))


def test_auroc_with_ties_and_infinities_is_the_share_of_pairs():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 40).astype(float), rng.integers(2, 9, 30).astype(float)
    a[0], b[:2] = -np.inf, np.inf
    wins = (b[:, None] > a) + 0.5 * (b[:, None] == a)
    area, error = outliers.auroc(a, b)
    np.testing.assert_allclose(area, wins.mean())
    np.testing.assert_allclose(
        error, np.sqrt(wins.mean(axis=1).var(ddof=1) / 30 + wins.mean(axis=0).var(ddof=1) / 40)
    )


@pytest.mark.slow
def test_auroc_error_is_the_spread_over_repetitions():
    """Variance ratio over 1,000 repetitions by chi-square at `ALPHA`; twice the variance is caught."""
    rng, results = np.random.default_rng(0), []
    for _ in range(1000):
        results.append(outliers.auroc(rng.standard_normal(60), rng.standard_normal(90) + 1))
    areas, errors = np.array(results).T
    statistic = areas.var(ddof=1) * 999 / np.mean(errors**2)

    def p_value(statistic):
        return 2 * min(stats.chi2.cdf(statistic, 999), stats.chi2.sf(statistic, 999))

    assert p_value(statistic) > ALPHA
    assert p_value(statistic / 2) < ALPHA and p_value(statistic * 2) < ALPHA


@pytest.mark.parametrize("scores", [[1.0], [1.0, np.nan]])
def test_auroc_refuses_what_has_no_error(scores):
    with pytest.raises(ValueError, match="AUROC needs"):
        outliers.auroc(np.array(scores), np.array([1.0, 2.0]))


# ---- files ---------------------------------------------------------------------------------------

COLUMNS = {"log_marginal": np.array([-1 / 3, -1e-300, -np.inf]), "score, quoted": np.array([1.0, 2.0, np.pi])}


def test_csv_comes_back(tmp_path):
    path = tmp_path / "scores.csv"
    outliers.save_scores(str(path), COLUMNS)
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["index", *COLUMNS]
    assert [int(row[0]) for row in rows] == [0, 1, 2]
    for j, column in enumerate(COLUMNS.values(), start=1):
        assert [float(row[j]) for row in rows] == column.tolist()  # to the last digit
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.csv"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "scores.csv"
    outliers.save_scores(path, COLUMNS)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("probvae.files.writing.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        outliers.save_scores(path, COLUMNS)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("scores.txt", COLUMNS, r"saved as .csv; got 'scores.txt'"),
        ("scores", COLUMNS, r"saved as .csv"),
        ("absent/scores.csv", COLUMNS, "There is no folder"),
        ("scores.csv", {"index": np.zeros(3)}, "none of them named 'index'"),
        ("scores.csv", {"a": np.zeros(3), "b": np.zeros(2)}, "columns of one length"),
        ("scores.csv", {"a": np.zeros([3, 1])}, "columns of one length"),
    ],
)
def test_save_refuses_in_one_sentence(tmp_path, name, columns, message):
    with pytest.raises(InputError, match=message):
        outliers.save_scores(tmp_path / name, columns)
    assert list(tmp_path.iterdir()) == []
