"""A run from Python: the same numbers as the commands', progress by an observer, mistakes as InputError."""

import ast
import csv
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import probvae
from probvae import Architecture, InputError, Training, runs
from probvae.cli.train import main as train_command

MODEL = {"filters": (3, 4), "prior": "mixture", "components": 3}
SETTINGS = {"image_size": (8, 8), "seed": 3, "learning_rate": 1e-2}
OPTIONS = "--image-size 8 --seed 3 --learning-rate 0.01 --filters 3,4 --prior mixture --components 3"


def arrays(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def timeless(folder):
    """The history and the metrics of a run without times and memory."""
    rows = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]
    metrics = json.loads((folder / "metrics.json").read_text())
    dropped = ("training_seconds", "images_per_second", "peak_memory_mb")
    return rows, {k: v for k, v in metrics.items() if k not in dropped}


def assert_same(a, b):
    """Require the same weights, history, metrics and pictures of two run folders."""
    first, second = arrays(a / "weights.npz"), arrays(b / "weights.npz")
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert timeless(a) == timeless(b)
    assert (a / "config.json").read_bytes() == (b / "config.json").read_bytes()
    names = sorted(path.relative_to(a) for path in a.rglob("*.png"))
    assert names == sorted(path.relative_to(b) for path in b.rglob("*.png"))
    assert [n for n in names if (a / n).read_bytes() != (b / n).read_bytes()] == []


class Notes(runs.Observer):
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    def begin_training(self, job, place):
        self.told.append(("begin", job.folder.name, place))

    def chunk(self, epoch, examples):
        self.told.append(("chunk", epoch, examples))

    def epoch(self, row):
        self.told.append(("epoch", row.epoch))

    def begin(self, words):
        self.told.append(("begin", words))

    def stage(self, name):
        self.told.append(("stage", name))

    def lines(self, lines):
        self.told += [("line", line.key) for line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(folder):
    """A run of two epochs that was never interrupted, and what an observer was told."""
    notes = Notes()
    return runs.train(MODEL, {**SETTINGS, "epochs": 2}, "digits", folder / "whole", observer=notes), notes


@pytest.mark.slow
def test_the_same_weights_as_the_command(run, folder, capsys):
    assert run[0].metrics["epochs"] == 2 and run[0].training.binarize == "threshold"
    command = f"--data digits {OPTIONS} --epochs 2 --parts 1 --quiet --output {folder / 'command'}"
    done = CliRunner().invoke(train_command, command.split())
    assert done.exit_code == 0 and len(done.output.splitlines()) == 1
    assert_same(folder / "whole", folder / "command")


def test_an_observer_is_told_and_nothing_is_printed(run, capsys):
    told = run[1].told
    assert told[0] == ("begin", "whole", "") and [t for t in told if t[0] == "epoch"] == [
        ("epoch", 1.0),
        ("epoch", 2.0),
    ]
    assert sum(t[2] for t in told if t[0] == "chunk" and t[1] == 1) == 1500
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_resumed_is_uninterrupted(run, folder):
    """Stopped within the first epoch, then after it, and gone on to the end."""
    asked = iter(range(2))
    settings = Training(data="digits", epochs=1, **SETTINGS)
    part = runs.train(
        Architecture(**MODEL, event_shape=(8, 8, 1)),
        settings,
        output=folder / "parts",
        should_stop=lambda: next(asked, None) is None,
    )
    assert part.interrupted and 0 < part.metrics["epochs"] < 1
    notes = Notes()
    part = runs.resume(part, observer=notes)
    assert not part.interrupted and part.metrics["epochs"] == 1
    assert notes.told[0][2].startswith("after step")
    assert_same_after(runs.resume(folder / "parts", epochs=2), run[0])


def assert_same_after(resumed, whole):
    assert resumed.training == whole.training and resumed.architecture == whole.architecture
    assert_same(resumed.folder, whole.folder)


@pytest.mark.slow
def test_evaluation_samples_and_report(run, folder):
    few = {"num_samples": 10, "train_images": 0, "gap_images": 0, "ais_images": 0, "limit": 20}
    notes = Notes()
    results = runs.evaluate(run[0], observer=notes, tolerance=0.5, **few)
    opened = probvae.open_run(run[0].folder)
    assert opened.evaluation.metrics == results.metrics and not opened.is_evaluation_stale
    for name, values in results.per_example.items():
        np.testing.assert_array_equal(opened.evaluation.per_example[name], values)
    assert notes.told[0] == ("begin", "20 test images of digits") and ("line", "iwae") in notes.told
    stopped = runs.evaluate(opened, output=folder / "stopped", should_stop=lambda: True, **few)
    assert stopped.unfinished and not stopped.results

    sample = runs.sample(opened, "interpolation", num=2, steps=3, path="linear")
    assert sample.folder == opened.folder / "samples" / "interpolation" and "grid.png" in sample.names
    np.testing.assert_array_equal(arrays(sample.folder / "samples.npz")["z"], sample.samples.z)

    shutil.copytree(opened.folder, folder / "copy", ignore=shutil.ignore_patterns("evaluation"))
    page = runs.report(opened, folder / "copy", output=folder / "both.html")
    assert page == folder / "both.html" and "copy has no evaluation" in page.read_text()
    assert runs.report(opened) == opened.folder / "report.html"
    comparison = runs.compare_evaluations(opened.evaluation, results)
    assert comparison.method == "exact" and comparison.difference.mean == 0 and comparison.num_examples == 20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run, new: runs.train({"latent": 3}, output=new), "Architecture has the fields"),
        (lambda run, new: runs.train(None, {"epoch": 3}, output=new), "Training has the fields"),
        (
            lambda run, new: runs.train(Architecture((8, 8, 1), filters=(3, 4)), None, "digits", new),
            r"event_shape must be \(28, 28, 1\) for the data digits",
        ),
        (
            lambda run, new: runs.train(Architecture(), Training(labels="condition"), "digits", new),
            "context_dim must be 10 for the data digits with labels condition; got 0",
        ),
        (lambda run, new: runs.train(None, None, "digits", run), "exists already"),
        (lambda run, new: runs.train(None, None, np.zeros([9, 8, 8]), new), "a name or a path.*numpy.savez"),
        (lambda run, new: runs.sample(run, "prior", label="three", output=new), "The classes are|no classes"),
        (lambda run, new: runs.resume(run, latent_dim=3), "leave latent_dim out"),
        (lambda run, new: runs.resume(new), "There is no run folder"),
        (lambda run, new: runs.evaluate(new), "There is no run folder"),
        (lambda run, new: runs.sample(run, "prior", steps=3, output=new), "--steps is for --mode"),
        (lambda run, new: runs.sample(run, "dream", output=new), "mode must be one of prior, classes"),
        (lambda run, new: runs.sample(run, num=0, output=new), "num must be an integer from 1 on; got 0"),
        (lambda run, new: runs.sample(run, pixels="all", output=new), "pixels must be one of mean, draw"),
        (lambda run, new: runs.report(run, run), "given twice"),
        (lambda run, new: runs.report(), "2 to 8 runs; got 0"),
    ],
)
def test_mistakes_are_input_errors_and_leave_nothing(call, message, run, tmp_path):
    before = sorted(run[0].folder.rglob("*"))
    with pytest.raises(InputError, match=message):
        call(run[0], tmp_path / "new")
    assert not (tmp_path / "new").exists() and sorted(run[0].folder.rglob("*")) == before


def test_a_warning_is_a_python_warning():
    with pytest.warns(UserWarning, match="no report"), warnings.catch_warnings():
        runs.Observer().warn("no report was written")


def test_the_room_knows_no_command_line():
    for path in Path(runs.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"click", "tqdm", "sys.exit"} & set(names), path
            assert not any(name.startswith("probvae.cli") for name in names), path
            assert not (isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.exit"), path


def test_opening_a_run_loads_no_tensorflow(run):
    code = (
        "import sys\n"
        "from probvae import runs\n"
        "run = runs.open_run(sys.argv[1])\n"
        "assert run.history and run.metrics and run.pictures and 'mixture' in repr(run)\n"
        "runs.report(run), runs.SampleOptions(), runs.Observer()\n"
        "assert not {'tensorflow', 'click'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, run[0].folder], check=True)
