"""probvae-sample as a user meets it: every mode, images, series, tables and classes, and bad input."""

import csv
import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from seed_recorder import recorded, twice

import probvae
from probvae.cli.sample import main
from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.models.building import build
from probvae.runs import Run, sample_modes
from probvae.runs.sample_options import CHOICES, MODE_OPTIONS, SampleOptions
from probvae.sampling.paths import PATHS
from probvae.sampling.samplers import SAMPLERS

FILES = {"samples.npz", "grid.png", "settings.json"}


@pytest.fixture(autouse=True)
def few_frames(monkeypatch):
    monkeypatch.setattr(sample_modes, "FRAMES", 3)


def save(folder, source, training=None, schema=None, **fields):
    """A run of an untrained model whose weights are large enough for z to matter."""
    vae = build(Architecture(**fields), seed=1, schema=schema)
    for variable in vae.decoder.trainable_variables:
        variable.assign(3 * variable)
    probvae.save(vae, folder, Training(data=str(source), **(training or {})))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs on images, the same with classes, series and a table."""
    folder = tmp_path_factory.mktemp("sample")
    rng = np.random.default_rng(0)
    x = (rng.random([90, 8, 9]) < np.linspace(0, 1, 9)).astype(np.uint8) * 255
    np.savez(folder / "x.npz", x_train=x, x_test=x[:20], y_train=np.arange(90) % 3, y_test=np.arange(20) % 3)
    image = {"event_shape": (8, 9, 1), "filters": (3, 4)}
    save(folder / "images", folder / "x.npz", **image, latent_dim=3)
    save(folder / "classes", folder / "x.npz", {"labels": "condition"}, **image, context_dim=3)
    series = np.cumsum(rng.standard_normal([40, 12, 2]), axis=1).astype(np.float32)
    np.savez(folder / "series.npz", x_train=series, x_test=series[:10])
    save(
        folder / "series",
        folder / "series.npz",
        {"binarize": "none", "kind": "series"},
        **{"event_shape": (12, 2), "likelihood": "normal", "network": "mlp", "units": (8,)},
    )
    rows = ["age,pet,visits"]
    rows += [f"{rng.normal(40, 9):.1f},{('cat', 'dog')[i % 2]},{rng.poisson(3)}" for i in range(60)]
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    kinds = ("normal", "bernoulli", "poisson")
    save(
        folder / "table",
        folder / "table.csv",
        {"binarize": "none", "column_kinds": ("visits=poisson",)},
        probvae.data.load(folder / "table.csv", kinds={"visits": "poisson"}).schema,
        **{"event_shape": (3,), "columns": kinds, "likelihood": "mixed", "network": "mlp", "units": (8,)},
    )
    return folder


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def sample(run, *options, output):
    """Run the command; return what samples.npz holds, and what was printed."""
    result = invoke(run, *options, "--output", output)
    assert result.exit_code == 0, result.output
    return arrays(output), result.output


def arrays(folder):
    with np.load(folder / "samples.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def check_pictures(folder, frames=None):
    with Image.open(folder / "grid.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5
    if frames:
        with Image.open(folder / "animation.gif") as gif:
            assert gif.n_frames == frames and gif.info["loop"] == 0
            first = np.asarray(gif.convert("L"), np.float32)
            gif.seek(1)
            assert np.abs(first - np.asarray(gif.convert("L"))).max() > 5  # it moves


# ---- modes -----------------------------------------------------------------------------------------


def test_prior_by_default_into_the_run_folder(runs):
    result = invoke(runs / "images")
    assert result.exit_code == 0, result.output
    folder = runs / "images" / "samples" / "prior"
    assert {p.name for p in folder.iterdir()} == FILES
    found, vae = arrays(folder), probvae.load(runs / "images")
    assert found["z"].shape == (64, 3) and found["x"].shape == found["mean"].shape == (64, 8, 9, 1)
    np.testing.assert_allclose(found["mean"], vae.likelihood(found["z"]).mean(), atol=1e-6)
    np.testing.assert_allclose(found["log_prior"], vae.prior.log_prob(found["z"]), atol=1e-5)
    check_pictures(folder)
    mean = re.search(r"log p\(z\): mean (\S+) nats", result.output)
    assert float(mean[1]) == pytest.approx(found["log_prior"].mean(), abs=0.006)
    assert result.output.splitlines()[-1] == f"written to {folder}: samples.npz, grid.png, settings.json"


def test_seed_temperature_and_single_images(runs, tmp_path):
    options = ["--num", 11, "--temperature", 0.2, "--images", "--pixels", "draw"]
    first, output = sample(runs / "images", *options, output=tmp_path / "a")
    again, _ = sample(runs / "images", *options, output=tmp_path / "b")
    other, _ = sample(runs / "images", *options, "--seed", 1, output=tmp_path / "c")
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert not np.array_equal(first["z"], other["z"])
    assert np.abs(first["z"]).max() < 1.2  # 6 standard deviations
    images = sorted((tmp_path / "a" / "images").iterdir())
    assert [p.name for p in images][:2] == ["draw_00.png", "draw_01.png"] and len(images) == 11
    with Image.open(images[3]) as picture:
        np.testing.assert_array_equal(np.asarray(picture) / 255, first["x"][3, ..., 0])
    assert "and 11 pictures in images" in output
    settings = json.loads((tmp_path / "a" / "settings.json").read_text())
    assert settings["temperature"] == 0.2 and settings["mode"] == "prior" and settings["num"] == 11


def test_a_fitted_mixture(runs, tmp_path):
    options = ["--sampler", "mixture", "--components", 2, "--train-images", 40, "--num", 5]
    found, output = sample(runs / "images", *options, output=tmp_path)
    assert found["log_sampler"].shape == (5,) and "a mixture of 2 normals" in output
    assert re.search(r"difference [+-]\d+\.\d+ ± \d+\.\d+", output)


def test_reconstructions(runs, tmp_path):
    found, output = sample(
        runs / "images", "--mode", "reconstructions", "--num", 4, "--draws", 3, output=tmp_path
    )
    assert found["mean"].shape == (3, 4, 8, 9, 1) and found["log_likelihood"].shape == (3, 4)
    np.testing.assert_array_equal(found["data"], np.load(runs / "x.npz")["x_test"][:4, ..., None] / 255)
    expected = probvae.load(runs / "images").likelihood(found["z"]).log_prob(found["data"])
    np.testing.assert_allclose(found["log_likelihood"], expected, rtol=1e-5)
    assert f"mean {found['log_likelihood'].mean():.2f} nats" in output
    check_pictures(tmp_path)


@pytest.mark.parametrize(("options", "pairs"), [([], 6), (["--from", 3, "--to", 8, "--path", "linear"], 1)])
def test_interpolation(options, pairs, runs, tmp_path):
    found, _ = sample(runs / "images", "--mode", "interpolation", "--steps", 4, *options, output=tmp_path)
    assert found["mean"].shape == (4, pairs, 8, 9, 1) and len(found["pairs"]) == pairs
    vae, x = probvae.load(runs / "images"), np.float32(np.load(runs / "x.npz")["x_test"][..., None] / 255)
    ends = vae.posterior(x).mean().numpy()[found["pairs"]]  # [P, 2, L]
    np.testing.assert_allclose(found["z"][[0, -1]], np.moveaxis(ends, 0, 1), atol=1e-5)
    if options:
        np.testing.assert_allclose(found["z"][1], 2 / 3 * ends[:, 0] + ends[:, 1] / 3, atol=1e-5)
    check_pictures(tmp_path, frames=4)


@pytest.mark.parametrize("options", [[], ["--dimension", 2, "--dimension", 0, "--image", 7]])
def test_traversal(options, runs, tmp_path):
    found, output = sample(runs / "images", "--mode", "traversal", "--steps", 5, *options, output=tmp_path)
    dimensions = found["dimensions"].tolist()
    assert found["z"].shape == (len(dimensions), 5, 3)
    assert (
        dimensions == [2, 0] if options else sorted(found["variances"])[::-1] == found["variances"].tolist()
    )
    for d, z in zip(dimensions, found["z"], strict=True):
        assert np.all(np.diff(z[:, d]) > 0) and np.ptp(np.delete(z, d, axis=1), axis=0).max() == 0
    assert all(f"z[{d}]: variance" in output for d in dimensions)
    check_pictures(tmp_path, frames=4)


@pytest.mark.parametrize("mode", sample_modes.MODES)
def test_no_seed_of_a_mode_is_used_twice(mode, runs):
    """But for an animation, which has the draws of the picture."""
    run = Run(runs / ("classes" if mode == "classes" else "images"))
    run.model_of(0 if mode == "classes" else None)  # now, as new weights are drawn too
    options = {"num": 2} if mode in ("classes", "prior") else {}
    with recorded() as draws:
        sample_modes.MODES[mode](run, SampleOptions(**options))
    shared = twice(draws)
    animated = {"interpolation": 6, "traversal": 3}  # pairs of examples; dimensions
    assert draws and sum(shared.values()) == animated.get(mode, 0), shared


def test_classes(runs, tmp_path):
    found, _ = sample(runs / "classes", "--mode", "classes", "--num", 4, output=tmp_path / "all")
    assert found["mean"].shape == (4, 3, 8, 9, 1)
    np.testing.assert_array_equal(found["z"][:, 0], found["z"][:, 2])
    vae = probvae.load(runs / "classes")
    expected = vae.likelihood(found["z"][:, 1], np.array([1, 1, 1, 1])).mean()
    np.testing.assert_allclose(found["mean"][:, 1], expected, atol=1e-6)
    assert np.abs(found["mean"][:, 0] - found["mean"][:, 1]).max() > 1e-3
    check_pictures(tmp_path / "all")
    one, _ = sample(runs / "classes", "--class", 2, "--num", 4, output=tmp_path / "one")
    np.testing.assert_allclose(
        one["mean"], vae.likelihood(one["z"], np.array([2, 2, 2, 2])).mean(), atol=1e-6
    )


@pytest.mark.slow
def test_a_conditional_model_encodes_each_example_under_its_class(runs, tmp_path):
    found, _ = sample(runs / "classes", "--mode", "reconstructions", "--num", 5, output=tmp_path / "r")
    vae, y = probvae.load(runs / "classes"), np.arange(5) % 3
    expected = vae.likelihood(found["z"], np.broadcast_to(y, [6, 5])).log_prob(found["data"])
    np.testing.assert_allclose(found["log_likelihood"], expected, rtol=1e-4)
    options = ["--mode", "interpolation", "--from", 0, "--to", 4]
    own, _ = sample(runs / "classes", *options, output=tmp_path / "own")
    other, _ = sample(runs / "classes", *options, "--class", 2, output=tmp_path / "other")
    np.testing.assert_array_equal(own["z"], other["z"])
    np.testing.assert_allclose(own["mean"][:, 0], vae.given(0).likelihood(own["z"][:, 0]).mean(), atol=1e-6)
    assert np.abs(own["mean"] - other["mean"]).max() > 1e-3
    sample(runs / "classes", "--mode", "traversal", "--steps", 3, output=tmp_path / "t")


@pytest.mark.parametrize("mode", ["prior", "reconstructions", "interpolation"])
def test_series_are_lines_and_a_table(mode, runs, tmp_path):
    found, _ = sample(runs / "series", "--mode", mode, "--num", 3, output=tmp_path)
    rows = list(csv.DictReader((tmp_path / "samples.csv").read_text().splitlines()))
    assert len(rows) == found["mean"][..., 0].size
    np.testing.assert_allclose(
        [float(r["channel_1"]) for r in rows], found["mean"][..., 1].ravel(), rtol=1e-5
    )
    assert [r["time"] for r in rows][:13] == [*map(str, range(12)), "0"]
    check_pictures(tmp_path, frames=4 if mode == "interpolation" else None)


def test_rows_of_a_table_come_in_its_units(runs, tmp_path):
    found, output = sample(runs / "table", "--num", 30, output=tmp_path / "with")
    rows = list(csv.DictReader((tmp_path / "with" / "samples.csv").read_text().splitlines()))
    assert list(rows[0]) == ["draw", "age", "pet", "visits"] and len(rows) == 30
    assert {r["pet"] for r in rows} <= {"cat", "dog"} and 20 < np.mean([float(r["age"]) for r in rows]) < 60
    assert [float(r["visits"]) for r in rows] == found["column/visits"].tolist()  # draws, which are whole
    assert "rows of numbers have no picture" in output and not (tmp_path / "with" / "grid.png").exists()
    moved = runs / "table.csv"
    moved.rename(runs / "elsewhere.csv")
    try:
        sample(runs / "table", output=tmp_path / "without")  # a prior needs no data
        alone = list(csv.DictReader((tmp_path / "without" / "samples.csv").read_text().splitlines()))
        assert alone[:0] == [] and [alone[0][name] for name in rows[0]] == [*rows[0].values()]
        lost = invoke(runs / "table", "--mode", "reconstructions", "--output", tmp_path / "lost")
        assert lost.exit_code == 2 and "--data says where that is now" in lost.output
        assert not (tmp_path / "lost").exists()
    finally:
        (runs / "elsewhere.csv").rename(moved)


# ---- files and mistakes ----------------------------------------------------------------------------


def test_samples_are_replaced_only_when_asked(runs, tmp_path):
    sample(runs / "images", "--num", 3, "--images", output=tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    refused = invoke(runs / "images", "--output", tmp_path)
    assert refused.exit_code == 2 and "is in use: add --overwrite" in refused.output
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    replaced = invoke(runs / "images", "--num", 2, "--overwrite", "--output", tmp_path, "--quiet")
    assert replaced.exit_code == 0 and len(replaced.output.splitlines()) == 1
    assert len(arrays(tmp_path)["z"]) == 2 and not any((tmp_path / "images").iterdir())
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_run_is_never_written_over(runs):
    before = (runs / "images" / "weights.npz").read_bytes()
    refused = invoke(runs / "images", "--output", runs / "images", "--overwrite")
    assert refused.exit_code == 2 and "is a run folder" in refused.output
    assert (runs / "images" / "weights.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument"),
        (["nowhere"], "There is no run folder .*nowhere"),
        (["images", "--mode", "dream"], "'dream' is not one of 'prior'"),
        (["images", "--num", "0"], "0 is not in the range"),
        (["images", "--num", "1000000000"], "more than the memory should hold: at most"),
        (["images", "--mode", "traversal", "--steps", "1000000000"], "more than the memory should hold"),
        (["images", "--temperature", "0"], "finite number above 0; got 0"),
        (["images", "--temperature", "nan"], "finite number above 0; got nan"),
        (["images", "--steps", "5"], "--steps is for --mode interpolation or traversal; the mode is prior"),
        (["images", "--from", "1"], "--from is for --mode interpolation"),
        (["images", "--dimension", "0"], "--dimension is for --mode traversal"),
        (["images", "--mode", "traversal", "--sampler", "flow"], "--sampler is for --mode prior"),
        (["images", "--mode", "interpolation", "--from", "1"], "give both, or neither"),
        (["images", "--mode", "interpolation", "--from", "1", "--to", "20"], "20 test examples.*got 20"),
        (["images", "--mode", "interpolation", "--from", "1", "--to", "2", "--num", "3"], "number of pairs"),
        (["images", "--mode", "traversal", "--dimension", "3"], "dimension must be from 0 to 2; got 3"),
        (["images", "--mode", "traversal", "--image", "99"], "20 test examples.*got 99"),
        (["images", "--components", "3"], "--components is for --sampler mixture; the sampler is prior"),
        (["images", "--train-images", "3"], "--train-images is for --sampler mixture or flow"),
        (["images", "--sampler", "mixture", "--train-images", "2"], "as many examples as components"),
        (["images", "--class", "1"], "this one has no classes"),
        (["images", "--mode", "classes"], "this one has no classes"),
        (["classes"], "conditional, .* expected a class from 0 to 2; none was given: add --class C"),
        (["classes", "--class", "3"], "expected a class from 0 to 2; got 3"),
        (["series", "--images"], "--images is for models of images"),
        (["images", "--mode", "reconstructions", "--data", "digits"], r"shape \[8, 9, 1\]; digits holds"),
        (["images", "--mode", "reconstructions", "--data", "lost.npz"], "There is no file .*lost.npz"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, message, runs, tmp_path):
    if arguments:
        arguments = [runs / arguments[0], *arguments[1:]]
    result = invoke(*arguments, "--output", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert re.search(message, result.output), result.output
    assert result.output.startswith("Error: ") and len(result.output.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_run(tmp_path):
    probvae.save(probvae.conv_vae((8, 9, 1), filters=(2, 2)), tmp_path / "saved")
    result = invoke(tmp_path / "saved")
    assert result.exit_code == 2 and "is no run of probvae-train" in result.output


def test_an_output_that_cannot_be_made(runs, tmp_path):
    (tmp_path / "file").write_text("")
    result = invoke(runs / "images", "--output", tmp_path / "file" / "samples")
    assert result.exit_code == 2 and "cannot be used: Not a directory" in result.output
    assert len(result.output.splitlines()) == 1


def test_the_options_are_those_of_the_code():
    options = {p.name: p for p in main.params}
    names = {f.name for f in dataclasses.fields(SampleOptions)}
    assert names <= set(options) and {name for m in MODE_OPTIONS.values() for name in m} <= names
    assert set(MODE_OPTIONS) == set(sample_modes.MODES) == set(options["mode"].type.choices)
    assert CHOICES["sampler"] == ("prior", *SAMPLERS) and set(CHOICES["path"]) == set(PATHS)
    for name in ("pixels", "sampler", "path"):
        assert tuple(options[name].type.choices) == CHOICES[name]


def test_help_needs_no_tensorflow():
    code = (
        "import sys\n"
        "from probvae.cli.sample import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "assert not {'tensorflow', 'numpy', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for option in ("--mode", "--num", "--temperature", "--sampler", "--class", "--from", "--seed"):
        assert option in done.stdout
