"""Signal-to-noise ratio of an objective's gradient against the number of draws K.

A tighter bound can make a worse encoder: as K grows, the encoder's gradient of `iwae` loses its signal faster
than its noise, and the ratio falls as 1 / sqrt(K), while that of the generative model rises as sqrt(K)
(Rainforth et al. 2018, arXiv:1802.04537). With `dreg` the encoder's rises too (Tucker et al. 2019,
arXiv:1810.04152).

The figure of docs/choices.md: `python docs/images/gradient_noise.py`, a few minutes on two cores. FOLDER as
an argument writes there; --quick draws few gradients.
"""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras
from matplotlib.figure import Figure
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

from probvae import objectives
from probvae.figures.theme import ACCENT, DPI, INK, MUTED, style
from probvae.models.vae import VAE
from probvae.seeds import Seed, fold_in

GROUPS = 20  # number of groups of repeats, each left out once for the standard error


class SignalToNoise(NamedTuple):
    """Signal-to-noise ratios |E g| / sqrt(E |g - E g|^2) of a gradient g, against K.

    Attributes:
      num_samples: Numbers of draws K, [J].
      ratio: Ratios [J]; 0 if the noise hides the signal.
      standard_error: Monte Carlo errors [J], by the jackknife.
    """

    num_samples: np.ndarray
    ratio: np.ndarray
    standard_error: np.ndarray

    def slope(self, at_least: int = 1) -> tuple[float, float]:
        """Return the slope of log ratio against log K over K >= `at_least`, weighted, and its error."""
        use = (self.num_samples >= at_least) & (self.ratio > 0)
        k, ratio, error = (a[use] for a in self)
        line, covariance = np.polyfit(np.log(k), np.log(ratio), 1, w=ratio / error, cov="unscaled")
        return float(line[0]), float(np.sqrt(covariance[0, 0]))


def signal_to_noise(
    vae: VAE,
    x: np.ndarray,
    objective: Callable[..., tf.Tensor],
    variables: Mapping[str, Sequence[tf.Variable]],
    *,
    num_samples: Sequence[int],
    repeats: int = 1000,
    seed: Seed = 0,
) -> dict[str, SignalToNoise]:
    """Measure the signal-to-noise ratio of the gradient of the objective's mean over a batch.

    Args:
      vae: Model; its weights do not change.
      x: Batch [B, *E]; the ratio grows with sqrt(B).
      objective: Function `(vae, x, *, num_samples, seed) -> [B]`.
      variables: Groups of variables by name; each group has its own ratio.
      num_samples: Numbers of draws K, [J].
      repeats: Number of gradients drawn for each K, rounded up to a multiple of 20.
      seed: Seed, an int or an int32 pair; every K and repeat derives its own.

    Returns:
      A `SignalToNoise` for each group, of float64 arrays.

    References:
      Rainforth et al. 2018, arXiv:1802.04537, for a single parameter; here a group's squares are summed.
    """
    size = -(-repeats // GROUPS)
    ratios: dict[str, list[tuple[float, float]]] = {name: [] for name in variables}
    for k in num_samples:
        moments = _compile(vae, functools.partial(objective, num_samples=k), variables, size)
        groups = [moments(tf.constant(x), fold_in(fold_in(seed, k), i)) for i in range(GROUPS)]
        for name in variables:
            sums, squares = (np.array([g[name][i].numpy() for g in groups]) for i in range(2))  # [G, P]
            ratios[name].append(_ratio_and_error(sums, squares, size))
    number = np.array(num_samples)
    return {name: SignalToNoise(number, *np.array(values).T) for name, values in ratios.items()}


def _compile(
    vae: VAE, objective: Callable[..., tf.Tensor], variables: Mapping[str, Sequence[tf.Variable]], size: int
) -> Callable[..., dict[str, tuple[tf.Tensor, tf.Tensor]]]:
    """Compile (x, seed) -> for each group the sums [P] of `size` gradients and of their squares, float64."""
    flat = [v for group in variables.values() for v in group]

    def one_gradient(x: tf.Tensor, seed: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(flat)
            bound = tf.reduce_mean(objective(vae, x, seed=seed))
        gradients = iter(tape.gradient(bound, flat, unconnected_gradients=tf.UnconnectedGradients.ZERO))
        parts = [[tf.reshape(next(gradients), [-1]) for _ in group] for group in variables.values()]
        return [tf.cast(tf.concat(part, axis=0), tf.float64) for part in parts]

    @tf.function(autograph=False)
    def moments(x: tf.Tensor, seed: tf.Tensor) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
        zeros = [tf.zeros(sum(v.shape.num_elements() for v in g), tf.float64) for g in variables.values()]

        def add(i: tf.Tensor, sums: list[tf.Tensor], squares: list[tf.Tensor]) -> tuple:
            g = one_gradient(x, fold_in(seed, i))
            return (
                i + 1,
                [a + b for a, b in zip(sums, g, strict=True)],
                [a + b**2 for a, b in zip(squares, g, strict=True)],
            )

        _, sums, squares = tf.while_loop(lambda i, *_: i < size, add, (tf.constant(0), zeros, zeros))
        return dict(zip(variables, zip(sums, squares, strict=True), strict=True))

    return moments


def _ratio_and_error(sums: np.ndarray, squares: np.ndarray, size: int) -> tuple[float, float]:
    """Signal-to-noise ratio and its jackknife error from groups of `size` gradients, [G, P] each."""

    def ratio(total: np.ndarray, total_square: np.ndarray, n: int) -> float:
        mean = total / n
        noise = np.sum(total_square / n - mean**2) * n / (n - 1)
        return float(np.sqrt(max(np.sum(mean**2) - noise / n, 0.0) / noise))  # the signal without bias

    groups = len(sums)
    total, total_square = sums.sum(axis=0), squares.sum(axis=0)
    left_out = [
        ratio(total - a, total_square - b, (groups - 1) * size) for a, b in zip(sums, squares, strict=True)
    ]
    return ratio(total, total_square, groups * size), float(np.std(left_out) * np.sqrt(groups - 1))


def gaussian_vae(dim: int = 3, *, offset: float = 0.05, seed: int = 0) -> VAE:
    """Build the model of Rainforth et al., near its optimum: p(z) = N(m, I), p(x|z) = N(z, I).

    The posterior is q(z|x) = N(A x + b, 2/3 I); the true one is N((x + m) / 2, 1/2 I). The trained variables
    are m, A and b: 0, I / 2 and 0, each number moved by a normal one of standard deviation `offset`.
    """
    rng = np.random.default_rng(seed)

    def near(value: np.ndarray) -> np.ndarray:
        return (value + offset * rng.standard_normal(value.shape)).astype(np.float32)

    def normal(variance: float) -> tf_keras.layers.Layer:
        return tfpl.DistributionLambda(
            lambda loc: tfd.MultivariateNormalDiag(loc, np.sqrt(np.float32(variance)) * tf.ones_like(loc)),
            convert_to_tensor_fn=tfd.Distribution.mean,
        )

    prior = tfd.MultivariateNormalDiag(tf.Variable(near(np.zeros(dim))), tf.ones(dim))
    dense = tf_keras.layers.Dense(dim)
    encoder = tf_keras.Sequential([tf_keras.layers.InputLayer((dim,)), dense, normal(2 / 3)])
    decoder = tf_keras.Sequential([tf_keras.layers.InputLayer((dim,)), normal(1.0)])
    dense.set_weights([near(np.eye(dim) / 2), near(np.zeros(dim))])
    return VAE(prior, encoder, decoder)


def reproduce(
    num_samples: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256),
    *,
    repeats: int = 2000,
    batch_size: int = 256,
) -> dict[str, SignalToNoise]:
    """Measure the three curves of the figure on `gaussian_vae` and a batch drawn from it at m = 0."""
    vae = gaussian_vae()
    rng = np.random.default_rng(1)
    x = np.sqrt(2) * rng.standard_normal([batch_size, vae.latent_dim])
    encoder, generative = vae.encoder.trainable_variables, list(vae.prior.trainable_variables)

    def measure(objective: Callable[..., tf.Tensor], groups: dict[str, Sequence[tf.Variable]]) -> dict:
        batch = x.astype(np.float32)
        return signal_to_noise(vae, batch, objective, groups, num_samples=num_samples, repeats=repeats)

    curves = measure(objectives.iwae, {"iwae, generative model": generative, "iwae, encoder": encoder})
    return curves | measure(objectives.dreg, {"dreg, encoder": encoder})


def noise_figure(curves: Mapping[str, SignalToNoise], *, at_least: int = 4) -> Figure:
    """Show signal-to-noise ratios against K, on logarithmic axes, with their slopes over K >= `at_least`."""
    figure = Figure(figsize=(5.6, 3.8), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    for (name, curve), colour in zip(curves.items(), (MUTED, "#d1495b", ACCENT), strict=False):
        slope, error = curve.slope(at_least)
        axes.errorbar(
            curve.num_samples,
            curve.ratio,
            2 * curve.standard_error,
            color=colour,
            marker="o",
            markersize=4,
            label=f"{name}: slope {slope:+.2f} \u00b1 {error:.2f}",
        )
        k = curve.num_samples[curve.num_samples >= at_least].astype(float)
        power = np.sign(slope) / 2
        middle = len(k) // 2
        start = curve.ratio[curve.num_samples >= at_least][middle] / k[middle] ** power
        axes.plot(k, start * k**power, color=colour, linestyle="dotted", linewidth=1)
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("draws of z for each example, K", color=INK, fontsize=9)
    axes.set_ylabel("signal / noise of the gradient", color=INK, fontsize=9)
    axes.set_title("dotted: slopes +1/2 and -1/2", fontsize=9, color=MUTED, loc="left")
    axes.grid(axis="y", color="#e4e5e8", linewidth=0.7)
    axes.legend(frameon=False, fontsize=8)
    style(axes)
    return figure


def main() -> None:
    """Measure the curves, print their slopes and save the figure."""
    folder = Path(next((word for word in sys.argv[1:] if not word.startswith("-")), Path(__file__).parent))
    curves = reproduce((4, 16), repeats=100, batch_size=64) if "--quick" in sys.argv else reproduce()
    for name, curve in curves.items():
        print(f"{name}: slope over K >= 4 {curve.slope(4)[0]:+.3f} with error {curve.slope(4)[1]:.3f}")
        print(f"  ratio {curve.ratio.round(3)}\n  error {curve.standard_error.round(3)}")
    noise_figure(curves).savefig(folder / "gradient_noise.png")


if __name__ == "__main__":
    main()
