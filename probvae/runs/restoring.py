"""The return of a training to the last checkpoint of its run."""

import warnings
from collections.abc import Callable

from probvae.errors import InputError
from probvae.runs import checkpoints
from probvae.runs.folder import require_untrained
from probvae.runs.job import Job
from probvae.runs.recorder import Recorder
from probvae.training.trainer import Trainer

Warn = Callable[[str], None]


def keep_last_good(trainer: Trainer, recorder: Recorder | None, job: Job, *, sound: bool) -> int:
    """Save a run after numbers that are not finite, and return the step from which it can be resumed.

    If its weights are not sound (see `NonFiniteError`), those of its last checkpoint are saved. The recorder
    is None in a process that writes no files.
    """
    state = trainer.state()
    if recorder is None:
        return state.step
    if sound:
        checkpoints.save_state(job.folder, state, job.origin)
    else:
        checkpoints.set_aside_last(job.folder, state.step)
        saved = checkpoints.load_state(job.folder, state)
        if saved is None:
            raise InputError(
                f"There is no checkpoint of {job.folder} from before: train anew with smaller steps."
            )
        state, _ = saved
        trainer.restore(state)
    trainer.show_average()
    recorder.save_weights()
    return state.step


def restore(trainer: Trainer, job: Job, warn: Warn) -> str:
    """Restore a training from the last checkpoint of its run; return its step and epoch, in words."""
    place = ""
    for chief in (True, False):  # the chief first, which renames damaged files
        with job.workers.in_step():
            if job.workers.is_chief is chief:
                place = _load(trainer, job, warn)
    job.workers.refuse_unless_same("the checkpoints that they find", trainer.state().step)
    return place


def _load(trainer: Trainer, job: Job, warn: Warn) -> str:
    folder, origin = job.folder, job.origin
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        saved = checkpoints.load_state(folder, trainer.state())
    for warning in caught:
        warn(str(warning.message))
    if saved is None:
        require_untrained(folder)
        return "there is no checkpoint yet: from the first step"
    state, earlier = saved
    if earlier.fingerprint != origin.fingerprint and not job.examples.agrees_with(earlier.fingerprint):
        raise InputError(
            f"The data {trainer.training.data} are not those that the run in {folder} has begun with: give "
            "those by --data, or train anew."
        )
    if earlier.replicas != origin.replicas and job.workers.is_chief:
        warn(
            f"the run had {earlier.replicas} replicas and goes on with {origin.replicas}: the noise of its "
            "steps is another from here on."
        )
    if earlier.threads != origin.threads and job.workers.is_chief:
        warn(
            f"the run used {earlier.threads or 'all'} threads and goes on with {origin.threads or 'all'}: "
            "sums are rounded in another order from here on."
        )
    least = state.epoch + (state.position > 0)
    if trainer.training.epochs < least:
        raise InputError(f"epochs must be {least} or more, as the run is in its epoch {least}; got fewer.")
    trainer.restore(state)
    epoch = state.epoch + state.position / len(trainer.data.train)
    left = "; nothing is left to train: give more --epochs" if trainer.finished else ""
    return f"after step {state.step:,}, epoch {epoch:.4g}{left}"
