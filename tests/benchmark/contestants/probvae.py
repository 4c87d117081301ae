"""This library."""

import numpy as np
import tensorflow as tf

from benchmark.cases import STARTS, TEST, Case, Work
from benchmark.contestants import reach, startup
from probvae import data
from probvae.config.architecture import Architecture
from probvae.config.choices import RECIPES
from probvae.config.training import Training
from probvae.environment import cores
from probvae.inference.importance_sampling import importance
from probvae.inference.quadrature import exact
from probvae.models import building
from probvae.models.vae import VAE
from probvae.training.objective import in_parts, make_objective
from probvae.training.optimizer import make_optimizer
from probvae.training.scoring import compile_test
from probvae.training.state import EpochSums
from probvae.training.steps import Steps, compile_steps
from probvae.training.strategies import default_parts, make

CHUNK = 40  # steps a call
EPOCHS = 2  # over which the learning rate of `reach` falls


def prepare(case: Case, images: np.ndarray) -> Work:
    """Return what trains on, or evaluates, a number of examples.

    Args:
      case: what to do.
      images: binary, [N, 28, 28, 1], uint8.
    """
    if case.task in STARTS:
        return startup.prepare(case, "probvae", "from probvae import VAE")
    parts = _set_up(case)
    architecture = Architecture(filters=case.filters, latent_dim=case.latent, posterior=case.posterior)
    if case.task == "reach":
        return reach.prepare(lambda seed: _start(architecture, case, images, parts, seed), images, case.batch)
    vae = building.build(architecture)
    if case.task == "train":
        return _training(vae, case, images, parts)
    x = images.astype(np.float32)
    return {"iwae": _iwae, "exact": _exact, "encode": _encode, "sample": _sample}[case.task](vae, case, x)


def _set_up(case: Case) -> int:
    """Configure TensorFlow as the commands do; return the parts that a batch is worked on in."""
    if case.task in ("train", "reach"):
        parts = default_parts(Training(batch_size=case.batch), "none")
    else:
        parts = cores() if case.task in ("iwae", "exact") else 1
    make("none", parts=parts)
    return parts


def _training(vae: VAE, case: Case, images: np.ndarray, parts: int) -> Work:
    name = "iwae" if case.samples > 1 else "elbo"
    training = Training(batch_size=case.batch, objective=name, num_samples=case.samples)
    steps = _steps(vae, training, images, parts)
    order = np.random.default_rng(0).permutation(len(images)).astype(np.int32)

    def train(examples: int) -> None:
        number = examples // case.batch
        for start in range(0, number, CHUNK):
            rows = np.arange(start * case.batch, min(number, start + CHUNK) * case.batch) % len(order)
            steps(order[rows].reshape(-1, case.batch), EpochSums())

    return train


def _steps(vae: VAE, training: Training, images: np.ndarray, parts: int) -> Steps:
    return compile_steps(
        vae,
        make_optimizer(training, len(images)),
        in_parts(make_objective(training, num_examples=len(images)), parts),
        data.prepare(data.DataSet("benchmark", images, images[:100], None, None, 1)),
        seed=training.seed,
    )


def _start(
    architecture: Architecture, case: Case, images: np.ndarray, parts: int, seed: int
) -> reach.Training:
    """Begin a training with the tuned recipe."""
    vae = building.build(architecture, seed=seed)
    training = Training(batch_size=case.batch, epochs=EPOCHS, seed=seed, **RECIPES["tuned"])
    steps = _steps(vae, training, images[:-TEST], parts)
    test = compile_test(vae, seed)

    def train(indices: np.ndarray) -> None:
        steps(indices, EpochSums())

    return train, lambda: float(np.mean(test(images[-TEST:]).elbo, dtype=np.float64))


def _iwae(vae: VAE, case: Case, x: np.ndarray) -> Work:
    def work(examples: int) -> None:
        importance(vae, x[:examples], num_samples=case.samples, seed=0)

    return work


def _exact(vae: VAE, case: Case, x: np.ndarray) -> Work:
    def work(examples: int) -> None:
        exact(vae, x[:examples])

    return work


def _encode(vae: VAE, case: Case, x: np.ndarray) -> Work:
    encode = tf.function(lambda x: vae.posterior(x).mean(), autograph=False)
    return lambda examples: _in_batches(encode, x, case.batch, examples)


def _sample(vae: VAE, case: Case, x: np.ndarray) -> Work:
    z = np.random.default_rng(0).standard_normal([len(x), case.latent]).astype(np.float32)
    decode = tf.function(lambda z: vae.likelihood(z).mean(), autograph=False)
    return lambda examples: _in_batches(decode, z, case.batch, examples)


def _in_batches(function: Work, array: np.ndarray, batch: int, examples: int) -> None:
    for start in range(0, examples, batch):
        place = start % (len(array) - batch + 1)
        function(tf.constant(array[place : place + batch]))
