"""Keras's layers and Adam in forms that are faster on processors: same weights, names and gradients."""

from typing import Any

import tensorflow as tf
import tf_keras

THIN = 2  # channels, at most, for which `ThinConv2DTranspose` is worth it


@tf.custom_gradient
def thin_conv2d_transpose(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Transposed convolution of stride 1 (same) to few channels, as one matrix product and shifted sums.

    A convolution to one channel uses a small part of a processor's vector units. Here every pixel's channels
    meet all weights of the kernel at once, and the k * k maps that come out are added where they belong. Both
    gradients are matrix products with the neighbourhoods of the upstream gradient's pixels.

    Args:
      x: [B, H, W, C].
      kernel: [k, k, D, C], k odd.

    Returns:
      [B, H, W, D].
    """
    height, width, channels = x.shape[1:]
    k, _, depth, _ = kernel.shape
    half = k // 2
    weights = tf.reshape(kernel, [k * k * depth, channels])
    maps = tf.matmul(tf.reshape(x, [-1, channels]), weights, transpose_b=True)
    maps = tf.reshape(maps, [-1, height, width, k * k * depth])
    maps = tf.pad(maps, [[0, 0], [half, half], [half, half], [0, 0]])
    shifted = [
        maps[:, k - 1 - i : k - 1 - i + height, k - 1 - j : k - 1 - j + width, n : n + depth]
        for i in range(k)
        for j in range(k)
        for n in [(k * i + j) * depth]
    ]

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        around = tf.pad(upstream, [[0, 0], [half, half], [half, half], [0, 0]])
        neighbours = [
            around[:, i : i + height, j : j + width, n]
            for i in range(k)
            for j in range(k)
            for n in range(depth)
        ]
        patches = tf.reshape(tf.stack(neighbours), [k * k * depth, -1])
        of_x = tf.matmul(patches, weights, transpose_a=True)
        of_kernel = tf.matmul(patches, tf.reshape(x, [-1, channels]))
        return tf.reshape(of_x, tf.shape(x)), tf.reshape(of_kernel, kernel.shape)

    return tf.add_n(shifted), gradient


class ThinConv2DTranspose(tf_keras.layers.Conv2DTranspose):
    """A transposed convolution of stride 1 (same) whose few output channels would waste a plain one.

    With more than `THIN` channels, or where there is a GPU, it is the plain one.
    """

    def __init__(self, filters: int, kernel_size: int, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, padding="same", **kwargs)
        self.thin = filters <= THIN and kernel_size % 2 == 1 and not tf.config.list_physical_devices("GPU")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return [B, H, W, filters]."""
        if not self.thin:
            return super().call(inputs)
        outputs = thin_conv2d_transpose(inputs, tf.convert_to_tensor(self.kernel))
        return outputs if self.bias is None else tf.nn.bias_add(outputs, self.bias)


class FusedAdam(tf_keras.optimizers.Adam):
    """Keras's Adam, each variable updated by one operation in place of ten."""

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
