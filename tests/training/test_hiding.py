"""Values that training hides, and which trainings hide them."""

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from marked_cases import cases
from scipy import stats

import probvae
from probvae import Architecture, InputError, Training, build, objectives
from probvae.cli.train import main
from probvae.data import Prepared
from probvae.seeds import fold_in
from probvae.training import Trainer
from probvae.training.hiding import hide_values
from probvae.training.objective import HIDING, make_objective

RARE = 1e-6  # false-positive rate of each statistical test
ROWS = Architecture(event_shape=(5,), network="mlp", units=(4,), likelihood="normal", missing=True)


def hidden_in(architecture, x, share, seed=0):
    return np.isnan(hide_values(build(architecture), tf.constant(x), share, seed=seed).numpy())


def test_half_of_the_rows_lose_each_number_of_values_equally_often():
    hidden = hidden_in(ROWS, np.zeros([40_000, 5], np.float32), 0.5)
    counts = np.bincount(hidden.sum(axis=1), minlength=6)
    # Half of the rows lose 0 to 5 values, each number with probability 1/6: the mean over u of a binomial.
    expected = len(hidden) * np.array([0.5 + 0.5 / 6, *[0.5 / 6] * 5])
    assert stats.chisquare(counts, expected).pvalue > RARE
    for column in hidden.T:
        assert stats.binomtest(int(column.sum()), len(hidden), 0.25).pvalue > RARE / 5
    once_for_all = hidden_in(ROWS, np.zeros([40_000, 5], np.float32), 1.0)
    assert stats.binomtest(int(np.sum(~once_for_all.any(axis=1))), len(hidden), 1 / 6).pvalue > RARE


def test_values_that_are_not_hidden_stay_and_y_is_never_hidden():
    rows = np.random.default_rng(0).standard_normal([200, 8]).astype(np.float32)
    conditional = Architecture(
        event_shape=(5,), network="mlp", units=(4,), likelihood="normal", missing=True, context_dim=3
    )
    seen = hide_values(build(conditional), tf.constant(rows), 1.0, seed=0).numpy()
    hidden = np.isnan(seen)
    assert hidden[:, :5].any(axis=0).all() and not hidden[:, 5:].any()
    np.testing.assert_array_equal(seen[~hidden], rows[~hidden])


def test_pixels_are_hidden_with_all_of_their_channels():
    images = Architecture(
        event_shape=(2, 3, 3), network="mlp", units=(4,), likelihood="logistic_mixture", missing=True
    )
    hidden = hidden_in(images, np.full([50, 2, 3, 3], 7.0, np.float32), 1.0)
    assert hidden.any() and not hidden.all()
    np.testing.assert_array_equal(hidden.any(axis=-1), hidden.all(axis=-1))


def test_the_objective_is_that_of_the_values_that_are_seen_and_hides_others_with_each_seed():
    vae, x = build(ROWS), tf.random.stateless_normal([8, 5], (0, 1))
    objective = make_objective(Training(hide=1.0), num_examples=8)
    whole = make_objective(Training(), num_examples=8)
    found, again, other = (objective(vae, x, seed=(0, s)).numpy() for s in (1, 1, 2))
    np.testing.assert_array_equal(found, again)
    assert np.all(found != other)
    seen = hide_values(vae, x, 1.0, seed=fold_in((0, 1), HIDING))
    hidden = np.isnan(seen).any(axis=1)
    assert hidden.any() and not hidden.all()
    np.testing.assert_array_equal(found, objectives.elbo(vae, seen, seed=(0, 1)))
    np.testing.assert_array_equal(found != whole(vae, x, seed=(0, 1)).numpy(), hidden)


def test_a_trainer_hides_values_with_the_same_numbers_each_time():
    x = np.random.default_rng(0).standard_normal([16, 5]).astype(np.float32)
    weights = []
    for share in (0.0, 0.5, 0.5):
        vae = build(ROWS)
        data = Prepared(x, x[:4], lambda batch, seed: tf.cast(batch, tf.float32))
        history = Trainer(vae, data, Training(hide=share, epochs=2, batch_size=8, parts=1)).fit()
        assert np.isfinite(history[-1].train_elbo)
        weights.append(np.concatenate([v.numpy().ravel() for v in vae.variables]))
    np.testing.assert_array_equal(weights[1], weights[2])
    assert np.any(weights[0] != weights[1])
    with pytest.raises(InputError, match=r"hide=0\.5 has no effect .* missing=True"):
        Trainer(build(Architecture(**{**vars(ROWS), "missing": False})), data, Training(hide=0.5))


SMALL = {"latent_dim": 2, "units": (4,)}
BRIEF = {"epochs": 0, "batch_size": 16}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hiding")
    rows = "".join(f"{i % 7}.5,{'ab'[i % 2]}\n" for i in range(40))
    (folder / "full.csv").write_text("x,y\n" + rows)
    (folder / "gaps.csv").write_text("x,y\n,a\n" + rows)
    np.save(folder / "rows.npy", np.random.default_rng(0).standard_normal([40, 3]))
    return folder


CASES = {
    "a table": ("full.csv", {}, {}, 0.5, True),
    "another share": ("gaps.csv", {}, {"hide": 0.25}, 0.25, True),
    "none": ("full.csv", {}, {"hide": 0.0}, 0.0, False),
    "no missing cells": ("full.csv", {"missing": False}, {}, 0.0, False),
    "none of missing cells": ("gaps.csv", {"missing": True}, {"hide": 0.0}, 0.0, True),
    "an array": ("rows.npy", {}, {}, 0.0, False),
    "an array with missing values": ("rows.npy", {"missing": True}, {}, 0.0, True),
    "an array and a share": ("rows.npy", {}, {"hide": 0.5}, 0.5, True),
}


@pytest.mark.parametrize("name", cases(CASES, slow=[*CASES][3:7]))
def test_tables_hide_half_of_the_rows_unless_told_otherwise(files, tmp_path, name):
    file, architecture, training, hide, missing = CASES[name]
    run = probvae.runs.train({**SMALL, **architecture}, {**BRIEF, **training}, files / file, tmp_path / "run")
    assert (run.training.hide, run.architecture.missing) == (hide, missing)


def test_a_whole_configuration_is_taken_as_it_is(files, tmp_path):
    run = probvae.runs.train(SMALL, Training(**BRIEF, binarize="none"), files / "full.csv", tmp_path / "run")
    assert (run.training.hide, run.architecture.missing) == (0.0, False)


def test_whole_rows_alone_take_no_missing_cells(files, tmp_path):
    command = ["--data", str(files / "gaps.csv"), "--output", str(tmp_path / "run"), "--hide", "0"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2 and "--missing" in result.output
    assert not (tmp_path / "run").exists()
