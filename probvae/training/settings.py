"""Checks that the settings of a training have an effect on a model and its data."""

from probvae.arguments import class_of, instance
from probvae.config.training import Training
from probvae.data.arrays import Array
from probvae.data.binarization import Prepared
from probvae.errors import InputError
from probvae.models.vae import VAE


def refuse_other_parts(vae: VAE, data: Prepared, training: Training) -> None:
    """Refuse arguments of a `Trainer` of other classes.

    Raises:
      InputError: The model, the data or the settings are something else, such as each other.
    """
    order = "the order is Trainer(vae, data, training)"
    instance("vae", vae, VAE, order)
    instance("data", data, Prepared, f"prepare a DataSet by data.prepare(...); {order}")
    instance("training", training, Training, order)
    if not isinstance(data.train, Array):
        raise InputError(f"data.train must be an array; got {class_of(data.train)}.")
    if not callable(data.feed):
        raise InputError(f"data.feed must be a function (batch, seed) -> x; got {class_of(data.feed)}.")


def refuse_idle(vae: VAE, data: Prepared, training: Training) -> None:
    """Refuse settings that would have no effect, because they belong to the building of a model or its data.

    Settings of the reading of data, such as `data` and `binarize`, only say where they come from.

    Raises:
      InputError: The model has not this dropout, precision, y or classifier, it takes no missing values, or
        there is no validation set.
    """
    if training.dropout and training.dropout not in vae.dropouts:
        call = f"build it by build(architecture, dropout={training.dropout:g})"
        raise _idle(training, "dropout", "layers that drop this fraction of their units", call)
    if training.precision != "float32" and training.precision not in vae.precisions:
        call = f"build it by build(architecture, precision={training.precision!r})"
        raise _idle(training, "precision", "layers of this precision", call)
    if training.hide and not vae.value_contract.missing:
        raise _idle(training, "hide", "place for missing values", "give its Architecture missing=True")
    if training.uses_labels and not vae.is_conditional:
        raise _idle(training, "labels", "y", "give its Architecture a context_dim")
    if training.is_semisupervised and "classifier" not in vae.named_parts():
        raise _idle(training, "labels", "classifier", "give its Architecture classifier=True")
    if training.validation and data.validation is None:
        raise InputError(
            f"validation={training.validation:g} needs a validation set, and the data have none: load them "
            f"with validation={training.validation:g}, or leave it out."
        )


def _idle(training: Training, name: str, what: str, advice: str) -> InputError:
    return InputError(
        f"{name}={getattr(training, name)!r} has no effect on this model, which has no {what}: {advice}, or "
        f"leave {name} out."
    )
