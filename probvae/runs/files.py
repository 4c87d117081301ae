"""Readers of the files of a run folder, which may be malicious. No TensorFlow.

Each function reads one kind of file and raises `InputError` if it is damaged.
"""

import csv
import hashlib
import io
import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from probvae.config import json_file
from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.errors import InputError
from probvae.files import strict_json
from probvae.files.reading import read_text, refusals
from probvae.files.writing import CONFIG
from probvae.runs.folder import IMAGES, require_run

MAX_JSON = 2**24  # bytes of a JSON file
MAX_HISTORY = 2**26  # bytes of history.csv
MAX_PICTURE = 2**23  # bytes of a picture
MAX_PIXELS = 2**25  # pixels of a picture
MAX_COMMANDS = 1000  # number of commands that are read, the last ones
LEVELS = 10  # depth of objects and lists in a JSON file


def read_config(folder: Path) -> tuple[Architecture, Training, str | None]:
    """Read config.json of a run folder; that of a model without a training is refused."""
    require_run(folder)
    text = read_text(folder / CONFIG, "a run's configuration", json_file.MAX_CONFIG)
    architecture, training, schema_sha256 = json_file.from_json(text)
    if architecture is None or training is None:
        raise InputError(
            f"{folder} is no run of probvae-train: its config.json names no architecture or no training. A "
            "saved model is loaded by probvae.load(folder)."
        )
    return architecture, training, schema_sha256


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object, such as metrics.json."""
    value = _json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold an object; it holds {type(value).__name__}.")
    return value


def read_commands(path: Path) -> list[dict[str, Any]]:
    """Read commands.json: the last command lines of a run, each with the versions of the packages."""
    commands = _json(path)
    rows: list[Any] = commands if isinstance(commands, list) else [None]
    if not all(isinstance(row, dict) and isinstance(row.get("command"), str) for row in rows):
        raise InputError(f"{path} must hold a list of commands.")
    return rows[-MAX_COMMANDS:]


def _json(path: Path) -> Any:
    return strict_json.parse(read_text(path, "a JSON file", MAX_JSON), path.name, levels=LEVELS)


def read_history(path: Path) -> dict[str, np.ndarray]:
    """Read history.csv: column -> [epochs] float64, NaN for an empty cell; empty before the first epoch."""
    text = read_text(path, "a run's history", MAX_HISTORY)
    with refusals(path, "a run's history"):
        header, *rows = list(csv.reader(io.StringIO(text), strict=True)) or [[]]
    if not header or len(set(header)) < len(header) or any(len(row) != len(header) for row in rows):
        raise InputError(f"{path} must hold columns with names, of one length; train or save it again.")
    try:
        values = np.array([[float(cell or "nan") for cell in row] for row in rows], np.float64)
    except ValueError as error:
        raise InputError(f"{path} must hold numbers; {error}. Train or save it again.") from None
    return dict(zip(header, values.T, strict=True)) if rows else {}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with refusals(path, "weights"), path.open("rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def number(value: Any, *keys: str) -> float | None:
    """Return the finite number at the end of a path of keys, or None.

    >>> number({"a": {"mean": 2}}, "a", "mean"), number({"a": "x"}, "a", "mean")
    (2.0, None)
    """
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


# ---- pictures --------------------------------------------------------------------------------------


def read_picture(path: Path) -> bytes:
    """Read a PNG that a browser will show."""
    with refusals(path, "a picture"):
        with path.open("rb") as file:
            content = file.read(MAX_PICTURE + 1)
        if len(content) > MAX_PICTURE:
            raise ValueError(f"it has more than {MAX_PICTURE:,} bytes")
        if not _is_sound(content):
            raise ValueError(f"it must be a PNG of at most {MAX_PIXELS:,} pixels")
    return content


def _is_sound(png: bytes) -> bool:
    """Return whether bytes are a complete PNG of at most `MAX_PIXELS` pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's warning on many pixels
            with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
                if image.width * image.height > MAX_PIXELS:
                    return False
                image.load()
        return True
    except Exception:  # Pillow raises many kinds on damaged files
        return False


class EpochPicture(NamedTuple):
    """The path of a picture, and the number of whole epochs before it."""

    epochs: int
    path: Path


def epoch_pictures(folder: Path, kind: str) -> list[EpochPicture]:
    """Return the pictures of a kind (image or prior) of a run, in the order of the epochs."""
    pictures = []
    for path in (folder / IMAGES).glob(f"{kind}_at_epoch_*.png"):
        digits = path.stem.rpartition("_")[2]
        if digits.isdecimal() and digits.isascii() and len(digits) < 10:
            pictures.append(EpochPicture(int(digits), path))
    return sorted(pictures)


# ---- evaluation ------------------------------------------------------------------------------------


class EvaluationResults(NamedTuple):
    """The results that `probvae-evaluate` wrote.

    Attributes:
      metrics: Content of metrics.json: means with their errors, and the conditions.
      per_example: Arrays over the test examples by name, in nats.
    """

    metrics: dict[str, Any]
    per_example: dict[str, np.ndarray]

    @property
    def conditions(self) -> dict[str, Any]:
        """Data, number of draws, seed and weights of the evaluation."""
        return part(self.metrics, "conditions", dict)

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """Rows of the table, by key."""
        rows = part(self.metrics, "results", dict)
        return {key: row for key, row in rows.items() if isinstance(row, dict)}

    @property
    def unfinished(self) -> list[str]:
        """Names of the stages that were stopped or not started."""
        return [str(name) for name in part(self.metrics, "unfinished", list)]

    @property
    def skipped(self) -> dict[str, str]:
        """Reasons why stages were skipped, by the name of the stage."""
        return {key: str(value) for key, value in part(self.metrics, "skipped", dict).items()}

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Vectors of real numbers among the per-example results."""
        arrays = self.per_example.items()
        return {key: x for key, x in arrays if x.ndim == 1 and x.dtype.kind == "f" and len(x)}


def part(content: dict[str, Any], name: str, kind: type) -> Any:
    """Return a value of a JSON object if it has the given type, else an empty value of that type."""
    value = content.get(name)
    return value if isinstance(value, kind) else kind()
