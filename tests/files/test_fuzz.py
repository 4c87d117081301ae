"""Some of the fuzzer's cases, drawn by hypothesis; and that the fuzzer sees what is wrong.

`python tests/tools/fuzz.py` runs many more.
"""

import io
import random
import re
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import click
import fuzz
import fuzz_commands
import numpy as np
import pytest
import spoil
from fuzz_loaders import LOADERS, Trap, tiny_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import probvae
from probvae import InputError
from probvae.cli import report
from probvae.config import architecture, training
from probvae.data import numpy_files
from probvae.files import npz
from probvae.models import saving

DETERMINISTIC = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
NUMBERS = st.one_of(
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.boolean_dtypes(),
)
ARRAYS = hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4))
QUICK = [name for name in LOADERS if name != "run folder"]


def seeds_of(name, cache={}):  # noqa: B006
    if name not in cache:
        cache[name] = LOADERS[name].seeds()
    return cache[name]


def available(name):
    if name == "data .parquet":
        pytest.importorskip("pyarrow")
    return LOADERS[name]


@pytest.mark.parametrize("name", QUICK)
def test_every_kind_of_valid_file_is_taken(name, tmp_path):
    """Otherwise nothing behind the first check would be fuzzed."""
    loader = available(name)
    for i, content in enumerate(seeds_of(name)):
        (tmp_path / loader.name).write_bytes(content)
        found = {
            fuzz.attempt(lambda n=n: loader.load(tmp_path / loader.name, random.Random(n))) for n in range(9)
        }
        assert found <= {None, ""}, (i, found)
        assert None in found or b"numpy" in content or b"_spring" in content, i  # all but pickles


@pytest.mark.parametrize("name", QUICK)
@settings(DETERMINISTIC, max_examples=60)
@given(number=st.integers(0, 2**32))
def test_spoiled_files_are_taken_or_refused_in_one_line(name, number, tmp_path):
    loader, rng = available(name), random.Random(number)
    (tmp_path / loader.name).write_bytes(fuzz.mutate(loader, seeds_of(name), rng))
    assert fuzz.attempt(lambda: loader.load(tmp_path / loader.name, rng)) in (None, "")


@settings(DETERMINISTIC, max_examples=60)
@given(
    content=st.binary(max_size=200),
    prefix=st.sampled_from([b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"PAR1", b"{"]),
)
@pytest.mark.parametrize("name", QUICK)
def test_any_bytes_are_taken_or_refused_in_one_line(name, content, prefix, tmp_path):
    loader = available(name)
    (tmp_path / loader.name).write_bytes(prefix + content)
    assert fuzz.attempt(lambda: loader.load(tmp_path / loader.name, random.Random(0))) in (None, "")


@settings(DETERMINISTIC, max_examples=200)
@given(array=ARRAYS, compressed=st.booleans())
def test_arrays_are_read_as_numpy_reads_them(array, compressed, tmp_path):
    for ending, write in (("npz", np.savez_compressed if compressed else np.savez), ("npy", np.save)):
        path = tmp_path / f"a.{ending}"
        write(path, **{"x": array}) if ending == "npz" else write(path, array)
        found = npz.read_arrays(path)["x"]
        assert found.dtype.newbyteorder("=") == array.dtype.newbyteorder("=") and found.shape == array.shape
        np.testing.assert_array_equal(found, array)


@settings(DETERMINISTIC, max_examples=100)
@given(array=ARRAYS)
def test_any_array_is_data_or_refused(array, tmp_path):
    np.save(tmp_path / "a.npy", array)
    loader = LOADERS["data .npy"]
    for number in range(3):
        assert fuzz.attempt(lambda n=number: loader.load(tmp_path / "a.npy", random.Random(n))) in (None, "")


@settings(DETERMINISTIC, max_examples=100)
@given(
    fields=st.dictionaries(
        st.sampled_from(
            [*architecture.Architecture.__dataclass_fields__, *training.Training.__dataclass_fields__, "x"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4
        ),
        max_size=3,
    )
)
def test_any_fields_are_taken_or_refused(fields):
    for cls in (architecture.Architecture, training.Training):
        chosen = {key: value for key, value in fields.items() if key in cls.__dataclass_fields__}
        assert fuzz.attempt(lambda c=cls, o=chosen: c(**o)) in (None, "")


@pytest.mark.slow
def test_a_run_folder(tmp_path):
    result = fuzz.run(LOADERS["run folder"], 25, 0, tmp_path)
    assert result.messages == [] and result.accepted and result.refused


@pytest.mark.slow
@pytest.mark.parametrize(("name", "cases"), [("report", 20), ("sample", 20), ("explore", 15), ("export", 10)])
def test_commands_on_spoiled_runs(name, cases, tmp_path):
    result = fuzz.run(fuzz_commands.LOADERS[f"probvae-{name}"], cases, 0, tmp_path)
    assert result.messages == [] and result.accepted and result.refused


# ---- what is wrong is seen -----------------------------------------------------------------------


def unpickle(path, *arguments, **options):
    with path.open("rb") as raw, np.load(raw, allow_pickle=True) as file:
        return {name: file[name] for name in file.files}


def without_checks(path, *arguments, **options):
    """As `probvae.files.npz`, without a look at names and sizes."""
    with zipfile.ZipFile(path) as archive:
        return {
            name: np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
            for name in archive.namelist()
        }


def unfinite(path, what, expected):
    return {key: value for key, value in npz.read_arrays(path).items() if key in expected}


@pytest.mark.parametrize(
    ("name", "target", "wrong", "message"),
    [
        ("data .npz", (numpy_files, "read_arrays"), unpickle, "code of the file was run"),
        ("data .npz", (numpy_files, "read_arrays"), without_checks, "BadZipFile"),
        pytest.param(
            *("weights.npz", (npz, "read_expected"), unfinite, "KeyError|ValueError"), marks=pytest.mark.slow
        ),
        (
            "config.json",
            (saving, "read_text"),
            lambda path, *rest: path.read_text(),
            "UnicodeDecodeError",
        ),
        ("data .csv", (probvae.data.READERS, ".csv"), lambda path, options: np.genfromtxt(path), "Error"),
    ],
)
def test_a_wrong_loader_is_seen(name, target, wrong, message, tmp_path, monkeypatch):
    (monkeypatch.setitem if isinstance(target[0], dict) else monkeypatch.setattr)(*target, wrong)
    result = fuzz.run(LOADERS[name], 300, 0, tmp_path)
    assert any(re.search(message, text) for text in result.messages), result.messages[:3]


def leaving(name, code):
    def callback(runs, output):
        Path(name).write_text("half")
        click.echo("Error: no.", err=True)
        sys.exit(code)

    return click.Command("odd", params=report.main.params, callback=callback)


@pytest.mark.parametrize(
    ("main", "message"),
    [
        (leaving("RUN/new", 2), "refused .* and wrote"),
        (leaving("RUN/.x.tmp", 0), r"left .*\.tmp"),
        (leaving("config.json", 1), "exit code 1"),
    ],
)
def test_a_command_that_misbehaves_is_seen(main, message, tmp_path, monkeypatch):
    (tmp_path / "runs" / "RUN").mkdir(parents=True)
    monkeypatch.setattr(fuzz_commands, "runs", lambda: tmp_path / "runs")
    monkeypatch.setattr(fuzz_commands, "main_of", lambda name: main)
    (tmp_path / "case").write_bytes(fuzz_commands.pack(["RUN"], "config.json", b"{}"))
    said = fuzz.attempt(lambda: fuzz_commands.load("report", tmp_path / "case", random.Random(0)))
    assert re.search(message, said), said


def test_what_a_case_may_not_do_is_seen(monkeypatch):
    def slow():
        time.sleep(5)

    def say(text):
        def load():
            error = InputError("")
            error.args = (text,)
            raise error

        return load

    monkeypatch.setattr(fuzz, "SECONDS", 1)
    assert fuzz.attempt(slow) == "more than 1 s"
    assert fuzz.attempt(say("in one line")) == "" and fuzz.attempt(lambda: 3) is None
    for text in ("two\nlines", "", "x" * 2000, "a declares arrays larger than the memory"):
        assert "the message" in fuzz.attempt(say(text))
    assert "KeyError: 'a'" in fuzz.attempt(lambda: {}["a"]).replace('"', "")
    assert "SystemExit" in fuzz.attempt(lambda: sys.exit(3))
    assert "UserWarning" in fuzz.attempt(lambda: warnings.warn("odd", stacklevel=1))
    assert "code" in fuzz.attempt(lambda: Trap().__reduce__()[0]())


def test_the_end_of_a_process_is_seen(monkeypatch):
    """As a loader in C could end it: the case is named."""

    def run(command, **options):
        return subprocess.CompletedProcess(
            command, -11, "0\n1\n2\n", "noise\nFatal Python error: Segmentation fault\n\nmore"
        )

    monkeypatch.setattr(subprocess, "run", run)
    result = fuzz.in_a_process("data .parquet", 10, 3)
    assert result.messages == [
        "case 2 of seed 3: the process ended with -11: Fatal Python error: Segmentation fault more"
    ]


def test_memory_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "MEMORY", 50)
    greedy = LOADERS["data .npy"]._replace(
        load=lambda path, rng: np.ones(2**24).sum() if rng.random() < 2 else 0
    )
    result = fuzz.run(greedy._replace(seeds=lambda: [b"x"]), 2, 0, tmp_path)
    assert result.memory > 100 and len(result.messages) == 2 and "MB" in result.messages[0]


def test_cases_depend_on_seed_and_number_alone(tmp_path):
    first, again, other = (fuzz.run(LOADERS["config.json"], 80, seed, tmp_path) for seed in (0, 0, 1))
    assert first._replace(slowest=0, memory=0) == again._replace(slowest=0, memory=0)
    assert first[:3] != other[:3] and tiny_model() is tiny_model()
    assert spoil.flip(b"", random.Random(0)) == b""
