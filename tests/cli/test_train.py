"""probvae-train as a user meets it: a whole run, bad input of every kind, Ctrl-C."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner
from marked_cases import cases
from PIL import Image

import probvae
from probvae.cli.train import main
from probvae.objectives import memory

COMMAND = [sys.executable, "-m", "probvae.cli.train"]
TINY = ["--filters", "3,4", "--batch-size", "16", "--epochs", "2"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    x = (rng.random([90, 8, 9]) < np.linspace(0, 1, 9)).astype(np.uint8) * 255
    np.savez(path, x_train=x, x_test=x[:20], y_train=np.arange(90) % 3, y_test=np.arange(20) % 3)
    return path


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def run(images, tmp_path_factory):
    """One tiny run of the whole command: the folder and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = invoke("--data", images, "--output", folder, *TINY, "--seed", 3)
    assert done.exit_code == 0, done.output
    return folder, done


def test_output_is_readable_and_quiet_of_noise(run):
    folder, done = run
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert "90 training and 20 test images of 8x9x1" in done.stdout
    assert [line.split()[0] for line in lines if "/2 " in line] == ["1/2", "2/2"]
    assert lines[-1].startswith("done: test ELBO -") and str(folder) in lines[-1]


def test_the_columns_of_a_table_are_printed_before_training(tmp_path):
    rows = "".join(
        f"{i % 90 + 10:03d};{i / 4};{'x' if i % 9 else '-'};2020-01-{1 + i % 28:02d}\n" for i in range(180)
    )
    (tmp_path / "a.csv").write_text("id;a=b;mark;day\n" + rows.replace(".", ","))
    arguments = [
        "--data",
        tmp_path / "a.csv",
        "--output",
        tmp_path / "run",
        "--epochs",
        0,
        "--units",
        4,
        "--missing",
    ]
    refused = invoke(
        *arguments, "--column-kinds", "day=poisson", "--column-kinds", "a=b=lognormal,mark=normal"
    )
    assert refused.exit_code == 2 and "Traceback" not in refused.output
    assert (
        "add --column-kinds a=b=normal --column-kinds mark=bernoulli --column-kinds day=normal"
        in refused.stderr
    )
    done = invoke(*arguments, "--na", "-,?", "--column-kinds", "mark=ignore,a=b=normal")
    assert done.exit_code == 0, done.output
    table = done.stdout[done.stdout.index("name ") : done.stdout.index("   epoch ")].splitlines()
    assert [line.split()[:3] for line in table[:4]] == [
        ["name", "kind", "type"],
        ["id", "categorical:90", "text"],
        ["a=b", "normal", "number"],
        ["day", "normal", "date"],
    ]
    assert table[0].endswith("missing  why this kind") and table[1].endswith("text")
    assert table[2].endswith("given") and table[3].endswith("dates")
    assert (
        "Warning: Column 'id' of a.csv stays text, as it holds 010: --column-kinds id=normal" in done.stderr
    )


def test_run_folder_is_complete(run):
    folder, _ = run
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    frames = {f"images/{kind}_at_epoch_{i:04d}.png" for kind in ("image", "prior") for i in range(3)}
    pictures = {"originals.png", "latent_manifold.png", "latent_means.png", "learning_curves.png"}
    pictures.add("traversals.png")
    gifs = {"reconstructions.gif", "prior.gif"}
    states = {f"checkpoints/step-{step:09d}.state" for step in (6, 12)}
    files = {"config.json", "schema.json", "weights.npz", "history.csv", "metrics.json", "commands.json"}
    files.add("report.html")
    assert names == {*files, *frames, *pictures, *gifs, *states}
    for name in {*frames, *pictures}:
        with Image.open(folder / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 5, name
    for name in gifs:
        with Image.open(folder / name) as gif:
            assert gif.n_frames == 3


def test_numbers_agree_with_each_other_and_with_the_saved_model(run, images):
    folder, done = run
    metrics = json.loads((folder / "metrics.json").read_text())
    history = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    config = json.loads((folder / "config.json").read_text())
    assert len(history) == 2 and metrics["epochs"] == 2 and metrics["interrupted"] is False
    assert float(history[-1]["test_elbo"]) == pytest.approx(metrics["test_elbo"]["mean"], rel=1e-6)
    assert f"{metrics['test_elbo']['mean']:.2f}" in done.stdout
    assert config["training"]["seed"] == metrics["seed"] == 3
    assert metrics["data"]["binarize"] == "threshold" and len(metrics["data"]["fingerprint_sha256"]) == 64
    assert {"python", "probvae", "tensorflow", "tensorflow-probability", "numpy"} <= metrics[
        "versions"
    ].keys()
    vae = probvae.load(folder)
    x = np.load(images)["x_test"][..., None] / np.float32(255)
    estimate = np.mean(probvae.elbo(vae, x, num_samples=200, seed=1))
    assert abs(estimate - metrics["test_elbo"]["mean"]) < 6 * metrics["test_elbo"]["standard_error"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run_and_quiet_prints_one_line(run, images, tmp_path):
    folder, _ = run
    result = invoke("--data", images, "--output", tmp_path / "again", *TINY, "--seed", 3, "--quiet")
    assert result.exit_code == 0 and len(result.output.splitlines()) == 1
    with np.load(folder / "weights.npz") as a, np.load(tmp_path / "again" / "weights.npz") as b:
        assert all(np.array_equal(a[key], b[key]) for key in a.files)


@pytest.mark.slow
def test_an_existing_run_is_overwritten_only_when_asked(images, tmp_path):
    arguments = ["--data", images, "--output", tmp_path / "run", *TINY, "--quiet"]
    assert invoke(*arguments).exit_code == 0
    (tmp_path / "run" / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    refused = invoke(*arguments, "--epochs", 1)
    assert refused.exit_code == 2 and "exists already: choose another --output" in refused.output
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert invoke(*arguments, "--epochs", 1, "--overwrite").exit_code == 0
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "run" / "images" / "image_at_epoch_0002.png").exists()


def test_overwrite_never_touches_a_folder_that_is_no_run(images, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    result = invoke("--data", images, "--output", tmp_path, "--overwrite", *TINY)
    assert result.exit_code == 2 and "is not a run folder" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "many"], "'many' is not a valid integer"),
        (["--epochs", "-1"], "epochs must be from 0 to 1,000,000; got -1"),
        (["--filters", "32;64"], "not a list of integers with commas"),
        (["--filters", "0"], "filters must be from 1"),
        (["--posterior", "cauchy"], "'cauchy' is not one of 'diagonal', 'tril'"),
        (["--latent-dim", "0"], "latent_dim must be from 1 to 4,096; got 0"),
        (["--learning-rate", "nan"], "learning_rate must be from 0.0 to 10.0; got nan"),
        (["--seed", "-1"], "seed must be from 0"),
        (["--depth", "3"], "No such option"),
        (["extra"], "unexpected extra argument"),
        (["--recipe", "secret"], "is not one of 'tutorial', 'tuned'"),
        (
            ["--objective", "iwae", "--analytic-kl"],
            "analytic_kl is an option of the objectives elbo, free_bits",
        ),
        (["--data", "imagenet"], "Data must be one of mnist, fashion_mnist, kmnist, cifar10, digits or"),
        (["--data", "absent.npz"], "There is no file absent.npz"),
        (["--data", "digits", "--binarize", "none"], "from 0 to 1, .* choose threshold, static or dynamic"),
        (["--data", "digits", "--filters", "4,4,4,4,4"], "both sides must be at least 63"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, message, tmp_path):
    result = invoke("--output", tmp_path / "run", *arguments)
    assert result.exit_code == 2
    assert re.search(message, result.output), result.output
    assert result.output.startswith("Error: ") and len(result.output.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_steps_that_do_not_fit_into_memory_are_refused_before_a_folder_is_made(images, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 2**28)
    draws = ["--objective", "iwae", "--num-samples", 50_000]
    result = invoke("--data", images, "--output", tmp_path / "run", *TINY, *draws)
    assert result.exit_code == 2 and len(result.output.splitlines()) == 1
    assert re.search(r"50,000 draws for each of 16 .* 0\.2 GiB are free: use at most [\d,]+", result.output)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_made(images, tmp_path):
    tmp_path.chmod(0o500)
    result = invoke("--data", images, "--output", tmp_path / "run", *TINY)
    assert result.exit_code == 2 and "cannot be used: Permission denied" in result.output


def test_an_output_below_a_file(images, tmp_path):
    (tmp_path / "file").write_text("")
    result = invoke("--data", images, "--output", tmp_path / "file" / "run", *TINY)
    assert result.exit_code == 2 and "cannot be used: Not a directory" in result.output


@pytest.mark.slow
def test_no_epochs_keeps_the_initial_model(images, tmp_path):
    assert invoke("--data", images, "--output", tmp_path / "run", *TINY, "--epochs", 0).exit_code == 0
    assert probvae.load(tmp_path / "run").latent_dim == 2


@pytest.mark.parametrize(
    "number",
    cases(
        [signal.SIGINT, signal.SIGTERM],
        slow=[signal.SIGINT],
        long={signal.SIGTERM: "test_a_signal_ends_the_run_and_keeps_what_was_learnt[2]"},
    ),
)
def test_a_signal_ends_the_run_and_keeps_what_was_learnt(number, images, tmp_path):
    command = [*COMMAND, "--data", images, "--output", tmp_path / "run", *TINY, "--epochs", "100000"]
    with subprocess.Popen(
        [str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.split()[:1] == ["2/1e+05"] or line.split()[:1] == ["2/100000"]:
                break
        process.send_signal(number)
        deadline = time.time() + 60
        output, error = process.communicate(timeout=deadline - time.time())
    assert process.returncode == 128 + number
    (line,) = error.splitlines()  # without the noise of the libraries of a new process
    assert line.startswith("stopping: saving what has been learnt")
    assert "stopped early: test ELBO" in output
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["interrupted"] is True and metrics["epochs"] >= 2
    probvae.load(tmp_path / "run")


def test_resume_refuses_what_it_would_spoil(run, images, tmp_path):
    """In one line, and nothing changed: no run, no checkpoint, other data, settings that cannot change."""
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".mine.tmp").touch()
    shifted = dict(np.load(images))
    shifted["y_train"] = shifted["y_train"][::-1]
    np.savez(tmp_path / "other.npz", **shifted)
    for arguments, message in [
        ([tmp_path / "absent"], "There is no run folder"),
        ([images], "is a file: give the folder"),
        ([tmp_path / "mine"], "has no config.json"),
        ([folder, "--data", tmp_path / "other.npz"], "are not those that the run"),
        ([folder, "--epochs", 1], "epochs must be 2 or more"),
        ([folder, "--latent-dim", 3], "leave --latent-dim out"),
        ([folder, "--checkpoint-every", "often"], "a number of steps, or a time"),
    ]:
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        result = invoke("--resume", *arguments)
        assert result.exit_code == 2 and message in result.output, result.output
        assert len(result.output.splitlines()) == 1
        assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    shutil.rmtree(folder / "checkpoints")
    weights = (folder / "weights.npz").read_bytes()
    result = invoke("--resume", folder)
    assert result.exit_code == 2 and "no checkpoint to go on from" in result.output
    assert (folder / "weights.npz").read_bytes() == weights


def test_help_needs_no_tensorflow():
    code = (
        "import sys\n"
        "from probvae.cli.train import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "assert not {'tensorflow', 'numpy', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for option in ("--data", "--recipe", "--latent-dim", "--posterior", "--binarize", "--seed"):
        assert option in done.stdout


def test_a_kl_without_closed_form_is_refused_before_anything_is_written(images, tmp_path):
    run = tmp_path / "run"
    result = invoke("--data", images, "--output", run, *TINY, "--posterior", "iaf", "--analytic-kl")
    assert result.exit_code == 2 and not run.exists()
    assert "The KL of the posterior iaf and the prior standard_normal has no closed form" in result.output


@pytest.mark.slow
def test_images_of_counts_are_counts(tmp_path):
    counts = np.random.default_rng(0).poisson(3.0, [30, 8, 8])
    np.save(tmp_path / "counts.npy", counts)
    run = tmp_path / "run"
    options = ["--data", tmp_path / "counts.npy", "--output", run, *TINY]
    assert invoke(*options, "--likelihood", "poisson").exit_code == 0
    elbo = json.loads((run / "metrics.json").read_text())["test_elbo"]["mean"]
    assert (
        elbo < -64 * 1.5
    )  # the entropy of Poisson(3) is 1.93 nats a pixel; that of counts / 255 next to none
    few = invoke(*options, "--overwrite", "--likelihood", "categorical", "--classes", 4)
    assert few.exit_code == 2 and "classes is 4; found values from 0 to" in few.output
