"""The loop of TensorFlow's tutorial: `tf.data` with a shuffle, a compiled step for each batch.

Networks and densities are written out as the tutorial writes them, with a cross-entropy and a normal density
by hand.
"""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tf_keras

from benchmark.cases import BASE, BASE_CHANNELS, STARTS, TEST, Case, Work
from benchmark.contestants import reach, startup

IMPORTS = "import tensorflow, tensorflow_probability; tensorflow_probability.distributions"  # it is lazy


def networks(case: Case) -> tuple[tf_keras.Model, tf_keras.Model]:
    """Build the tutorial's encoder and decoder, without distributions."""
    layers = tf_keras.layers
    first, second = case.filters
    encoder = tf_keras.Sequential(
        [
            layers.InputLayer((28, 28, 1)),
            layers.Conv2D(first, 3, 2, activation="relu"),
            layers.Conv2D(second, 3, 2, activation="relu"),
            layers.Flatten(),
            layers.Dense(case.params_size),
        ]
    )
    decoder = tf_keras.Sequential(
        [
            layers.InputLayer((case.latent,)),
            layers.Dense(BASE * BASE * BASE_CHANNELS, activation="relu"),
            layers.Reshape((BASE, BASE, BASE_CHANNELS)),
            layers.Conv2DTranspose(second, 3, 2, padding="same", activation="relu"),
            layers.Conv2DTranspose(first, 3, 2, padding="same", activation="relu"),
            layers.Conv2DTranspose(1, 3, padding="same"),
        ]
    )
    return encoder, decoder


def log_normal(z: tf.Tensor, mean: tf.Tensor, log_variance: tf.Tensor) -> tf.Tensor:
    """Return the log-density of independent normals, summed over the last axis."""
    terms = (z - mean) ** 2 * tf.exp(-log_variance) + log_variance + math.log(2 * math.pi)
    return -0.5 * tf.reduce_sum(terms, axis=-1)


def log_weights(case: Case, encoder: tf_keras.Model, decoder: tf_keras.Model, x: tf.Tensor) -> tf.Tensor:
    """Return log p(x|z) + log p(z) - log q(z|x), [K, B]."""
    mean, log_variance = tf.split(encoder(x), 2, axis=1)
    noise = tf.random.normal([case.samples, tf.shape(x)[0], case.latent])
    z = mean + noise * tf.exp(0.5 * log_variance)
    logits = decoder(tf.reshape(z, [-1, case.latent]))
    logits = tf.reshape(logits, [case.samples, -1, 28, 28, 1])
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(
        logits=logits, labels=tf.broadcast_to(x, tf.shape(logits))
    )
    log_likelihood = -tf.reduce_sum(entropy, axis=[2, 3, 4])
    return log_likelihood + log_normal(z, tf.zeros([]), tf.zeros([])) - log_normal(z, mean, log_variance)


def prepare(case: Case, images: np.ndarray) -> Work | None:
    """Return what trains on, or evaluates, a number of examples; None for what the tutorial lacks."""
    if case.task in STARTS:
        return startup.prepare(case, "tutorial", IMPORTS)
    if case.posterior != "diagonal" or case.task not in ("train", "iwae", "reach"):
        return None
    x = images.astype(np.float32)
    if case.task == "reach":
        return reach.prepare(lambda seed: _start(case, x, seed), images, case.batch)
    encoder, decoder = networks(case)
    return (_training if case.task == "train" else _iwae)(case, encoder, decoder, x)


def _training(case: Case, encoder: tf_keras.Model, decoder: tf_keras.Model, x: np.ndarray) -> Work:
    step = _step(case, encoder, decoder)
    batches = iter(_dataset(case, x).repeat())

    def train(examples: int) -> None:
        for _ in range(examples // case.batch):
            step(next(batches))

    return train


def _dataset(case: Case, x: np.ndarray) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(x).shuffle(len(x)).batch(case.batch, drop_remainder=True)


def _step(case: Case, encoder: tf_keras.Model, decoder: tf_keras.Model) -> Callable[[tf.Tensor], None]:
    optimizer = tf_keras.optimizers.Adam(1e-4)
    variables = encoder.trainable_variables + decoder.trainable_variables

    @tf.function
    def step(batch: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            log_w = log_weights(case, encoder, decoder, batch)
            loss = -tf.reduce_mean(tf.reduce_logsumexp(log_w, axis=0) - math.log(case.samples))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    return step


def _start(case: Case, x: np.ndarray, seed: int) -> reach.Training:
    """Begin a training; its order of images is that of its own data set, as in the tutorial."""
    tf_keras.utils.set_random_seed(seed)
    encoder, decoder = networks(case)
    step = _step(case, encoder, decoder)
    batches = iter(_dataset(case, x[:-TEST]).repeat())
    bound = tf.function(lambda x: log_weights(case, encoder, decoder, x))

    def train(indices: np.ndarray) -> None:
        for _ in indices:
            step(next(batches))

    def elbo() -> float:
        test = x[-TEST:].reshape(-1, 500, *x.shape[1:])
        return float(np.mean([bound(tf.constant(part)).numpy().mean() for part in test]))

    return train, elbo


def _iwae(case: Case, encoder: tf_keras.Model, decoder: tf_keras.Model, x: np.ndarray) -> Work:
    """The bound as a straightforward loop computes it: all draws of a few images at once, batch by batch."""
    at_once = max(1, 1000 // case.samples)

    @tf.function
    def bound(batch: tf.Tensor) -> tf.Tensor:
        return tf.reduce_logsumexp(log_weights(case, encoder, decoder, batch), axis=0) - math.log(
            case.samples
        )

    def evaluate(examples: int) -> None:
        for start in range(0, examples, at_once):
            bound(x[start : start + at_once]).numpy()

    return evaluate
