"""A model as a training step sees it: every layer is called with `training=True`.

What layers draw (dropout, noise) is seeded by the step. What they change (the moving statistics of
BatchNormalization) and what they add to the loss is recorded; the variables themselves stay as they are until
the step is taken.
"""

import contextlib
import contextvars
import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
import tf_keras
from tf_keras.src.backend import RandomGenerator

from probvae.models.folding import FoldedModel
from probvae.seeds import Seed, fold_in

LAYERS = 1_398_362_177  # number that sets the seeds of layers apart from those of the draws of z


class Record:
    """Losses of layers, and the changes of their variables, in the calls of networks in one step."""

    def __init__(self) -> None:
        self._losses: dict[int, list[tf.Tensor]] = {}  # by network, one for each call
        self._changes: dict[int, list[tf.Tensor]] = {}  # by variable, likewise

    @property
    def losses(self) -> list[tf.Tensor]:
        """The loss that the layers of each network have added, a mean over its calls."""
        return [_mean(calls) for calls in self._losses.values()]

    @property
    def changes(self) -> dict[int, tf.Tensor]:
        """The change of each variable that layers change, by its `id`, a mean over the calls."""
        return {key: _mean(calls) for key, calls in self._changes.items()}

    @contextlib.contextmanager
    def call_of(self, network: tf_keras.layers.Layer) -> Iterator[None]:
        """Record a call of a network, after which its variables have their values of before."""
        before = [(v, v.read_value()) for v in network.non_trainable_variables if _can_change(v)]
        changes = []
        try:
            yield
            changes = [variable.read_value() - value for variable, value in before]
        finally:  # a layer may raise
            for variable, value in before:
                variable.assign(value)
        for (variable, _), change in zip(before, changes, strict=True):
            self._changes.setdefault(id(variable), []).append(change)
        losses = [loss for loss in getattr(network, "losses", ()) if not _is_of_weights(loss)]
        if losses:
            total = tf.add_n([tf.cast(loss, tf.float32) for loss in losses])
            self._losses.setdefault(id(network), []).append(total)


def _mean(calls: list[tf.Tensor]) -> tf.Tensor:
    return calls[0] if len(calls) == 1 else tf.cast(tf.add_n(calls) / len(calls), calls[0].dtype)


def _can_change(variable: tf.Variable) -> bool:
    """Return whether layers may change a variable in a call; the weights of frozen layers stay."""
    alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
    aggregated = variable.aggregation != tf.VariableAggregation.NONE  # others cannot be set by a replica
    number = variable.dtype.is_floating or variable.dtype.is_integer
    return number and not variable.trainable and (alone or aggregated)


def _is_of_weights(loss: tf.Tensor) -> bool:
    """Return whether a loss depends on weights alone, as that of a kernel's regularizer."""
    return getattr(loss, "_unconditional_loss", False)


def losses_of_weights(vae: Any) -> list[tf.Tensor]:
    """Return the losses of layers that depend on weights alone, such as those of regularizers of kernels."""
    return [loss for loss in vae.losses if _is_of_weights(loss)]


@contextlib.contextmanager
def in_training(vae: Any, seed: Seed) -> Iterator[tuple[Any, Record]]:
    """Give a view of a model in training, and the record of the calls of its networks.

    The view is a model of the same type and variables whose networks are called with `training=True`,
    whatever its methods ask for. A prior is one distribution: one that calls the encoder itself, as a
    VampPrior does, calls it in inference mode.

    Args:
      vae: Model.
      seed: Seed of the step, from which layers that draw derive theirs.
    """
    record = Record()
    view = object.__new__(type(vae))
    for name, value in vars(vae).items():
        is_network = isinstance(value, tf_keras.layers.Layer | FoldedModel)
        vars(view)[name] = _InTraining(value, record) if is_network else value
    vars(view)["out_of_training"] = vae
    with seeded_by_steps(vae):
        token = _SEEDS.set(fold_in(fold_in(seed, LAYERS), draw) for draw in itertools.count())
        try:
            yield view, record
        finally:
            _SEEDS.reset(token)


class _InTraining:
    """A network that is called with `training=True`, and recorded; all else is the network's own."""

    def __init__(self, network: Any, record: Record) -> None:
        self._network, self._record = network, record

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Return the output of the network in training mode, whatever the call says."""
        network = self._network
        folded = isinstance(network, FoldedModel)
        names = list(inspect.signature(network if folded else network.call).parameters)
        place = names.index("training") if "training" in names else len(inputs)
        if place < len(inputs):
            inputs = (*inputs[:place], True, *inputs[place + 1 :])
        else:
            options["training"] = True
        with self._record.call_of(network.model if folded else network):
            return network(*inputs, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


# ---- seeds of layers -----------------------------------------------------------------------------

_SEEDS: contextvars.ContextVar[Iterator[tf.Tensor]] = contextvars.ContextVar("seeds of a step's layers")


class _StepGenerator(RandomGenerator):
    """Generator of a layer: within a step each draw has its next seed, elsewhere it is the layer's own.

    A step is one of this thread; others may call the layer meanwhile.
    """

    def __init__(self, own: RandomGenerator) -> None:
        super().__init__(seed=0, rng_type=self.RNG_STATELESS)
        self.own = own

    def make_seed_for_stateless_op(self) -> tf.Tensor:
        return next(_SEEDS.get())


def _draw_of(name: str) -> Callable[..., tf.Tensor]:
    method = getattr(RandomGenerator, name)

    def draw(self: _StepGenerator, *args: Any, **options: Any) -> tf.Tensor:
        return method(self.own if _SEEDS.get(None) is None else self, *args, **options)

    return draw


for _name in ("random_normal", "random_uniform", "truncated_normal", "dropout"):
    setattr(_StepGenerator, _name, _draw_of(_name))


@contextlib.contextmanager
def seeded_by_steps(vae: Any) -> Iterator[None]:
    """Give layers that draw a generator with the seeds of the step, in place of their own.

    Replicas take turns where a layer waits for all of them, so a step on replicas is within this context as a
    whole, too.
    """
    own = {}
    for layer in vae._flatten_layers():  # `submodules` fails on recurrent layers with dropout
        generator = getattr(layer, "_random_generator", None)
        if isinstance(generator, RandomGenerator) and not isinstance(generator, _StepGenerator):
            own[layer], layer._random_generator = generator, _StepGenerator(generator)
    try:
        yield
    finally:
        for layer, generator in own.items():
            layer._random_generator = generator
