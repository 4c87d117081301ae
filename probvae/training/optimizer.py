"""Optimizers, and schedules of the learning rate.

Each entry of `OPTIMIZERS` is a class of Keras optimizers, and each entry of `SCHEDULES` a function
`(learning_rate, steps) -> learning rate or Keras schedule`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from probvae.config.training import Training


class FusedAdam(tf_keras.optimizers.Adam):
    """`tf_keras.optimizers.Adam` with one operation instead of ten for the update of a variable.

    Its moving average of the weights, if `use_ema`, forgets the initial weights sooner than that of Keras.
    """

    kernels: frozenset[str] = frozenset()  # keys of the kernels of layers

    def choose_kernels(self, kernels: Iterable[tf.Variable]) -> None:
        """Say which variables are kernels of layers, not by their names, which differ between replicas."""
        self.kernels = frozenset(self._var_key(kernel) for kernel in kernels)

    @property
    def ema_momentum(self) -> tf.Tensor:
        """Momentum of the moving average: D, but at most (1 + t) / (10 + t) after t steps."""
        steps = tf.cast(self.iterations, tf.float32)
        return tf.minimum(self._largest_momentum, (1 + steps) / (10 + steps))

    @ema_momentum.setter
    def ema_momentum(self, momentum: float) -> None:
        self._largest_momentum = momentum

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Update a variable, its momentum and its velocity."""
        if isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable)
            return
        step = tf.cast(self.iterations + 1, variable.dtype)
        index = self._index_dict[self._var_key(variable)]
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].handle,
            v=self._velocities[index].handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, variable.dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, variable.dtype), step),
            lr=tf.cast(self.learning_rate, variable.dtype),
            beta1=tf.cast(self.beta_1, variable.dtype),
            beta2=tf.cast(self.beta_2, variable.dtype),
            epsilon=tf.cast(self.epsilon, variable.dtype),
            grad=gradient,
        )


class Muon(FusedAdam):
    """Momentum made orthogonal for the kernels of layers, and Adam for all other variables.

    A kernel is a matrix, in which a convolution has a row for each place and channel of its input. The step
    is nearly the nearest matrix with orthonormal rows or columns to the momentum, times 0.2 sqrt(longer side)
    and the learning rate. In root mean square it is as large as the steps of Adam usually are, so that
    kernels and other variables have one learning rate.

    References:
      Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks,
      https://kellerjordan.github.io/posts/muon. Liu et al. 2025, arXiv:2502.16982, on the size of the step.
    """

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Update a variable and its momentum."""
        if self._var_key(variable) not in self.kernels:
            super().update_step(gradient, variable)
            return
        momentum = self._momentums[self._index_dict[self._var_key(variable)]]
        momentum.assign(MOMENTUM * momentum + gradient)
        ahead = gradient + MOMENTUM * momentum  # Nesterov
        matrix = tf.reshape(ahead, [-1, ahead.shape[-1]])
        size = 0.2 * math.sqrt(max(matrix.shape)) * tf.cast(self.learning_rate, variable.dtype)
        variable.assign_sub(size * tf.reshape(orthogonal(matrix), tf.shape(ahead)))


MOMENTUM = 0.95
STEPS_OF_NEWTON = 5


def orthogonal(matrix: tf.Tensor) -> tf.Tensor:
    """Return nearly the nearest matrix with orthonormal rows or columns; its singular values are about 1.

    A matrix U S V' has U V' as the nearest. Each step changes the singular values by one odd polynomial of
    degree 5, which moves them from 0 to 1 into the range of 0.7 to 1.2.
    """
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else tf.transpose(matrix)
    x = x / (tf.norm(x) + 1e-7)
    for _ in range(STEPS_OF_NEWTON):
        square = tf.matmul(x, x, transpose_b=True)
        x = 3.4445 * x + tf.matmul(-4.7750 * square + 2.0315 * tf.matmul(square, square), x)
    return x if wide else tf.transpose(x)


OPTIMIZERS: dict[str, type[FusedAdam]] = {"adam": FusedAdam, "muon": Muon}

LAST_RATE = 0.01  # last learning rate of `exponential`, as a fraction of the first

decays = tf_keras.optimizers.schedules
SCHEDULES: dict[str, Callable[[float, int], Any]] = {
    "constant": lambda rate, steps: rate,
    "cosine": lambda rate, steps: decays.CosineDecay(
        rate, max(steps, 1)
    ),  # to zero; Loshchilov & Hutter 2017
    "linear": lambda rate, steps: decays.PolynomialDecay(rate, max(steps, 1), 0.0),  # to zero
    "exponential": lambda rate, steps: decays.ExponentialDecay(rate, max(steps, 1), LAST_RATE),
}


class _Warmup(tf_keras.optimizers.schedules.LearningRateSchedule):
    """Schedule multiplied by a linear rise from zero over the first steps."""

    def __init__(self, schedule: Any, warmup_steps: int) -> None:
        self.schedule = schedule if callable(schedule) else lambda step: schedule
        self.warmup_steps = warmup_steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        rise = tf.minimum(1.0, (tf.cast(step, tf.float32) + 1) / self.warmup_steps)
        return rise * self.schedule(step)

    def get_config(self) -> dict[str, Any]:
        return {"schedule": self.schedule, "warmup_steps": self.warmup_steps}


def make_optimizer(
    training: Training, num_examples: int, variables: Sequence[tf.Variable] = ()
) -> tf_keras.optimizers.Optimizer:
    """Build the optimizer with the schedule over all steps; with loss scaling for `mixed_float16`.

    The weight decay leaves out those of the trained `variables` that are not kernels.
    """
    steps = training.epochs * math.ceil(num_examples / training.batch_size)
    rate = SCHEDULES[training.schedule](training.learning_rate, steps)
    if training.warmup_steps:
        rate = _Warmup(rate, training.warmup_steps)
    optimizer = OPTIMIZERS[training.optimizer](
        rate,
        weight_decay=training.weight_decay or None,
        use_ema=training.average > 0,
        ema_momentum=training.average,
    )
    optimizer.choose_kernels([variable for variable in variables if _is_kernel(variable)])
    optimizer.exclude_from_weight_decay([variable for variable in variables if not _is_kernel(variable)])
    if training.precision != "mixed_float16":
        return optimizer
    return tf_keras.mixed_precision.LossScaleOptimizer(optimizer)


def _is_kernel(variable: tf.Variable) -> bool:
    """Return whether a variable is the kernel of a layer, by the end of its name."""
    return variable.name.split(":")[0].endswith("kernel")


def averages(optimizer: Any) -> list[tf.Variable]:
    """Return the moving averages of the trained variables, in their order; none without `average`."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return list(inner._model_variables_moving_average) if inner.use_ema else []


def variables_of(optimizer: Any) -> list[Any]:
    """Return all variables of an optimizer, with the number of steps first."""
    variables = list(optimizer.variables() if callable(optimizer.variables) else optimizer.variables)
    return [optimizer.iterations, *(v for v in variables if v is not optimizer.iterations)]


def has_constant_rate(training: Training) -> bool:
    """Return whether the learning rate is a variable of the optimizer, not a schedule in the graph."""
    return training.schedule == "constant" and not training.warmup_steps


def learning_rate(optimizer: Any) -> float:
    """Return the learning rate of the next step.

    With a schedule, `optimizer.learning_rate` of Keras is that of the last step; the schedule is in a private
    attribute.
    """
    rate = getattr(optimizer, "inner_optimizer", optimizer)._learning_rate
    return float(tf.convert_to_tensor(rate(optimizer.iterations) if callable(rate) else rate))
