"""What the files of a run folder hold, read as if made to do harm: a damaged part is told, not shown."""

import csv
import dataclasses
import hashlib
import io
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from probvae.config import json_file
from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.errors import InputError
from probvae.files import npz, strict_json
from probvae.files.reading import read_text, refusals
from probvae.files.writing import CONFIG, WEIGHTS
from probvae.runs.folder import COMMANDS, HISTORY, IMAGES, METRICS, require_run

MAX_TEXT = 2**24  # bytes of a JSON or CSV file
MAX_PICTURE = 2**23  # bytes
MAX_PIXELS = 2**25
MAX_COMMANDS = 1000
FRAMES = 24  # of each kind in a report, at most
EVALUATION = "evaluation"
PICTURES = ("originals", "latent_manifold", "latent_means", "latent_projection", "traversals")
EVALUATION_PICTURES = ("bound_against_samples", "gaps", "posterior_contours")


class Frame(NamedTuple):
    """A picture made after some epochs."""

    epoch: float
    png: bytes


@dataclasses.dataclass
class Evaluation:
    """What probvae-evaluate wrote.

    Attributes:
      conditions: under which.
      results: lines of the table, by key.
      unfinished: stages that were stopped.
      skipped: stages that could not be done, and why.
      arrays: per-example results.
      pictures: PNG by name.
      stale: whether it is of other weights than the run has now.
    """

    conditions: dict[str, Any]
    results: dict[str, dict[str, Any]]
    unfinished: list[str]
    skipped: dict[str, str]
    arrays: dict[str, np.ndarray]
    pictures: dict[str, bytes]
    stale: bool


@dataclasses.dataclass
class RunFiles:
    """A run, as its folder tells it.

    Attributes:
      folder: where.
      name: of the folder.
      architecture, training: of config.json.
      history: by column, [epochs] each; nan where a value is missing.
      metrics: of metrics.json; empty before a run has ended.
      commands: that trained it, each with the versions of what ran.
      pictures: PNG by name.
      frames: pictures through the epochs, by kind: image (reconstructions), prior.
      evaluation: None where there is none.
      problems: what could not be read, a sentence each.
    """

    folder: Path
    name: str
    architecture: Architecture
    training: Training
    history: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    commands: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    pictures: dict[str, bytes] = dataclasses.field(default_factory=dict)
    frames: dict[str, list[Frame]] = dataclasses.field(default_factory=dict)
    evaluation: Evaluation | None = None
    problems: list[str] = dataclasses.field(default_factory=list)

    def metric(self, *keys: str) -> float | None:
        """Return a finite number of metrics.json, or None."""
        return number(self.metrics, *keys)


def number(found: Any, *keys: str) -> float | None:
    """Return the finite number at the end of a path of keys, or None.

    >>> number({"a": {"mean": 2}}, "a", "mean"), number({"a": "x"}, "a", "mean")
    (2.0, None)
    """
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return float(found) if math.isfinite(found) else None


def read_run(folder: Path) -> RunFiles:
    """Read a run folder.

    Raises:
      InputError: it is none of probvae-train's, or its config.json is damaged. What else is damaged is left
        out and told in `problems`.
    """
    require_run(folder)
    text = read_text(folder / CONFIG, "a run's configuration", json_file.MAX_CONFIG)
    architecture, training = json_file.from_json(text)
    if architecture is None or training is None:
        raise InputError(f"{folder} holds a model and no training: a report is of a run of probvae-train.")
    run = RunFiles(folder, folder.resolve().name or str(folder), architecture, training)

    def attempt(name: str, read: Callable[[Path], Any], default: Any) -> Any:
        path = folder / name
        if not path.exists():
            return default
        try:
            return read(path)
        except InputError as error:
            run.problems.append(str(error).replace(f"{folder}/", ""))
            return default

    run.history = attempt(HISTORY, _history, {})
    run.metrics = attempt(METRICS, _object, {})
    run.commands = attempt(COMMANDS, read_commands, [])
    pictures = {name: attempt(f"{name}.png", _picture, b"") for name in PICTURES}
    run.pictures = {name: png for name, png in pictures.items() if png}
    for kind in ("image", "prior"):
        chosen = _evenly(_frames_of(folder / IMAGES, kind), FRAMES)
        frames = [(n, attempt(f"{IMAGES}/{path.name}", _picture, b"")) for n, path in chosen]
        run.frames[kind] = [Frame(_epoch(run.history, n), png) for n, png in frames if png]
    run.evaluation = attempt(EVALUATION, lambda path: _evaluation(path, attempt), None)
    return run


# ---- parts -----------------------------------------------------------------------------------------


def _object(path: Path) -> dict[str, Any]:
    found = strict_json.parse(read_text(path, path.name, MAX_TEXT), path.name, levels=10)
    if not isinstance(found, dict):
        raise InputError(f"{path.name} must hold an object.")
    return found


def read_commands(path: Path) -> list[dict[str, Any]]:
    """Read commands.json: each command line of a run with the versions of what ran.

    Raises:
      InputError: damaged.
    """
    found = strict_json.parse(read_text(path, path.name, MAX_TEXT), path.name, levels=4)
    rows: list[Any] = found if isinstance(found, list) else [None]
    if not all(isinstance(row, dict) and isinstance(row.get("command"), str) for row in rows):
        raise InputError(f"{path.name} must hold a list of commands.")
    return rows[-MAX_COMMANDS:]


def _history(path: Path) -> dict[str, np.ndarray]:
    text = read_text(path, "a history", MAX_TEXT)
    with refusals(path, "a history"):
        rows = list(csv.reader(io.StringIO(text), strict=True))
        if len(rows) < 2:
            return {}
        names = rows[0]
        if len(set(names)) < len(names) or any(len(row) != len(names) for row in rows):
            raise ValueError("its rows have different columns")
        table = np.array([[float(v) if v else math.nan for v in row] for row in rows[1:]])
    return dict(zip(names, table.T, strict=True))


def _picture(path: Path) -> bytes:
    with refusals(path, "a picture"):
        with path.open("rb") as file:
            content = file.read(MAX_PICTURE + 1)
        if len(content) > MAX_PICTURE:
            raise ValueError(f"it has more than {MAX_PICTURE:,} bytes")
        if not _is_sound(content):
            raise ValueError(f"it must be a PNG of at most {MAX_PIXELS:,} pixels")
    return content


def _is_sound(png: bytes) -> bool:
    """Whether bytes are a whole PNG that is not made to fill the memory."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of many pixels
            with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
                if image.width * image.height > MAX_PIXELS:
                    return False
                image.load()
        return True
    except Exception:  # Pillow raises many kinds on damaged files
        return False


def _frames_of(folder: Path, kind: str) -> list[tuple[int, Path]]:
    """Return the number of epochs and the path of each picture, in order."""
    found = []
    for path in folder.glob(f"{kind}_at_epoch_*.png"):
        digits = path.stem.rpartition("_")[2]
        if digits.isdecimal() and digits.isascii() and len(digits) < 10:
            found.append((int(digits), path))
    return sorted(found)


def _evenly(items: list[Any], most: int) -> list[Any]:
    """Choose at most so many items at equal steps, the first and the last among them.

    >>> _evenly(list(range(10)), 4)
    [0, 3, 6, 9]
    """
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _epoch(history: dict[str, np.ndarray], n: int) -> float:
    """Return the epoch of the n-th row of the history, which is less than n where a run was stopped."""
    epochs = history.get("epoch", np.empty(0))
    known = 0 < n <= len(epochs) and math.isfinite(epochs[n - 1])
    return float(epochs[n - 1]) if known else float(n)


def _evaluation(folder: Path, attempt: Callable[[str, Callable[[Path], Any], Any], Any]) -> Evaluation | None:
    found = attempt(f"{EVALUATION}/metrics.json", _object, {})
    if not found:
        return None
    results = found.get("results")
    pictures = {n: attempt(f"{EVALUATION}/{n}.png", _picture, b"") for n in EVALUATION_PICTURES}
    conditions = _of_kind(found.get("conditions"), dict)
    arrays = attempt(f"{EVALUATION}/per_example.npz", npz.read_arrays, {})
    return Evaluation(
        conditions=conditions,
        results={k: v for k, v in _of_kind(results, dict).items() if isinstance(v, dict)},
        unfinished=[str(name) for name in _of_kind(found.get("unfinished"), list)],
        skipped={k: str(v) for k, v in _of_kind(found.get("skipped"), dict).items()},
        arrays={k: v for k, v in arrays.items() if v.ndim == 1 and v.dtype.kind == "f" and len(v)},
        pictures={name: png for name, png in pictures.items() if png},
        stale=conditions.get("weights_sha256") != attempt(WEIGHTS, _sha256, ""),
    )


def _of_kind(value: Any, kind: type) -> Any:
    return value if isinstance(value, kind) else kind()


def _sha256(path: Path) -> str:
    with refusals(path, "weights"), path.open("rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
