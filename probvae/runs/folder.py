"""The folder of a run: made or taken over, and locked while a process works in it."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from probvae.errors import InputError
from probvae.files.outputs import usable
from probvae.files.writing import CONFIG, TEMPORARY, WEIGHTS, write_text

METRICS, HISTORY, IMAGES, CHECKPOINTS = "metrics.json", "history.csv", "images", "checkpoints"
COMMANDS, REPORT = "commands.json", "report.html"
EVALUATION, PER_EXAMPLE = "evaluation", "per_example.npz"
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
WRITTEN = {  # the patterns of all that a run writes but its configuration, by folder
    ".": (*PICTURES, WEIGHTS, "wandb.id", "mlflow.id", f".*{TEMPORARY}", METRICS, HISTORY, COMMANDS, REPORT),
    IMAGES: ("image_at_epoch_*.png", "prior_at_epoch_*.png", f".*{TEMPORARY}"),
    CHECKPOINTS: ("step-*", f".*{TEMPORARY}"),
    TENSORBOARD: ("*",),
}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run folder, which is made if absent.

    The lock is the operating system's: it ends with the process that holds it, however that ends, so that a
    lock file left behind is no lock.

    Raises:
      InputError: another process holds it, or the folder cannot be used.
    """
    made = not folder.exists()
    with usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = _lock(folder / LOCK)
    try:
        yield
    finally:
        try:
            (folder / LOCK).unlink(missing_ok=True)
            if made and not any(folder.iterdir()):
                folder.rmdir()
        except OSError:  # a folder that became read-only, say; the lock ends all the same
            pass
        os.close(handle)


def _lock(path: Path) -> int:
    """Open and lock a file; return its handle."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):  # else just removed
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


def prepare_folder(folder: Path, config: str | None = None, *, overwrite: bool = False) -> None:
    """Make a run folder, or clear one.

    In an order in which no `--resume` takes what is left of the old run for the new one, whenever it ends.

    Args:
      folder: must be absent or empty, unless `overwrite`.
      config: the text of the new run's config.json.
      overwrite: empty an existing *run* folder of the files that a run writes; other files stay.

    Raises:
      InputError: the folder is in use, or cannot be made.
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
        if config is not None:
            write_text(folder / CONFIG, config)
        for name in (IMAGES, TENSORBOARD, "."):  # last of all what says that there was a run
            _remove(folder / name, WRITTEN[name])


def _remove(folder: Path, patterns: tuple[str, ...]) -> None:
    for path in [path for pattern in patterns for path in folder.glob(pattern)]:
        path.unlink()


def _is_bare(folder: Path) -> bool:
    """Whether a folder is empty, or holds only what a run that came to nothing leaves."""
    ours = {LOCK, IMAGES, CHECKPOINTS}
    return all(
        path.name in ours or (path.name.startswith(".") and path.suffix == TEMPORARY)
        for path in folder.iterdir()
    ) and not any(path for name in (IMAGES, CHECKPOINTS) for path in (folder / name).glob("*"))


def require_run(folder: Path) -> None:
    """Refuse what is no run folder.

    Raises:
      InputError: it is absent, no folder, or has no config.json.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give the folder of a run.")
    if not folder.is_dir():
        raise InputError(f"There is no run folder {folder}: give one that probvae-train has made.")
    if not (folder / CONFIG).is_file():
        raise InputError(
            f"{folder} is no run folder: it has no {CONFIG}. Give one that probvae-train has made."
        )


def require_untrained(folder: Path) -> None:
    """Refuse a run folder whose training has begun, where there is no checkpoint to go on from.

    Raises:
      InputError: it has a history.
    """
    if (folder / HISTORY).exists() or (folder / METRICS).exists():
        raise InputError(
            f"{folder} holds a run that has been trained, but no checkpoint to go on from: train anew in "
            "another folder; its weights stay."
        )


def remove_unfinished(folder: Path) -> None:
    """Remove the files that a killed process had not finished writing."""
    for name, patterns in WRITTEN.items():
        for pattern in (*patterns, CONFIG):
            for path in (folder / name).glob(f".{pattern}.*{TEMPORARY}"):
                path.unlink(missing_ok=True)
