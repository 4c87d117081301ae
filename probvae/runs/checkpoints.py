"""Checkpoints: the `State` of training in a file with a checksum; the last two are kept.

A file begins with a line of `probvae state 1`, the SHA-256 and the number of bytes of the content: a line of
JSON, and an .npz of the arrays.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from probvae.errors import InputError
from probvae.files import npz
from probvae.files.writing import write_atomic
from probvae.runs.folder import CHECKPOINTS
from probvae.training.state import EpochSums, Row, State

MAGIC = b"probvae state 1"
MAX_TEXT = 2**28  # bytes of the line of JSON
KEPT = 2  # number of files kept; the older one is read if the newer one is damaged
GROUPS = ("weights", "optimizer", "best")
DAMAGED, SPOILT = ".damaged", ".spoilt"  # endings of the names of checkpoints that are not read


@dataclasses.dataclass(frozen=True)
class Origin:
    """The data and devices of training."""

    fingerprint: str  # fingerprint of the data, `DataSet.fingerprint()`
    replicas: int = 1  # number of replicas
    threads: int = 0  # number of threads of an operation; 0 for all


def save_state(folder: str | os.PathLike[str], state: State, origin: Origin) -> Path:
    """Write a checkpoint into a run folder, remove all but the last `KEPT`, and return its path."""
    folder = Path(folder)
    names = [field.name for field in dataclasses.fields(State) if field.name not in GROUPS]
    fields = {name: getattr(state, name) for name in names}
    fields["history"] = [dataclasses.asdict(row) for row in state.history]
    content = io.BytesIO()
    content.write(json.dumps({"origin": dataclasses.asdict(origin), **fields}).encode() + b"\n")
    np.savez(content, **_arrays(state))
    view = content.getbuffer()
    path = _file(folder, state.step)
    header = b"%s %s %d\n" % (MAGIC, hashlib.sha256(view).hexdigest().encode(), len(view))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: (file.write(header), file.write(view)))
    for old in _files(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def load_state(folder: str | os.PathLike[str], like: State) -> tuple[State, Origin] | None:
    """Read the last good checkpoint of a run folder, and its origin; None before the first checkpoint.

    A damaged one is renamed, with a warning, and the one before it is read. `like` is a state of the same
    model and optimizer. It is an `InputError` if all are damaged, or the last does not fit.
    """
    folder = Path(folder)
    files = _files(folder)
    for path in reversed(files):
        try:
            text = _verified(path)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from None
        except ValueError as error:
            warnings.warn(f"{path} is damaged ({error}): the checkpoint before it is used.", stacklevel=2)
            with contextlib.suppress(OSError):  # without the new name, it is skipped again next time
                _set_aside(path, DAMAGED)
            continue
        try:
            return _parse(path, text, like)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{path} is no checkpoint of this model: {reason}.") from None
    if any((folder / CHECKPOINTS).glob("step-*")):
        raise InputError(f"All checkpoints in {folder / CHECKPOINTS} are damaged or spoilt: train anew.")
    return None


def set_aside_last(folder: Path, step: int) -> None:
    """Rename the checkpoint of a step, whose weights are spoilt, so that it is not read again."""
    path = _file(folder, step)
    if path.exists():
        _set_aside(path, SPOILT)


def _file(folder: Path, step: int) -> Path:
    return folder / CHECKPOINTS / f"step-{step:09d}.state"


def _files(folder: Path) -> list[Path]:
    return sorted((folder / CHECKPOINTS).glob("step-*.state"))


def _set_aside(path: Path, ending: str) -> None:
    path.replace(path.with_name(path.name + ending))


def _arrays(state: State) -> dict[str, Any]:
    return {f"{name}/{i}": array for name in GROUPS for i, array in enumerate(getattr(state, name))}


def _verified(path: Path) -> bytes:
    """Return the line of JSON of a file; its size and checksum must be as its first line says."""
    with path.open("rb") as file:
        words = file.readline(200).removesuffix(b"\n").split(b" ")
        if b" ".join(words[:-2]) != MAGIC or not words[-1].isdigit():
            raise ValueError("its first line is not a checkpoint's")
        start, size = file.tell(), int(words[-1])
        present = path.stat().st_size - start
        if present != size:
            raise ValueError(f"{present:,} of its {size:,} bytes are there")
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
        if digest.hexdigest().encode() != words[-2]:
            raise ValueError("its checksum is wrong")
        file.seek(start)
        return file.readline(MAX_TEXT)


def _parse(path: Path, text: bytes, like: State) -> tuple[State, Origin]:
    fields = json.loads(text)
    state = dataclasses.replace(like, best=[] if fields["best_elbo"] is None else like.weights)
    expected = {key: (array.shape, array.dtype) for key, array in _arrays(state).items()}
    arrays = npz.read_expected(path, "a checkpoint", expected)
    origin = Origin(**fields.pop("origin"))
    fields["history"] = tuple(Row(**row) for row in fields.pop("history"))
    fields["tally"] = tuple(fields.pop("tally"))
    for name in GROUPS:
        fields[name] = [arrays[f"{name}/{i}"] for i in range(len(getattr(state, name)))]
    state = State(**fields)
    _check(state)
    return state, origin


def _check(state: State) -> None:
    counts: list[Any] = [state.epoch, state.position, state.stale, state.step]
    if any(type(n) is not int or n < 0 for n in counts) or len(state.tally) != len(EpochSums._fields):
        raise ValueError("its counts are out of range")
    if len(state.history) != state.epoch:
        raise ValueError(f"its history has {len(state.history)} rows for {state.epoch} epochs")
    if not all(math.isfinite(n) for n in (*state.tally, state.seconds)):
        raise ValueError("its sums are not finite")
    numbers = [value for row in state.history for value in dataclasses.astuple(row)]
    if any(type(n) not in (int, float, type(None)) for n in [*numbers, state.best_elbo]):
        raise ValueError("its history holds something else than numbers")
