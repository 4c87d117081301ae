"""Files made to do harm, given to the commands: exit code 2, one line, no traceback, nothing written."""

import os
import struct
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner

import probvae
from probvae import Architecture, Training
from probvae.cli import evaluate, report, sample, train
from probvae.models.building import build


def refused(command, message, *arguments):
    """Run a command that must refuse; it may say one line."""
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    lines = result.stderr.splitlines()
    assert result.exit_code == 2, result.output
    assert len(lines) == 1 and lines[0].isprintable() and lines[0].startswith("Error: "), lines
    assert message in lines[0], lines
    assert result.stdout == "" and "Traceback" not in result.output


def npy(shape):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(16)


def text(content):
    return lambda path: path.write_bytes(content)


def archive(name, content, **options):
    def write(path):
        with zipfile.ZipFile(path, "w", **options) as file:
            file.writestr(name, content)

    return write


def folder(path):
    path.mkdir()
    (path / "a.png").write_bytes(b"")
    (path / "b\n\x1b[2J.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    os.symlink("/dev/zero", path / "c.png")


BAD = {
    "lie.npy": (text(npy("(99999999999, 28, 28)")), "but 16 are there"),
    "lie.npz": (archive("x.npy", npy("(99999999999, 28, 28)")), "but 16 are there"),
    "pickle.npz": (lambda path: np.savez(path, x=np.array([print] * 9, object)), "Python objects"),
    "path.npz": (archive("../../x.npy", npy("(2, 2, 4)")), "no plain name"),
    "lzma.npz": (
        archive("x.npy", npy("(2, 2, 4)"), compression=zipfile.ZIP_LZMA),
        "another way than NumPy's",
    ),
    "empty.npz": (text(b""), "cannot be read"),
    "nan.npy": (lambda path: np.save(path, np.full([9, 3], np.nan)), "the first at (0, 0)"),
    "infinite.npy": (lambda path: np.save(path, np.full([9, 3], np.inf)), "not finite, the first at (0, 0)"),
    "complex.npy": (lambda path: np.save(path, np.zeros([9, 3], complex)), "must hold numbers"),
    "names.csv": (text(b'"a\n\x1b[2J",b\n1,2\n'), "two examples or more"),
    "latin.csv": (text("ä\n1\n".encode("latin-1")), "save it in UTF-8"),
    "nul.csv": (text(b"a\n1\n\x00"), "NUL characters"),
    "wide.csv": (text(b"1" * 200_000), "must have cells of at most 131,072 characters"),
    "cut.parquet": (text(b"PAR1" + bytes(99)), "parquet"),
    "pipe.npz": (os.mkfifo, "no regular file"),
    "pictures": (folder, "none of its files can be"),
}


@pytest.mark.parametrize("name", BAD)
def test_train(name, tmp_path):
    make, message = BAD[name]
    make(tmp_path / name)
    refused(train.main, message, "--data", tmp_path / name, "--output", tmp_path / "run")
    assert os.listdir(tmp_path) == [name]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    probvae.save(build(Architecture((4,), network="mlp", units=(3,), likelihood="normal")), path, Training())
    return path


SPOILED = {
    "config.json": [
        (lambda text: text.replace(b'"format": 3', b'"format": 3, "format": 3'), "is there twice"),
        (
            lambda text: text.replace(b'"latent_dim": 2', b'"latent_dim": 1e999'),
            "latent_dim must be of type int",
        ),
        (lambda text: text.replace(b"      4\n", b"      1000000,\n 1000000\n"), "at most"),
        (lambda text: text.replace(b'"latent_dim"', b'"\\n\\u001b[2J"'), "unknown key"),
        (lambda text: b"[" * 10**5, "must hold JSON"),
        (lambda text: b"\xff" + text, "cannot be read"),
        (lambda text: b"", "must hold JSON"),
    ],
    "weights.npz": [
        (lambda content: content[:-40], "cannot be read as weights"),
        (lambda content: content[:400] + b"\x7f" + content[401:], "cannot be read as weights"),
        (lambda content: b"", "cannot be read as weights"),
    ],
}


@pytest.mark.parametrize("command", [evaluate.main, sample.main], ids=["evaluate", "sample"])
@pytest.mark.parametrize(
    ("name", "case"), [(name, i) for name, cases in SPOILED.items() for i in range(len(cases))]
)
def test_a_spoiled_run(name, case, command, run_folder, tmp_path):
    for file in ("config.json", "weights.npz"):
        (tmp_path / file).write_bytes((run_folder / file).read_bytes())
    change, message = SPOILED[name][case]
    content = (tmp_path / name).read_bytes()
    assert change(content) != content
    (tmp_path / name).write_bytes(change(content))
    refused(command, message, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "weights.npz"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN", "a\u2028b\x1b[2J"], "There is no run folder"),
        (["RUN", "OTHER", "--output", "c\u2028/\x1b[2J.html"], "There is no"),
        (["RUN", "--\x1b[2J"], "No such option"),
        (["a" * 5000], "ame too long"),
        (["RUN", "--ouput", "x"], "Did you mean '--output'? See probvae-report --help."),
    ],
)
def test_odd_words_are_told_in_one_line(arguments, message, run_folder, tmp_path):
    probvae.save(probvae.load(run_folder), tmp_path / "other", Training())
    folders = {"RUN": str(run_folder), "OTHER": str(tmp_path / "other")}
    before = sorted(os.listdir(run_folder))
    refused(report.main, message, *(folders.get(word, word) for word in arguments))
    assert sorted(os.listdir(run_folder)) == before


def test_a_run_that_would_download_code(run_folder, tmp_path):
    """The data that config.json names are read as any data are, and no more."""
    probvae.save(probvae.load(run_folder), tmp_path, Training(data="tfds:someone:data", binarize="none"))
    refused(evaluate.main, "could name code to download", tmp_path)
