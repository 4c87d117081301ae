"""Arguments of the methods of a Keras model: their order, and checks of their values."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import tf_keras

from probvae.arguments import count
from probvae.errors import InputError, refuse_unknown

COUNTS = {  # arguments that are whole numbers, and the smallest of each
    **dict.fromkeys(("batch_size", "epochs", "steps_per_epoch", "validation_steps", "steps"), 1),
    **dict.fromkeys(("validation_batch_size", "max_queue_size", "steps_per_execution"), 1),
    **{"initial_epoch": 0, "workers": 0},
}
CHOICES: dict[str, tuple[Any, ...]] = {  # arguments of a few values
    "verbose": ("auto", 0, 1, 2),
    "shuffle": (True, False, "batch"),
    **dict.fromkeys(("use_multiprocessing", "return_dict", "reset_metrics"), (True, False)),
    **dict.fromkeys(("run_eagerly", "jit_compile"), (True, False)),
}
COMPILE = (  # arguments of `compile` beside optimizer, objective and seed
    *("metrics", "weighted_metrics", "loss_weights", "run_eagerly", "steps_per_execution", "jit_compile"),
    "pss_evaluation_shards",
)
Method = TypeVar("Method", bound=Callable[..., Any])


def as_in_keras(method: Method) -> Method:
    """Let a method of a model take its arguments in the order of `tf_keras.Model`, and check their values."""
    name = method.__name__
    names = list(inspect.signature(getattr(tf_keras.Model, name)).parameters)[1:]
    names = [each for each in names if each != "kwargs"]

    @functools.wraps(method)
    def called(self: Any, *args: Any, **options: Any) -> Any:
        if len(args) > len(names):
            raise InputError(f"{name} takes at most {len(names)} arguments; got {len(args)}.")
        for key, value in zip(names, args, strict=False):
            if key in options:
                raise InputError(f"{name} takes {key} once; it is given by its place and by its name.")
            options[key] = value
        if not options.get("_use_cached_eval_dataset"):  # a call of `fit`, which has checked its arguments
            refuse_unknown(name, options, names)
            check(options)
        return method(self, **options)

    return called  # type: ignore[return-value]


def check(options: dict[str, Any]) -> None:
    """Check the values of arguments, and make whole numbers of other types ints.

    Raises:
      InputError: A value is none that Keras knows, or two exclude each other.
    """
    for name, smallest in COUNTS.items():
        if options.get(name) not in (None, "auto"):
            options[name] = count(name, options[name], smallest)
    for name, values in CHOICES.items():
        value = options.get(name)
        if value is not None and not any(np.ndim(value) == 0 and value == each for each in values):
            shown = " or ".join(map(repr, values))
            raise InputError(f"{name} must be {shown}; got {value!r}.")
    epochs, initial = options.get("epochs", 1), options.get("initial_epoch", 0)
    if "epochs" in options and initial > epochs:
        raise InputError(
            f"initial_epoch must be at most epochs, the number of the last one; got {initial} and {epochs}."
        )
    every = options.get("validation_freq", 1)
    each = every if isinstance(every, list | tuple | set | range) else [every]
    for number in each:
        count("validation_freq", number)


def check_split(options: dict[str, Any], validation_data: Any, number: int | None) -> None:
    """Check the share of the examples that `fit` sets aside for validation.

    Args:
      options: Arguments of `fit`.
      validation_data: Its validation data.
      number: Number of examples; None for data that come in batches.

    Raises:
      InputError: The share is none, leaves no example on one side, or has no effect.
    """
    share = options.get("validation_split")
    if share is None:
        options.pop("validation_split", None)
        return
    real = isinstance(share, int | float | np.floating) and not isinstance(share, bool)
    if not real or not 0 <= share < 1:
        raise InputError(f"validation_split must be a number from 0 to below 1; got {share!r}.")
    options["validation_split"] = float(share)
    if not share:
        return
    if validation_data is not None:
        raise InputError("validation_split has no effect beside validation_data: leave one of them out.")
    if number is None:
        raise InputError("validation_split needs an array of x: give validation_data with batches.")
    trained = int(number * (1 - share))
    if not 0 < trained < number:
        raise InputError(
            f"validation_split must leave one example or more for training and for validation; {share:g} of "
            f"{number:,} leaves {trained:,} and {number - trained:,}."
        )
