"""Networks without randomness: lists of Keras layers, from x towards q(z|x) and from z towards p(x|z).

The convolutional stack is that of TensorFlow's tutorial "Convolutional Variational Autoencoder",
for any image shape, width and depth.
"""

from collections.abc import Sequence

import tf_keras

from probvae.errors import InputError

Layers = list[tf_keras.layers.Layer]
ImageShape = tuple[int, int, int]


def _initializer(seed: int, index: int) -> tf_keras.initializers.Initializer:
    return tf_keras.initializers.GlorotUniform(seed=seed * 1000 + index)


def conv_encoder(image_shape: ImageShape, *, filters: Sequence[int] = (32, 64), seed: int) -> Layers:
    """Build 3x3 convolutions of stride 2 (valid, ReLU), flattened.

    Args:
      image_shape: (height, width, channels) of x.
      filters: one convolution for each entry.
      seed: of the initial weights.

    Returns:
      Layers from [B, H, W, C] to [B, features].

    Raises:
      InputError: the image is too small for so many convolutions.
    """
    height, width, _ = image_shape
    smallest = 2 ** (len(filters) + 1) - 1  # each valid convolution maps n to (n - 3) // 2 + 1
    if min(height, width) < smallest:
        raise InputError(
            f"Images of {height}x{width} are too small for {len(filters)} convolutions of stride 2: "
            f"both sides must be at least {smallest}. Use fewer filters or larger images."
        )
    convolutions = [
        tf_keras.layers.Conv2D(
            width_,
            3,
            2,
            activation="relu",
            kernel_initializer=_initializer(seed, i),
            name=f"conv_{i}",
        )
        for i, width_ in enumerate(filters, 1)
    ]
    return [tf_keras.layers.InputLayer(image_shape), *convolutions, tf_keras.layers.Flatten()]


def conv_decoder(
    image_shape: ImageShape,
    latent_dim: int,
    *,
    filters: Sequence[int] = (32, 64),
    channels: int,
    base_channels: int = 32,
    seed: int,
) -> Layers:
    """Build a dense layer and transposed 3x3 convolutions of stride 2 (same, ReLU).

    A side that 2 ** len(filters) does not divide is decoded to the next multiple and cropped at its
    far end.

    Args:
      image_shape: (height, width, channels) of x.
      latent_dim: L.
      filters: as in `conv_encoder`; used here in reverse.
      channels: of the output: the image's channels times the likelihood's parameters per value.
      base_channels: of the small image that the dense layer makes; 32 in the tutorial.
      seed: of the initial weights.

    Returns:
      Layers from [B, L] to [B, H * W * channels].
    """
    height, width, _ = image_shape
    factor = 2 ** len(filters)
    base = (-(-height // factor), -(-width // factor), base_channels)
    crop = (base[0] * factor - height, base[1] * factor - width)
    layers = [
        tf_keras.layers.InputLayer((latent_dim,)),
        tf_keras.layers.Dense(
            base[0] * base[1] * base[2],
            activation="relu",
            kernel_initializer=_initializer(seed, 0),
            name="dense",
        ),
        tf_keras.layers.Reshape(base),
    ]
    for i, width_ in enumerate(reversed(filters), 1):
        layers.append(
            tf_keras.layers.Conv2DTranspose(
                width_,
                3,
                2,
                padding="same",
                activation="relu",
                kernel_initializer=_initializer(seed, i),
                name=f"deconv_{i}",
            )
        )
    layers.append(
        tf_keras.layers.Conv2DTranspose(
            channels,
            3,
            padding="same",
            kernel_initializer=_initializer(seed, len(filters) + 1),
            name="likelihood_params",
        )
    )
    if any(crop):
        layers.append(tf_keras.layers.Cropping2D(((0, crop[0]), (0, crop[1]))))
    return [*layers, tf_keras.layers.Flatten()]
