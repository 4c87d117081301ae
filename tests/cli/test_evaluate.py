"""probvae-evaluate as a user meets it: the table, the files, comparison, bad input, Ctrl-C."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import probvae
from probvae.cli.evaluate import main
from probvae.cli.train import main as train
from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.evaluation import stages
from probvae.evaluation.stages import STAGES
from probvae.evaluation.state import Options
from probvae.inference.annealing import AIS, BDMC
from probvae.models.building import build

FEW = ["--num-samples", "40", "--train-images", "40", "--gap-images", "2", "--ais-images", "2"]


def invoke(*arguments, command=main):
    return CliRunner().invoke(command, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two tiny runs on the same images: of two latent dimensions, and an untrained one of five."""
    folder = tmp_path_factory.mktemp("evaluate")
    rng = np.random.default_rng(0)
    x = (rng.random([120, 8, 9]) < np.linspace(0, 1, 9)).astype(np.uint8) * 255
    np.savez(folder / "a.npz", x_train=x, x_test=x[:30], y_train=np.arange(120) % 3, y_test=np.arange(30) % 3)
    np.savez(folder / "b.npz", x_train=x, x_test=255 - x[:30])
    done = invoke(
        *("--data", folder / "a.npz", "--output", folder / "two", "--filters", "3,4", "--epochs", 5),
        *("--quiet", "--learning-rate", 0.02, "--batch-size", 5),
        command=train,
    )
    assert done.exit_code == 0, done.output
    five = Architecture((8, 9, 1), latent_dim=5, posterior="tril", filters=(3, 4))
    probvae.save(build(five), folder / "five", Training(data=str(folder / "a.npz")))
    return folder


def bracket(vae, n, **options):
    """What annealed importance sampling gives, without its long compilation."""
    numbers = [np.full(n, value) for value in (0.1, 0.7, 9.0, 14.0)]
    found = AIS(np.linspace(-31, -30, n), *numbers, np.arange(n) > 0)
    return BDMC(np.zeros([n, *vae.event_shape]), np.zeros([n, 2]), found, found)


@pytest.fixture(scope="module")
def evaluated(runs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "ais", lambda vae, x, **options: bracket(vae, len(x)).forward)
        patch.setattr(stages, "bdmc", bracket)
        result = invoke(runs / "two", *FEW, "--outliers", runs / "b.npz")
    assert result.exit_code == 0, result.output
    return runs / "two" / "evaluation", result.output


def test_folder_is_complete(evaluated):
    folder, _ = evaluated
    pictures = {"bound_against_samples.png", "gaps.png", "posterior_contours.png"}
    assert {p.name for p in folder.iterdir()} == {"metrics.json", "per_example.npz", "scores.csv", *pictures}
    for name in pictures:
        with Image.open(folder / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 5, name


def test_every_number_has_its_errors_and_the_order_is_right(evaluated):
    folder, output = evaluated
    content = json.loads((folder / "metrics.json").read_text())
    results = content["results"]
    assert content["unfinished"] == [] and content["conditions"]["num_images"] == 30
    for key, result in results.items():
        assert key == "active_units" or result["standard_error"] >= 0, key
        assert (
            f"{result['mean']:.0f}" in output
            or f"{result['mean']:.2f}" in output
            or f"{result['mean']:.4f}" in output
        ), key
    assert results["elbo"]["mean"] < results["iwae"]["mean"] < results["exact"]["mean"] + 0.05
    assert results["elbo"]["monte_carlo_error"] > 0
    with np.load(folder / "per_example.npz") as arrays:
        margin = 6 * arrays["iwae_monte_carlo_error"] + 0.05
        assert np.all(arrays["elbo"] < arrays["iwae"] + 1e-9)
        assert np.all(arrays["iwae"] < arrays["exact"] + margin)
        total = arrays["test_approximation_gap"] + arrays["test_amortization_gap"]
        np.testing.assert_allclose(total, (arrays["exact"] - arrays["elbo"])[:2], atol=1.0)
        mean = results["exact"]["mean"]
        assert arrays["exact"].mean() == pytest.approx(mean)
    bits = results["bits_per_dimension"]["mean"]
    assert bits == pytest.approx(-mean / (72 * np.log(2)))
    assert results["auroc_score_log_marginal"]["mean"] > 0.9


def test_scores_name_each_example(evaluated):
    folder, _ = evaluated
    rows = list(csv.DictReader((folder / "scores.csv").read_text().splitlines()))
    assert [int(row["index"]) for row in rows] == list(range(30))
    with np.load(folder / "per_example.npz") as arrays:
        np.testing.assert_allclose(
            [float(r["score_log_marginal"]) for r in rows], -arrays["exact"], rtol=1e-5
        )


def test_the_numbers_are_the_models(evaluated, runs):
    folder, _ = evaluated
    x = np.float32(np.load(runs / "a.npz")["x_test"][..., None] / 255)
    exact = probvae.load(runs / "two").marginal(method="exact").log_prob(x).numpy()
    with np.load(folder / "per_example.npz") as arrays:
        np.testing.assert_allclose(arrays["exact"], exact, atol=0.02)


@pytest.mark.slow
def test_annealing_is_near_the_exact_values(runs, tmp_path):
    few = ["--num-samples", 7, "--train-images", 0, "--gap-images", 0, "--ais-images", 2]
    assert invoke(runs / "two", *few, "--output", tmp_path / "out").exit_code == 0
    results = json.loads((tmp_path / "out" / "metrics.json").read_text())["results"]
    assert abs(results["ais_minus_exact"]["mean"]) < 0.3
    assert -0.3 < results["bdmc_upper"]["mean"] - results["bdmc_lower"]["mean"] < 0.6


@pytest.mark.slow
def test_more_latent_dimensions_and_comparison(evaluated, runs):
    few = [*FEW[:6], "--ais-images", 0]
    result = invoke(runs / "five", *few, "--compare", runs / "two")
    assert result.exit_code == 0, result.output
    results = json.loads((runs / "five" / "evaluation" / "metrics.json").read_text())["results"]
    assert "exact" not in results and "ais" not in results
    assert "lies below log p(x)" in results["test_approximation_gap"]["note"]
    line = re.search(r"minus that of .*two, paired over 30 examples: (\S+) nats", result.output)
    with (
        np.load(runs / "five" / "evaluation" / "per_example.npz") as ours,
        np.load(runs / "two" / "evaluation" / "per_example.npz") as theirs,
    ):
        assert float(line[1]) == pytest.approx(np.mean(ours["iwae"] - theirs["iwae"]), abs=1e-3)


def test_other_conditions_are_refused_unless_forced(evaluated, runs, tmp_path, eager):
    few = ["--num-samples", 7, "--train-images", 0, "--gap-images", 0, "--ais-images", 0]
    few += ["--compare", runs / "two"]
    refused = invoke(runs / "five", *few, "--output", tmp_path / "a")
    assert refused.exit_code == 2
    assert "not comparable: num samples is 7 in the first and 40 in the second" in refused.output
    assert not (tmp_path / "a").exists()  # refused before anything was computed
    assert invoke(runs / "five", *few, "--force", "--output", tmp_path / "b").exit_code == 0


def test_an_evaluation_is_replaced_only_when_asked(evaluated, runs):
    refused = invoke(runs / "two", *FEW)
    assert refused.exit_code == 2 and "is in use: add --overwrite" in refused.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "There is no run folder absent"),
        (["RUN", "--num-samples", "0"], "0 is not in the range x>=1"),
        (["RUN", "--limit", "1"], "1 is not in the range x>=2"),
        (["RUN", "--tolerance", "0"], "is not in the range"),
        (["RUN", "--data", "digits"], r"takes x of shape \[8, 9, 1\]; digits holds \[28, 28, 1\]"),
        (["RUN", "--data", "absent.npz"], "There is no file absent.npz"),
        (["RUN", "--outliers", "digits"], r"takes x of shape \[8, 9, 1\]"),
        (["RUN", "--outliers", "digits", "--train-images", "0"], "--outliers needs training examples"),
        (["RUN", "--compare", "absent"], "There is no run folder absent"),
        (["RUN", "--stages", "exact,bound"], "Each of stages must be one of bounds, exact, .*; got 'bound'"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_is_one_line(arguments, message, runs, tmp_path):
    arguments = [runs / "two" if a == "RUN" else a for a in arguments]
    result = invoke(*arguments, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert re.search(message, result.output), result.output
    assert result.output.startswith("Error: ") and len(result.output.splitlines()) == 1


def test_the_run_itself_is_never_overwritten(runs):
    before = (runs / "two" / "metrics.json").read_bytes()
    refused = invoke(runs / "two", *FEW, "--output", runs / "two", "--overwrite")
    assert refused.exit_code == 2 and "is a run folder" in refused.output
    assert (runs / "two" / "metrics.json").read_bytes() == before


def test_an_evaluation_of_other_weights_is_not_compared_with(evaluated, runs, tmp_path):
    shutil.copytree(runs / "two", tmp_path / "run")
    weights = dict(np.load(tmp_path / "run" / "weights.npz"))
    np.savez(tmp_path / "run" / "weights.npz", **{k: v + 1 for k, v in weights.items()})
    result = invoke(runs / "five", "--compare", tmp_path / "run", "--output", tmp_path / "out")
    assert result.exit_code == 2 and "is of other weights than the run has now" in result.output


def test_chosen_stages_alone_are_run_and_the_bounds_in_any_case(runs, tmp_path):
    arguments = ["--num-samples", 5, "--limit", 4, "--stages", "bits-per-dimension", "--output", tmp_path]
    result = invoke(runs / "five", *arguments)
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert list(content["seconds"]) == ["bounds", "bits per dimension"] and content["unfinished"] == []
    assert set(content["results"]) == {"elbo", "iwae", "bits_per_dimension"}


@pytest.mark.slow
def test_few_images_and_one_draw(runs, tmp_path, eager):
    options = ["--num-samples", 1, "--train-images", 3, "--gap-images", 0, "--ais-images", 0, "--limit", 2]
    result = invoke(runs / "two", *options, "--tolerance", 0.5, "--output", tmp_path)
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "metrics.json").read_text())["results"]
    assert results["elbo"]["monte_carlo_error"] is None and results["knn_accuracy"]["num_examples"] == 2


def test_damaged_weights(runs, tmp_path):
    shutil.copytree(runs / "two", tmp_path / "run", ignore=shutil.ignore_patterns("evaluation"))
    (tmp_path / "run" / "weights.npz").write_bytes(b"PK")
    result = invoke(tmp_path / "run")
    assert result.exit_code == 2 and "weights.npz" in result.output and len(result.output.splitlines()) == 1


@pytest.mark.slow
def test_ctrl_c_gives_what_it_has(runs, tmp_path):
    command = [sys.executable, "-m", "probvae.cli.evaluate", runs / "five", "--output", tmp_path / "out"]
    command += ["--num-samples", "50", "--train-images", "40", "--gap-images", "30", "--ais-images", "30"]
    with subprocess.Popen(
        [str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("IWAE"):
                break
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert "stopping: giving what is known" in error and "Traceback" not in error
    assert "stopped early, without all of: " in output
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {"elbo", "iwae"} <= content["results"].keys() and content["unfinished"]


def test_defaults_of_the_command_are_those_of_the_options():
    defaults = {p.name: p.default for p in main.params if p.name in Options.__dataclass_fields__}
    assert defaults.pop("stages") == "" and Options().stages == ()  # a text with commas, and its names
    assert defaults == {n: f.default for n, f in Options.__dataclass_fields__.items() if n != "stages"}
    assert list(STAGES)[:2] == ["bounds", "exact"]
