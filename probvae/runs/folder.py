"""The folder of a run: its creation, its checks, and the lock of the process that writes into it."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from probvae.data.schema import Schema
from probvae.data.schema_file import write_schema
from probvae.errors import InputError
from probvae.files.outputs import usable
from probvae.files.writing import CONFIG, TEMPORARY, WEIGHTS, write_text

METRICS, HISTORY, IMAGES, CHECKPOINTS = "metrics.json", "history.csv", "images", "checkpoints"
COMMANDS, REPORT = "commands.json", "report.html"
EVALUATION, PER_EXAMPLE = "evaluation", "per_example.npz"
TABLE = "table.json"
JSON = (METRICS, TABLE, COMMANDS)
LOCK = ".lock"
TENSORBOARD = "tensorboard"
PICTURES = (
    "reconstructions.gif",
    "prior.gif",
    "originals.png",
    "latent_manifold.png",
    "latent_means.png",
    "latent_projection.png",
    "traversals.png",
    "learning_curves.png",
)
WRITTEN = {  # patterns of the files of a run without its configuration, by folder
    ".": (*PICTURES, WEIGHTS, "wandb.id", "mlflow.id", f".*{TEMPORARY}", *JSON, HISTORY, REPORT),
    IMAGES: ("image_at_epoch_*.png", "prior_at_epoch_*.png", f".*{TEMPORARY}"),
    CHECKPOINTS: ("step-*", f".*{TEMPORARY}"),
    TENSORBOARD: ("*",),
}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run folder, which is created if absent; the lock of another process is an `InputError`.

    The operating system releases the lock when the process ends, even if its lock file stays behind.
    """
    is_new = not folder.exists()
    with usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = _lock(folder / LOCK)
    try:
        yield
    finally:
        try:
            (folder / LOCK).unlink(missing_ok=True)
            if is_new and not any(folder.iterdir()):
                folder.rmdir()
        except OSError:  # the folder became read-only, for example; the lock ends nevertheless
            pass
        os.close(handle)


def _lock(path: Path) -> int:
    """Open and lock a file; return its handle."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):  # not just removed
                os.ftruncate(handle, 0)
                os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return handle
        except BlockingIOError:
            owner = os.read(handle, 200).decode(errors="replace") or "another process"
            os.close(handle)
            raise InputError(
                f"{path.parent} is in use by {owner}: wait for it, or choose another folder."
            ) from None
        except OSError:
            os.close(handle)
            raise
        os.close(handle)


def prepare_folder(
    folder: Path, config: str | None = None, *, schema: Schema | None = None, overwrite: bool = False
) -> None:
    """Create a run folder with its schema.json and config.json, or clear one if `overwrite`.

    Other files stay.

    The order of the steps keeps `--resume` from taking the rest of an old run for the new one, even if the
    process is killed in between.
    """
    with usable(folder):
        in_use = folder.exists() and (not folder.is_dir() or not _is_bare(folder))
        if in_use and not overwrite:
            raise InputError(
                f"{folder} exists already: choose another --output, go on with that run by --resume, or add "
                "--overwrite to replace it."
            )
        if in_use and not (folder / CONFIG).is_file():
            raise InputError(
                f"{folder} is not a run folder (it has no {CONFIG}), so it is not overwritten: "
                "choose another --output."
            )
        for name in (".", IMAGES, CHECKPOINTS):
            (folder / name).mkdir(parents=True, exist_ok=True)
        _remove(folder / CHECKPOINTS, WRITTEN[CHECKPOINTS])
        if config is not None:  # each belongs to the other: the old ones go first
            (folder / CONFIG).unlink(missing_ok=True)
            write_schema(folder, schema)
            write_text(folder / CONFIG, config)
        for name in (IMAGES, TENSORBOARD, "."):  # the top folder last, whose files show that there was a run
            _remove(folder / name, WRITTEN[name])


def _remove(folder: Path, patterns: tuple[str, ...]) -> None:
    for path in [path for pattern in patterns for path in folder.glob(pattern)]:
        path.unlink()


def _is_bare(folder: Path) -> bool:
    """Return whether a folder is empty, or holds only the remains of a run that never started."""
    ours = {LOCK, IMAGES, CHECKPOINTS}
    return all(
        path.name in ours or (path.name.startswith(".") and path.suffix == TEMPORARY)
        for path in folder.iterdir()
    ) and not any(path for name in (IMAGES, CHECKPOINTS) for path in (folder / name).glob("*"))


def require_run(folder: Path) -> None:
    """Refuse a path that is absent, a file, or a folder without config.json."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give the folder of a run.")
    if not folder.is_dir():
        raise InputError(f"There is no run folder {folder}: give one that probvae-train has made.")
    if not (folder / CONFIG).is_file():
        raise InputError(
            f"{folder} is no run folder: it has no {CONFIG}. Give one that probvae-train has made."
        )


def require_untrained(folder: Path) -> None:
    """Refuse to train from the start in a run folder that has a history or metrics, but no checkpoint."""
    if (folder / HISTORY).exists() or (folder / METRICS).exists():
        raise InputError(
            f"{folder} holds a run that has been trained, but no checkpoint to go on from: train anew in "
            "another folder; its weights stay."
        )


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of a process that was killed."""
    for name, patterns in WRITTEN.items():
        for pattern in (*patterns, CONFIG):
            for path in (folder / name).glob(f".{pattern}.*{TEMPORARY}"):
                path.unlink(missing_ok=True)
