"""Checkpoints of a training: its `State` in one file with a checksum, the last two kept.

A file is one line, `probvae state 1`, the SHA-256 and the number of bytes of what follows: an .npz of
the arrays, with the rest as JSON in its member `state`.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from probvae.checkpoints import write_atomic
from probvae.errors import InputError
from probvae.progress import Row, State
from probvae.run_folder import CHECKPOINTS
from probvae.steps import Tally

MAGIC = b"probvae state 1"
KEPT = 2  # files; the older one is for the case that the newer one is damaged
GROUPS = ("weights", "optimizer", "best")
DAMAGED = ".damaged"


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a state belongs to.

    Attributes:
      fingerprint: of the data, `DataSet.fingerprint()`.
      replicas: that trained it.
    """

    fingerprint: str
    replicas: int = 1


def save_state(folder: Path, state: State, origin: Origin) -> Path:
    """Write a checkpoint into a run folder; then remove all but the last `KEPT`.

    Returns:
      The file.
    """
    fields = {f.name: getattr(state, f.name) for f in dataclasses.fields(State) if f.name not in GROUPS}
    fields["history"] = [dataclasses.asdict(row) for row in state.history]
    text = json.dumps({"origin": dataclasses.asdict(origin), **fields})
    arrays = {f"{name}/{i}": a for name in GROUPS for i, a in enumerate(getattr(state, name))}
    content = io.BytesIO()
    np.savez(content, state=np.frombuffer(text.encode(), np.uint8), **arrays)
    view = content.getbuffer()
    path = folder / CHECKPOINTS / f"step-{state.step:09d}.state"
    header = b"%s %s %d\n" % (MAGIC, hashlib.sha256(view).hexdigest().encode(), len(view))
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, lambda file: (file.write(header), file.write(view)))
    for old in _files(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def load_state(folder: Path, like: State) -> tuple[State, Origin] | None:
    """Read the last good checkpoint of a run folder.

    A damaged one is set aside, with a warning, and the one before it is read.

    Args:
      folder: of the run.
      like: a state of the same model and optimizer, for the number and shapes of the arrays.

    Returns:
      None where there is no checkpoint at all: the run was interrupted before its first.

    Raises:
      InputError: there are checkpoints and all are damaged, or the last does not fit the model.
    """
    files = _files(folder)
    for path in reversed(files):
        try:
            content = _verified(path.read_bytes())
        except (ValueError, OSError) as error:
            warnings.warn(f"{path} is damaged ({error}): the checkpoint before it is used.", stacklevel=2)
            _set_aside(path)
            continue
        try:
            return _parse(content, like)
        except Exception as error:  # numpy, zipfile and json raise many kinds
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{path} is no checkpoint of this model: {reason}.") from None
    if files or any((folder / CHECKPOINTS).glob(f"step-*{DAMAGED}")):
        raise InputError(f"All checkpoints in {folder / CHECKPOINTS} are damaged: train anew.")
    return None


def _files(folder: Path) -> list[Path]:
    return sorted((folder / CHECKPOINTS).glob("step-*.state"))


def _set_aside(path: Path) -> None:
    with contextlib.suppress(OSError):  # it stays where it is, and is passed over again
        path.replace(path.with_name(path.name + DAMAGED))


def _verified(content: bytes) -> bytes:
    """Return what follows the first line, if it is what the line says.

    Raises:
      ValueError: it is not.
    """
    header, newline, _ = content[:200].partition(b"\n")
    words = header.split(b" ")
    if not newline or b" ".join(words[:-2]) != MAGIC or not words[-1].isdigit():
        raise ValueError("its first line is not a checkpoint's")
    body = memoryview(content)[len(header) + 1 :]
    if len(body) != int(words[-1]):
        raise ValueError(f"{len(body):,} of its {int(words[-1]):,} bytes are there")
    if hashlib.sha256(body).hexdigest().encode() != words[-2]:
        raise ValueError("its checksum is wrong")
    return bytes(body)


def _parse(content: bytes, like: State) -> tuple[State, Origin]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        fields = json.loads(bytes(file["state"]))
        found = {name: [key for key in file.files if key.startswith(f"{name}/")] for name in GROUPS}
        arrays = {name: [file[f"{name}/{i}"] for i in range(len(found[name]))] for name in GROUPS}
    for name, expected in (("weights", like.weights), ("optimizer", like.optimizer), ("best", like.weights)):
        if name == "best" and not arrays["best"]:
            continue
        shapes, wanted = ([(a.shape, a.dtype) for a in group] for group in (arrays[name], expected))
        if shapes != wanted:
            raise ValueError(f"its {name} have other shapes, or there are more or fewer of them")
    origin = Origin(**fields.pop("origin"))
    history = tuple(Row(**row) for row in fields.pop("history"))
    tally = tuple(float(value) for value in fields.pop("tally"))
    fields |= {**arrays, "history": history, "tally": tally}
    state = State(**fields)
    _check(state, like)
    return state, origin


def _check(state: State, like: State) -> None:
    counts: list[Any] = [state.epoch, state.position, state.stale, state.step]
    if any(type(n) is not int or n < 0 for n in counts) or len(state.tally) != len(Tally._fields):
        raise ValueError("its counts are out of range")
    if len(state.history) != state.epoch:
        raise ValueError(f"its history has {len(state.history)} rows for {state.epoch} epochs")
    if not all(math.isfinite(n) for n in (*state.tally, state.seconds)):
        raise ValueError("its sums are not finite")
