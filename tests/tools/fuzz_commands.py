"""Commands that work on a run, given spoiled run folders and odd options: for the fuzzer.

A case is a line of JSON, the command's arguments and the name of a file of the run, and then what that file
holds instead. RUN and OTHER stand for the folders of two runs.
"""

import atexit
import contextlib
import hashlib
import importlib
import json
import os
import random
import shutil
import tempfile
import traceback
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import spoil
from click.testing import CliRunner
from fuzz_loaders import Loader

from probvae.errors import InputError

COMMANDS: dict[str, list[list[str]]] = {  # name: valid arguments
    "report": [["RUN"], ["RUN", "OTHER"], ["RUN", "OTHER", "--output", "both.html"]],
    "explore": [["RUN", "--points", "9", "--log-prob", "iwae", "--num-samples", "3"]],
    "sample": [
        ["RUN", "--num", "3"],
        ["RUN", "--mode", "reconstructions", "--num", "2", "--draws", "2", "--images"],
        ["RUN", "--mode", "interpolation", "--num", "2", "--steps", "3"],
        ["RUN", "--mode", "traversal", "--steps", "3"],
    ],
    "export": [["RUN", "--format", "onnx", "--part", "decoder"], ["RUN", "--license", "mit"]],
}
READ = {  # by a command: files of the run that are spoiled
    "report": [
        "config.json",
        "commands.json",
        "history.csv",
        "metrics.json",
        "weights.npz",
        "originals.png",
        "images/image_at_epoch_0001.png",
        "evaluation/metrics.json",
        "evaluation/per_example.npz",
        "table.json",
    ],
    "explore": ["config.json", "weights.npz"],
    "sample": ["config.json", "weights.npz"],
    "export": ["config.json", "weights.npz", "commands.json", "metrics.json", "evaluation/metrics.json"],
}
MUTATORS = {
    ".json": spoil.JSON,
    ".csv": spoil.TEXT,
    ".npz": spoil.ARCHIVE,
    ".png": spoil.IMAGE,
}
HERE = ["..", ".", "", "no/such/folder/a.html", "RUN", "RUN/config.json", "/dev/null", "/dev/full/a.html"]
HERE += ["é\u2028 .html", "a\x1b[2J.html", "no\n/b", "a" * 300, "-", "--", "new", "new.html"]
ALLOWED = [w for w in spoil.WORDS if "\x00" not in w and not w.startswith("/")]  # never a file of the system


@cache
def runs() -> Path:
    """Make two small runs of probvae-train, evaluated, in a folder that goes when the process ends."""
    from probvae.cli import evaluate, train

    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    x = np.random.default_rng(0).integers(0, 2, [60, 8, 8]).astype(np.uint8)
    np.savez(
        place / "x.npz", x_train=x[:40], x_test=x[40:], y_train=np.arange(40) % 3, y_test=np.arange(20) % 3
    )
    small = [
        "--data",
        str(place / "x.npz"),
        "--epochs",
        "1",
        "--filters",
        "2,2",
        "--latent-dim",
        "4",
        "--quiet",
    ]
    few = ["--num-samples", "5", "--gap-images", "0", "--ais-images", "0", "--train-images", "0", "--quiet"]
    for i, name in enumerate(("RUN", "OTHER")):
        for main, arguments in (
            (train.main, [*small, "--seed", str(i), "--output", str(place / name)]),
            (evaluate.main, [str(place / name), *few]),
        ):
            done = CliRunner().invoke(main, arguments)
            assert done.exit_code == 0, done.output
    (place / "RUN" / "table.json").write_text(_comparison())
    return place


def _comparison() -> str:
    """Return the table.json of a small table, which the report of any run shows."""
    import pandas as pd

    from probvae.data.tables.table_files import whole_frame
    from probvae.evaluation import check_rows
    from probvae.files import records

    values = np.random.default_rng(0).normal(size=60)
    x, schema = whole_frame(pd.DataFrame({"a": values, "b": np.where(values > 0, "up", "down")}))
    return records.to_text(check_rows(schema, x[:30], x[30:], x[:40]))


def seeds(command: str) -> list[bytes]:
    """Return every valid use of a command with every file that it reads."""
    return [
        pack(arguments, name, (runs() / "RUN" / name).read_bytes())
        for arguments in COMMANDS[command]
        for name in READ[command]
    ]


def pack(arguments: list[str], name: str, content: bytes) -> bytes:
    """Return a case."""
    return json.dumps([arguments, name]).encode() + b"\n" + content


def unpack(case: bytes) -> tuple[list[str], str, bytes]:
    """Return a case's arguments, the file's name and what it holds."""
    line, _, content = case.partition(b"\n")
    arguments, name = json.loads(line)
    return arguments, name, content


def spoil_case(command: str, case: bytes, rng: random.Random) -> bytes:
    """Spoil the file, the options, or now and then take the file away."""
    arguments, name, content = unpack(case)
    if rng.random() < 0.4:
        return pack(odd(command, arguments, rng), name, content)
    content = b"" if rng.random() < 0.03 else rng.choice(MUTATORS[Path(name).suffix])(content, rng)
    return pack(arguments, name, content)


def odd(command: str, arguments: list[str], rng: random.Random) -> list[str]:
    """Add an option of the command with an odd value, or change an argument."""
    options = [p for p in main_of(command).params if isinstance(p, click.Option)]
    option = rng.choice(options)
    if rng.random() < 0.2:
        at = rng.randrange(len(arguments))
        return [*arguments[:at], rng.choice(HERE), *arguments[at + rng.randrange(2) :]]
    flag = [] if option.is_flag else [odd_value(option, rng)]
    return [*arguments, option.opts[0], *flag]


def odd_value(option: click.Option, rng: random.Random) -> str:
    """Return a value, in half of the cases one that an option of this kind could have."""
    if isinstance(option.type, click.Choice) and rng.random() < 0.7:
        return str(rng.choice(list(option.type.choices)))
    if isinstance(option.type, click.Path) and rng.random() < 0.8:
        return rng.choice(HERE)
    if rng.random() < 0.5:
        return str(rng.choice([*range(-1, 12), 0.5, 1e-9]))
    return rng.choice([*ALLOWED, *map(str, spoil.NUMBERS)])


def main_of(command: str) -> click.Command:
    """Return the command."""
    return importlib.import_module(f"probvae.cli.{command}").main


def load(command: str, path: Path, rng: random.Random) -> None:
    """Run a case in a playground of its own.

    Raises:
      InputError: the command refused in one line, with exit code 2, and wrote nothing.
      RuntimeError: it did anything else but succeed and leave whole files.
    """
    arguments, name, content = unpack(path.read_bytes())
    with playground(path.parent / "ground"):
        (Path("RUN") / name).write_bytes(content)
        before = state()
        done = CliRunner().invoke(main_of(command), arguments)
        told, after = done.stderr.splitlines(), state()
        left = [file for file in after if file.endswith(".tmp") or file not in before]
        if any(file.endswith(".tmp") for file in after):
            raise RuntimeError(f"left {left} of {arguments}")
        if done.exit_code == 0:
            return
        if done.exit_code != 2 or len(told) != 1 or not told[0].startswith("Error: "):
            raise RuntimeError(f"exit code {done.exit_code} of {arguments}, {name}: {reason(done)}")
        if before != after:
            raise RuntimeError(f"refused {arguments} and wrote {left}")
    error = InputError("")
    error.args = (told[0].removeprefix("Error: "),)  # as it was printed
    raise error


def reason(done: Any) -> str:
    """Return the end of what a command printed, or where it failed."""
    found = done.exc_info[1] if done.exc_info else None
    if found is None or isinstance(found, SystemExit):
        return " ".join(done.stderr.split())[-600:]
    return " ".join("".join(traceback.format_exception(found)).split())[-600:]


@contextlib.contextmanager
def playground(place: Path) -> Iterator[None]:
    """Copy the runs and go where they are."""
    import tf_keras

    shutil.rmtree(place, ignore_errors=True)
    work, home = place / "work", Path.cwd()
    shutil.copytree(runs(), work)
    os.chdir(work)
    try:
        yield
    finally:
        os.chdir(home)
        shutil.rmtree(place, ignore_errors=True)
        tf_keras.backend.clear_session()


def state() -> dict[str, str]:
    """Return the files around, with their hashes."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(Path("..").rglob("*"))
    }


LOADERS = {
    f"probvae-{name}": Loader(
        partial(seeds, name),
        [partial(spoil_case, name)],
        "case",
        partial(load, name),
        0.2 if name == "report" else 0.05,
    )
    for name in COMMANDS
}
