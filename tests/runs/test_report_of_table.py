"""The report of a table: column names everywhere, no word of images, and every section."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from click.testing import CliRunner
from test_report import Page, make_run

from probvae.cli.evaluate import main as evaluate
from probvae.cli.train import main as train
from probvae.runs import Run
from probvae.runs.reports.findings import findings_of
from probvae.runs.reports.page import read_run, run_page

NAMES = ["age", "<b>$x_{$</b>", "gain", "직업", "born"]
OF_IMAGES = re.compile(r"image|pixel|picture", re.IGNORECASE)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a small table with missing cells, and what its commands print."""
    folder, rng, n = tmp_path_factory.mktemp("table"), np.random.default_rng(0), 240
    ages = rng.integers(18, 90, n)
    columns = [
        ages,
        np.where(ages > 50, "old & <i>", "young"),
        np.where(rng.random(n) < 0.8, 0, np.rint(np.exp(rng.normal(7, 2, n)))),
        rng.choice(["교사", "의사", "농부"], n),
        (pd.Timestamp("2000-01-01") - pd.to_timedelta(365 * ages, unit="D")).strftime("%Y-%m-%d"),
    ]
    frame = pd.DataFrame(dict(zip(NAMES, columns, strict=True)))
    frame.mask(rng.random(frame.shape) < 0.1).to_csv(folder / "a.csv", index=False)
    options = [
        "--data",
        str(folder / "a.csv"),
        "--epochs",
        "1",
        "--batch-size",
        "128",
        "--missing",
        "--units",
        "8",
        "--latent-dim",
        "4",
    ]
    tf.config.run_functions_eagerly(True)  # quicker for so few steps
    trained = CliRunner().invoke(train, [*options, "--output", str(folder / "run")])
    assert trained.exit_code == 0, trained.output
    before = (folder / "run" / "report.html").read_text()
    few = ["--num-samples", "5", "--gap-images", "0", "--ais-images", "0", "--train-images", "20"]
    evaluated = CliRunner().invoke(evaluate, [str(folder / "run"), *few])
    assert evaluated.exit_code == 0, evaluated.output
    yield folder / "run", trained.output, before, evaluated.output
    tf.config.run_functions_eagerly(False)


def words(page):
    return re.sub(r"--(train|gap|ais)-images", "", page.text)


def test_every_section_is_there_with_names_and_without_images(run):
    folder, _, before, _ = run
    after = (folder / "report.html").read_text()
    for text in (before, after):
        page = Page(text)
        assert page.open == [] and not OF_IMAGES.search(words(page)), OF_IMAGES.search(words(page))
        alternatives = [a.get("alt", "") + a.get("aria-label", "") for _, a in page.elements]
        assert not any(OF_IMAGES.search(alternative) for alternative in alternatives)
        headings = ("Columns: the data and drawn rows", "Pairs of columns", "Copies of training rows")
        assert all(heading in page.text for heading in (*headings, "Imputation of held-out cells"))
        for name in NAMES:
            assert page.text.count(name) >= 4, name  # its row, its bars, a pair, a matrix
        assert "교사" in page.text and "old & <i>" in page.text
        assert "p-value" in page.text and "total variation" in page.text
    assert "Not measured yet" in Page(before).text and "share of wrong levels" in Page(after).text
    assert "mean absolute error in days" in Page(after).text


def test_the_commands_speak_of_examples_and_columns(run):
    _, trained, _, evaluated = run
    for output in (trained, evaluated):
        assert not OF_IMAGES.search(output), OF_IMAGES.search(output)
    for words in (
        "distance of a column",
        "largest distance of a pair",
        "very near a training row",
        "imputed age",
    ):
        assert words in evaluated


def test_evaluation_and_report_agree_on_the_dimensions(run):
    folder, _, _, output = run
    used = int(
        json.loads((folder / "evaluation" / "metrics.json").read_text())["results"]["active_units"]["mean"]
    )
    text = Page((folder / "report.html").read_text()).text
    assert f"{used} of 4 dimensions are used" in text and "active units" in output
    assert ("Posterior collapse" in text) == (used < 4)


def test_a_damaged_comparison_is_told(run, tmp_path):
    folder = run[0]
    content = (folder / "table.json").read_text()
    evaluation = folder / "evaluation" / "table.json"
    kept = evaluation.read_text()
    try:
        unsorted = re.sub(r'"edges": \[(-?[\d.e+]+), ', '"edges": [1e99, ', content)
        assert unsorted != content
        for damaged in (content.replace("distance", "d"), unsorted):
            evaluation.write_text(damaged)
            found = read_run(folder)
            assert len(found.problems) == 1 and "table.json is damaged" in found.problems[0]
            assert "Columns: the data and drawn rows" in run_page(found)  # that of the training
    finally:
        evaluation.write_text(kept)
    assert Run(folder).history


@pytest.mark.parametrize(
    ("kl", "variances", "titles"),
    [
        (0.02, [0.5, 0.5, 0.5], {"Little information in z"}),
        (0.02, [1e-3, 1e-3, 1e-3], {"Posterior collapse"}),
        (9.0, [1e-3, 1e-3, 1e-3], {"Posterior collapse"}),
        (9.0, [0.5, 1e-3, 0.5], {"Posterior collapse in part"}),
        (9.0, [0.5, 0.5, 0.5], set()),
    ],
)
def test_collapse_never_contradicts_the_used_dimensions(kl, variances, titles, tmp_path):
    metrics = {"latent_variance": variances, "test_kl": {"mean": kl, "standard_error": 0.1}}
    run = read_run(make_run(tmp_path / "a", metrics=metrics))
    found = {f.title for f in findings_of(run)} - {"Not at its end"}
    assert found == titles
    used = sum(v > 0.01 for v in variances)
    text = Page(run_page(run)).text
    assert f"{used} of 3 dimensions are used" in text
    assert ("No latent dimension carries" in text) == (used == 0)
