"""A training brought back to its last checkpoint."""

import shlex
import warnings
from pathlib import Path

import click

from probvae.cli.start import renew_report
from probvae.errors import InputError
from probvae.runs import checkpoints
from probvae.runs.folder import require_untrained
from probvae.runs.recorder import Recorder
from probvae.training.trainer import Trainer
from probvae.training.workers import Workers


def _keep_what_is_good(
    trainer: Trainer,
    recorder: Recorder | None,
    folder: Path,
    origin: checkpoints.Origin,
    *,
    sound: bool,
) -> int:
    """Save a run that met numbers that are not finite; where its weights are spoilt, as it was before.

    Returns:
      The step that `--resume` goes on from.
    """
    state = trainer.state()
    if recorder is None:
        return state.step
    if sound:
        checkpoints.save_state(folder, state, origin)
        recorder.save_weights()
        renew_report(folder)
        return state.step
    checkpoints.set_aside_last(folder, state.step)
    saved = checkpoints.load_state(folder, state)
    if saved is None:
        raise InputError(f"There is no checkpoint of {folder} from before: train anew with smaller steps.")
    trainer.restore(saved[0])
    recorder.save_weights()
    renew_report(folder)
    return saved[0].step


def _restore(trainer: Trainer, folder: Path, origin: checkpoints.Origin, workers: Workers) -> str:
    """Bring a trainer to where the last checkpoint of a run stands; say where that is."""
    place = ""
    for turn in (True, False):  # the chief first, which sets damaged files aside
        with workers.in_step():
            if workers.is_chief is turn:
                place = _load(trainer, folder, origin, quiet=not turn)
    workers.refuse_unless_same("the checkpoints that they find", trainer.state().step)
    return place


def _load(trainer: Trainer, folder: Path, origin: checkpoints.Origin, *, quiet: bool) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        saved = checkpoints.load_state(folder, trainer.state())
    for warning in caught:
        click.echo(f"Warning: {warning.message}", err=True)
    if saved is None:
        require_untrained(folder)
        return "there is no checkpoint yet: from the first step"
    state, before = saved
    if before.fingerprint != origin.fingerprint:
        raise InputError(
            f"The data {trainer.training.data} are not those that the run in {folder} has begun with: give "
            "those by --data, or train anew."
        )
    if before.replicas != origin.replicas and not quiet:
        click.echo(
            f"Warning: the run had {before.replicas} replicas and goes on with {origin.replicas}: the noise "
            "of its steps is another from here on.",
            err=True,
        )
    if before.threads != origin.threads and not quiet:
        click.echo(
            f"Warning: the run used {before.threads or 'all'} threads and goes on with "
            f"{origin.threads or 'all'}: sums are rounded in another order from here on.",
            err=True,
        )
    begun = state.epoch + (state.position > 0)
    if trainer.training.epochs < begun:
        raise InputError(f"epochs must be {begun} or more, as the run is in its epoch {begun}; got fewer.")
    trainer.restore(state)
    epoch = state.epoch + state.position / len(trainer.data.train)
    left = "; nothing is left to train: give more --epochs" if trainer.finished else ""
    return f"after step {state.step:,}, epoch {epoch:.4g}{left}"


def _command(folder: Path) -> str:
    return f"probvae-train --resume {shlex.quote(str(folder))}"
