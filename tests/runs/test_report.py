"""The report of a run: what it says, what it escapes, what it survives, and its comparison of runs."""

import csv
import hashlib
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from probvae.cli.report import main
from probvae.cli.train import main as train
from probvae.config.architecture import Architecture
from probvae.config.json_file import to_json
from probvae.config.training import Training
from probvae.errors import InputError
from probvae.evaluation.estimates import paired_difference
from probvae.runs.reports import page as pages
from probvae.runs.reports.findings import findings_of
from probvae.runs.reports.page import read_run
from probvae.runs.reports.tables import FRAMES

HOSTILE = """<script>alert(1)</script><img src=x onerror=alert(2)>"'&{{ 7*7 }}{% x %}$a_b$"""
VOID = {"meta", "img", "input", "br", "path", "use", "col"}


class Page(HTMLParser):
    """What a browser would make of a page: its elements with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text += data

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def png(value=0, size=(20, 10)):
    buffer = io.BytesIO()
    Image.new("L", size, value).save(buffer, "PNG")
    return buffer.getvalue()


def history(elbo=(-100.0, -90.0, -88.0), objective=None, **columns):
    rows = []
    for i, value in enumerate(elbo):
        row = {"epoch": i + 1.0, "test_elbo": value, "test_log_likelihood": value + 5, "test_kl": 5.0}
        row |= {"train_elbo": (objective or elbo)[i], "seconds": 1.5, "images_per_second": 100.0}
        row |= {"validation_elbo": "", "learning_rate": 1e-3, "skipped_steps": 0, "clipped_steps": 0}
        rows.append(row | {name: values[i] for name, values in columns.items()})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def make_run(folder, *, rows=None, metrics=None, command="probvae-train --data digits", **training):
    """A run folder as probvae-train leaves it, without a training."""
    (folder / "images").mkdir(parents=True)
    training = {"data": "digits", "epochs": 3, **training}
    latent_dim = training.pop("latent_dim", 3)
    (folder / "config.json").write_text(
        to_json(Architecture((8, 8, 1), latent_dim=latent_dim), Training(**training))
    )
    (folder / "weights.npz").write_bytes(b"weights of " + folder.name.encode())
    (folder / "history.csv").write_text(history() if rows is None else rows)
    (folder / "metrics.json").write_text(
        json.dumps(
            {
                "test_elbo": {"mean": -88.0, "standard_error": 0.5},
                "test_kl": {"mean": 5.0, "standard_error": 0.1},
                "epochs": 3.0,
                "interrupted": False,
                "latent_variance": [0.9] * latent_dim,
                "data": {"name": "digits", "fingerprint_sha256": "f" * 64, "train_images": 100},
                **(metrics or {}),
            }
        )
    )
    versions = {"python": "3.11", "probvae": "0.1.0"}
    (folder / "commands.json").write_text(json.dumps([{"command": command, "versions": versions}]))
    (folder / "originals.png").write_bytes(png(200))
    for kind in ("image", "prior"):
        for n in range(4):
            (folder / "images" / f"{kind}_at_epoch_{n:04d}.png").write_bytes(png(10 * n))
    return folder


def add_evaluation(run, iwae, *, results=None, conditions=None, **arrays):
    folder = run / "evaluation"
    folder.mkdir()
    weights = hashlib.sha256((run / "weights.npz").read_bytes()).hexdigest()
    n = len(iwae)
    line = {"name": "IWAE bound", "unit": "nats", "note": "a lower bound", "monte_carlo_error": 0.01}
    line |= {
        "mean": float(np.mean(iwae)),
        "standard_error": 0.3,
        "low": None,
        "high": None,
        "num_examples": n,
    }
    condition = {"fingerprint_sha256": "f" * 64, "binarize": "threshold", "split": "test", "num_images": n}
    condition |= {"num_samples": 100, "weights_sha256": weights, **(conditions or {})}
    content = {
        "conditions": condition,
        "unfinished": [],
        "skipped": {},
        "results": {"iwae": line, **(results or {})},
    }
    (folder / "metrics.json").write_text(json.dumps(content))
    np.savez(folder / "per_example.npz", iwae=np.asarray(iwae), **arrays)


def titles(run):
    return {finding.title for finding in findings_of(read_run(run))}


def page(run):
    return Page(pages.run_page(read_run(run)))


# ---- the page ----------------------------------------------------------------------------------------


def test_a_report_holds_everything_and_loads_nothing(tmp_path):
    run = make_run(tmp_path / "mine", command="probvae-train --data digits --output 'a b'")
    add_evaluation(run, np.linspace(-90, -80, 30))
    text = pages.write_report(run).read_text()
    found = Page(text)
    assert found.open == []
    for words in ("mine", "−88.00 ± 0.50", "probvae-train --data digits --output 'a b'", "IWAE bound"):
        assert words in found.text, words
    assert "python 3.11" in found.text and "f" * 64 in found.text and "latent_dim" in found.text
    sources = [attributes["src"] for attributes in found.of("img")]
    assert len(sources) == 1 + 2 * 4 and all(s.startswith("data:image/png;base64,") for s in sources)
    assert all(attributes["alt"] for attributes in found.of("img"))
    outside = re.findall(r"https?://[^\s\"'<>)]+", text)
    assert set(outside) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not found.of("link") and not found.of("iframe") and len(found.of("svg")) == 6
    assert len(found.of("h1")) == 1 and len(found.of("h2")) == 6
    assert found.of("html")[0]["lang"] == "en"
    names = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    labels = [attributes["for"] for attributes in found.of("label")]
    assert set(labels) <= set(names) and len(found.of("input")) == 1


def report_alone(run):
    """The command in a process of its own, which needs no TensorFlow."""
    code = (
        "import sys, warnings\n"
        "warnings.simplefilter('error')\n"  # with python -W, pyparsing warns of old versions of matplotlib
        "from probvae.cli.report import main\n"
        "assert not {'numpy', 'jinja2', 'matplotlib'} & set(sys.modules)\n"
        "main([sys.argv[1]], standalone_mode=False)\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "5"}
    return subprocess.run(
        [sys.executable, "-c", code, str(run)], capture_output=True, text=True, env=environment
    )


def test_the_same_folder_gives_the_same_bytes_without_tensorflow(tmp_path):
    run = make_run(tmp_path / "mine")
    first = pages.write_report(run).read_bytes()
    assert pages.write_report(run).read_bytes() == first
    done = report_alone(run)
    assert done.returncode == 0 and done.stdout == f"written to {run}/report.html\n", done.stderr
    assert (run / "report.html").read_bytes() == first


def test_what_a_run_says_is_text_and_never_markup(tmp_path):
    name = HOSTILE.replace("/", "_")
    run = make_run(
        tmp_path / name, data=HOSTILE, column_kinds=(f"{HOSTILE.replace('=', '')}=normal",), command=HOSTILE
    )
    result = {"name": HOSTILE, "unit": HOSTILE, "note": HOSTILE, "mean": 1.0}
    add_evaluation(run, [-1.0, -2.0], results={HOSTILE: result}, conditions={"split": HOSTILE})
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["data"] = {"name": HOSTILE, "fingerprint_sha256": HOSTILE}
    metrics["versions"] = {HOSTILE: HOSTILE}
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "history.csv").write_text(history().replace("clipped_steps", '"<b onclick=x>c</b>"'))
    other = make_run(tmp_path / "other")
    for text in (pages.run_page(read_run(run)), pages.comparison_page([read_run(run), read_run(other)])):
        found = Page(text)
        assert found.open == [] and len(found.of("script")) == 1 and not found.of("b")[0]
        for tag, attributes in found.elements:
            assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert not [a for a in found.of("img") if a["src"] == "x"]
        assert HOSTILE in found.text and "49" not in found.text.split("Learning curves")[0]


def test_only_the_script_of_the_page_may_run(tmp_path):
    text = pages.run_page(read_run(make_run(tmp_path / "mine")))
    script = re.search(r"<script>(.*?)</script>", text, flags=re.DOTALL)[1]
    allowed = re.search(r"script-src '(sha256-[^']+)'", text)[1]
    digest = hashlib.sha256(script.encode()).digest()
    assert allowed == f"sha256-{__import__('base64').b64encode(digest).decode()}"
    assert "default-src 'none'" in text


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_in_a_browser(tmp_path, browser, width):
    """It fits a phone, the slider changes the pictures, nothing is fetched and nothing complained of."""
    run = make_run(tmp_path / "mine", command="probvae-train --data " + 40 * "long_name_")
    (tmp_path / "page.html").write_text(pages.run_page(read_run(run)), encoding="utf-8")
    page = browser.new_page()
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.set_viewport_size({"width": width, "height": 844})
    page.goto((tmp_path / "page.html").as_uri())
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    shown = "[...document.images].filter(image => image.offsetParent).map(image => image.src).join()"
    last = page.evaluate(shown)
    page.focus("input[type=range]")
    page.keyboard.press("Home")
    assert page.evaluate(shown) != last
    page.keyboard.press("End")
    assert page.evaluate(shown) == last
    assert complaints == [] and all(url.startswith(("file:", "data:")) for url in requests)
    page.close()


def test_many_epochs_give_few_pictures_and_the_slider_names_them(tmp_path):
    n = 100
    run = make_run(tmp_path / "long", rows=history(np.linspace(-200, -100, n)), epochs=n)
    for i in range(n + 1):
        for kind in ("image", "prior"):
            (run / "images" / f"{kind}_at_epoch_{i:04d}.png").write_bytes(png(i))
    found = page(run)
    words = json.loads(next(a["data-slider"] for a in found.of("div") if "data-slider" in a))
    assert words[0] == "before training" and words[-1] == "epoch 100" and len(words) == FRAMES
    shown = [a for a in found.of("img") if "data-from" in a]
    assert len(shown) == 2 * FRAMES and len([a for a in shown if "hidden" not in a]) == 2
    assert int(found.of("input")[0]["max"]) == len(words) - 1


# ---- findings ----------------------------------------------------------------------------------------


def test_a_sound_run_has_nothing_to_be_told(tmp_path):
    rows = history([-100.0, -88.1, -88.0])
    assert titles(make_run(tmp_path / "sound", rows=rows)) == set()


def test_collapse_names_the_dead_dimensions(tmp_path):
    run = make_run(
        tmp_path / "a", metrics={"latent_variance": [0.9, 0.0099, 0.5, 1e-9, 0.0101]}, latent_dim=5
    )
    text = next(f.text for f in findings_of(read_run(run)) if f.title == "Posterior collapse in part")
    assert "2 of 5" in text and "z[1], z[3]." in text
    all_dead = {"latent_variance": [1e-3] * 3, "test_kl": {"mean": 0.02}}
    assert "Posterior collapse" in titles(make_run(tmp_path / "b", metrics=all_dead))
    by_rate = {"latent_variance": None, "test_kl": {"mean": 0.02}}
    assert "Posterior collapse" in titles(make_run(tmp_path / "c", metrics=by_rate))
    evaluated = make_run(tmp_path / "d", metrics={"latent_variance": [1e-3] * 3})
    add_evaluation(evaluated, [-1.0, -2.0], latent_variance=np.array([0.5, 0.5, 1e-3]))
    assert "Posterior collapse in part" in titles(evaluated)  # the evaluation has seen more


def test_over_fitting_needs_a_fall_of_the_test_and_a_rise_of_the_objective(tmp_path):
    fallen = [-100.0, -90.0, -93.0]
    assert "Over-fitting" in titles(make_run(tmp_path / "a", rows=history(fallen, [-99.0, -88.0, -80.0])))
    both_fell = history(fallen, [-99.0, -88.0, -89.0])
    assert "Over-fitting" not in titles(make_run(tmp_path / "b", rows=both_fell))
    noise = history([-100.0, -90.0, -90.1], [-99.0, -88.0, -80.0])
    assert "Over-fitting" not in titles(make_run(tmp_path / "c", rows=noise))


def test_log_p_of_training_images_far_above_is_told(tmp_path):
    run = make_run(tmp_path / "a")
    train = {"name": "training", "mean": -70.0, "standard_error": 0.3}
    add_evaluation(run, np.full(20, -85.0), results={"train_log_marginal": train})
    text = next(f.text for f in findings_of(read_run(run)) if f.title.startswith("Training images"))
    assert "15.00 ± 0.42" in text


@pytest.mark.parametrize(
    ("pareto_k", "ess", "told"),
    [(0.6, 50.0, True), (0.4, 50.0, False), (0.4, 3.0, True), (math.nan, 50.0, False)],
)
def test_importance_weights_that_few_draws_dominate(pareto_k, ess, told, tmp_path):
    run = make_run(tmp_path / "a")
    arrays = {"pareto_k": np.full(20, pareto_k), "effective_sample_size": np.full(20, ess)}
    add_evaluation(run, np.full(20, -85.0), **arrays)
    assert ("Importance weights are not reliable" in titles(run)) is told


def test_steps_skipped_an_interruption_and_other_weights_are_told(tmp_path):
    rows = history(skipped_steps=[0, 2, 1])
    run = make_run(tmp_path / "a", rows=rows, epochs=10, metrics={"interrupted": True})
    add_evaluation(run, [-1.0, -2.0])
    (run / "weights.npz").write_bytes(b"trained on")
    found = {f.title: f for f in findings_of(read_run(run))}
    assert "3 steps were skipped" in found["Steps that were not finite"].text
    assert "3 of 10 epochs" in found["Not all epochs are done"].text
    assert found["The evaluation is of other weights"].level == "problem"
    levels = [f.level for f in findings_of(read_run(run))]
    assert levels == sorted(levels, key=("problem", "warning", "note").index)
    bad = make_run(tmp_path / "b", rows=history([-100.0, math.nan, -90.0]))
    assert "Not finite" in titles(bad) and page(bad).open == []


# ---- what it survives --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("history.csv", b"epoch,test_elbo\n1\n"),
        ("history.csv", b"epoch,test_elbo\n1,many\n"),
        ("history.csv", b"\xff\xfe"),
        ("metrics.json", b'{"a": NaN}'),
        ("metrics.json", b"[" * 10_000),
        ("metrics.json", b"[]"),
        ("commands.json", b'{"command": 3}'),
        ("originals.png", b"<svg onload=alert(1)>"),
        ("originals.png", png()[:45]),
        ("images/image_at_epoch_0002.png", b"GIF89a"),
    ],
)
def test_a_damaged_file_is_told_and_the_rest_is_shown(name, content, tmp_path):
    run = make_run(tmp_path / "mine")
    (run / name).write_bytes(content)
    problems = read_run(run).problems
    assert len(problems) == 1 and Path(name).name in problems[0] and str(tmp_path) not in problems[0]
    found = page(run)
    assert problems[0] in found.text and "latent_dim" in found.text


def test_values_of_wrong_kinds_are_left_out(tmp_path):
    odd = {"test_elbo": "much", "test_kl": [1], "latent_variance": ["x", 1, 2], "versions": 3, "data": []}
    run = make_run(tmp_path / "mine", metrics=odd)
    add_evaluation(run, [-1.0, -2.0], results={"x": 3, "y": {"name": 7, "mean": "z"}})
    assert page(run).open == []
    (run / "evaluation" / "metrics.json").write_text(
        json.dumps({"results": [], "conditions": 1, "skipped": 2})
    )
    assert page(run).open == []
    (run / "metrics.json").write_text('{"data": {"fingerprint": 1}}')
    assert "Data unknown, fingerprint (SHA-256) unknown" in page(run).text


def test_a_run_that_has_only_begun(tmp_path):
    run = make_run(tmp_path / "begun")
    for name in ("history.csv", "metrics.json", "commands.json", "originals.png"):
        (run / name).unlink()
    shutil.rmtree(run / "images")
    assert "0 of 3 epochs" in page(run).text


@pytest.mark.parametrize("what", ["absent", "file", "empty", "model", "config"])
def test_bad_input_is_one_line_and_writes_nothing(what, tmp_path):
    run = tmp_path / "run"
    if what == "file":
        run.write_text("")
    elif what != "absent":
        run.mkdir()
    if what in ("model", "config"):
        text = to_json(Architecture()) if what == "model" else "{"
        (run / "config.json").write_text(text)
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(main, [str(run)])
    assert result.exit_code == 2 and len(result.output.splitlines()) == 1, result.output
    assert sorted(tmp_path.rglob("*")) == before


# ---- comparison --------------------------------------------------------------------------------------


def test_runs_are_compared_by_example(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    a, b, c = (make_run(tmp_path / name, seed=i) for i, name in enumerate("abc"))
    first = rng.normal(-90, 10, 200)
    second = first - rng.normal(0.5, 1, 200)  # far closer than their spread
    add_evaluation(a, first)
    add_evaluation(b, second)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["a", "b", "c"])
    assert result.exit_code == 0, result.output
    found = Page((tmp_path / "comparison.html").read_text())
    d = paired_difference(first, second)
    assert d.low > 0 and found.open == []
    assert f"{d.mean:+.3f}" in found.text and f"{d.low:+.3f} to {d.high:+.3f}" in found.text
    assert "Not compared: c has no evaluation" in found.text
    assert "seed" in found.text and "latent_dim" not in found.text  # what differs, and nothing else
    assert all((run / "report.html").is_file() for run in (a, b, c))
    assert len([x for x in found.of("img") if "data-from" in x]) == 3 * 2 * 4


def test_evaluations_under_other_conditions_are_not_compared(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    add_evaluation(a, [-1.0, -2.0, -3.0], exact=np.array([-1.0, -1.5, -2.0]))
    add_evaluation(b, [-1.5, -2.0, -3.5], conditions={"num_samples": 7})
    refused = pages.tables.pairs([read_run(a), read_run(b)])[0].refused
    assert "num samples is 100 in the first and 7" in refused and "--force" not in refused
    shutil.rmtree(b / "evaluation")
    add_evaluation(b, [-1.5, -2.0, -3.5], conditions={"num_samples": 7}, exact=np.array([-1.0, -1.6, -2.1]))
    pair = pages.tables.pairs([read_run(a), read_run(b)])[0]
    assert pair.what == "log p(x), exact" and pair.difference == "+0.067" and not pair.clear


@pytest.mark.slow
def test_a_comparison_spares_the_files_of_others(tmp_path):
    runs = [str(make_run(tmp_path / name)) for name in "ab"]
    thesis = tmp_path / "thesis.html"
    thesis.write_text("<p>years of work</p>")
    result = CliRunner().invoke(main, [*runs, "--output", str(thesis)])
    assert result.exit_code == 2 and "is no report" in result.output
    assert thesis.read_text() == "<p>years of work</p>"
    own = tmp_path / "own.html"
    for _ in range(2):
        assert CliRunner().invoke(main, [*runs, "--output", str(own)]).exit_code == 0
    assert CliRunner().invoke(main, [runs[0], "--output", str(own)]).exit_code == 2
    assert CliRunner().invoke(main, [runs[0], runs[0]]).exit_code == 2
    with pytest.raises(InputError, match="2 to 8 runs; got 9"):
        pages.write_comparison([Path(runs[0])] * 9, own)


# ---- the commands ------------------------------------------------------------------------------------

TINY = ["--filters", "2,3", "--batch-size", "16", "--quiet", "--latent-dim", "3"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "tiny.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, [60, 8, 8]).astype(np.uint8))
    return str(path)


@pytest.mark.slow
def test_a_training_leaves_a_report_with_its_commands(data, tmp_path):
    run = tmp_path / "my run"
    arguments = ["--data", data, "--output", str(run), *TINY, "--epochs", "1"]
    assert CliRunner().invoke(train, arguments).exit_code == 0
    result = CliRunner().invoke(train, ["--resume", str(run), "--epochs", "2", "--quiet"])
    assert result.exit_code == 0 and result.stderr == ""
    kept = (run / "report.html").read_bytes()
    found = Page(kept.decode())
    assert f"--output '{run}' --filters 2,3" in found.text and f"--resume '{run}' --epochs 2" in found.text
    assert "tensorflow 2." in found.text and len(found.of("svg")) == 6
    assert CliRunner().invoke(main, [str(run)]).exit_code == 0
    assert (run / "report.html").read_bytes() == kept


def test_a_report_that_fails_costs_one_line(data, tmp_path, monkeypatch):
    def fail(run):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(pages, "run_page", fail)
    result = CliRunner().invoke(
        train, ["--data", data, "--output", str(tmp_path / "run"), *TINY, "--epochs", "0"]
    )
    assert result.exit_code == 0
    assert result.stderr == "Warning: no report was written: two lines\n"
    assert len(result.stdout.splitlines()) == 1  # as it is to be quiet
    assert (tmp_path / "run" / "metrics.json").exists() and not (tmp_path / "run" / "report.html").exists()
