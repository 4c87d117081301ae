"""Draw the pictures of docs/concepts.md: `python docs/images/concepts.py`, two minutes on two cores.

A VAE of scikit-learn's handwritten digits with one latent dimension, so that p(z|x) is a curve that a grid
gives exactly. FOLDER as an argument writes there; with --quick it trains for a moment only.
"""

import itertools
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

import probvae
from probvae import data
from probvae.figures import theme
from probvae.inference.amortization import optimize_posteriors
from probvae.inference.estimates import log_mean_exp
from probvae.inference.quadrature import exact
from probvae.posteriors import DiagonalNormal

TRUE, ENCODER, BEST = theme.ACCENT, "#d1495b", "#edae49"
quick = "--quick" in sys.argv
folder = Path(next((word for word in sys.argv[1:] if not word.startswith("-")), Path(__file__).parent))

# ---- a model and its exact values ------------------------------------------------------------------

digits = data.prepare(data.load("digits"), binarize="threshold")
x_train, x = (x.astype("float32") for x in (digits.train, digits.test[: 10 if quick else 50]))
tf.random.set_seed(0)  # fixes the order in which Keras takes the images
vae = probvae.conv_vae((28, 28, 1), latent_dim=1, seed=0)
vae.compile(tf_keras.optimizers.Adam(1e-3), seed=0)
vae.fit(x_train, epochs=1 if quick else 20, batch_size=32, verbose=0)

log_p = np.asarray(exact(vae, x).log_marginal)  # [N], nats
best = optimize_posteriors(vae, x, num_steps=5 if quick else 150, seed=0)
approximation, amortization = log_p - best.elbo, best.elbo - best.amortized_elbo
print(f"means over {len(x)} images: log p(x) {log_p.mean():.2f}, ELBO {best.amortized_elbo.mean():.2f},")
print(f"approximation gap {approximation.mean():.2f}, amortization gap {amortization.mean():.2f}")

typical = np.argsort(amortization)[len(x) // 2]
skewed = np.argmax(np.where(approximation < 1, approximation, -1))  # above, the search ended in another mode
astray = np.argmax(amortization)
shown = np.array([typical, skewed, astray])

z = np.linspace(-4, 4, 4001, dtype=np.float32)
log_joint = vae.likelihood(z[:, None, None]).log_prob(x[shown]) + vae.prior.log_prob(z[:, None, None])
p = np.exp(np.float64(log_joint) - log_p[shown])  # p(z|x), [4001, 3]
encoded = np.exp(vae.posterior(x[shown]).log_prob(z[:, None, None]))
parameters = tf.constant(best.parameters[shown], tf.float32)
own = np.exp(DiagonalNormal.new(parameters, 1).log_prob(z[:, None, None]))
draws = 100 if quick else 10_000
log_w = np.concatenate(
    [probvae.log_weights(vae, x[shown], num_samples=100, seed=n) for n in range(draws // 100)]
)

# ---- q(z|x) and its gaps ---------------------------------------------------------------------------


def densities(ax: Axes, i: int, title: str) -> None:
    """Draw p(z|x), the encoder's q(z|x) and the best one of its family; the image in a corner."""
    seen = np.maximum(np.maximum(p[:, i], encoded[:, i]), own[:, i])
    inside = z[seen > 0.01 * seen.max()]
    margin = 0.15 * (inside[-1] - inside[0])
    ax.fill_between(z, p[:, i], color=TRUE, alpha=0.2, linewidth=0)
    ax.plot(z, p[:, i], color=TRUE, label="p(z|x), true")
    ax.plot(z, encoded[:, i], "--", color=ENCODER, label="q(z|x), the encoder's")
    ax.plot(z, own[:, i], ":", linewidth=2.2, color=BEST, label="the best normal for this x")
    ax.set(xlim=(inside[0] - margin, inside[-1] + margin), ylim=(0, 1.35 * seen.max()), yticks=[], xlabel="z")
    ax.set_title(title, fontsize=11)
    corner = ax.inset_axes((0.8, 0.72, 0.2, 0.28))
    corner.imshow(x[shown[i], ..., 0], cmap="gray")
    corner.axis("off")
    theme.style(ax)


def parts(ax: Axes, i: int) -> None:
    """Draw the gaps between ELBO and log p(x) as one bar."""
    n = shown[i]
    shares = blended_transform_factory(ax.transAxes, ax.transData)  # x of the panel, y of the data
    ends = [0.0, amortization[n], amortization[n] + approximation[n]]
    for (start, end), colour, name in zip(
        itertools.pairwise(ends), (ENCODER, BEST), ("amortization", "approximation"), strict=True
    ):
        ax.barh(0, end - start, left=start, color=colour, height=0.5)
        where = {"x": 0.5, "y": -0.75 if colour == ENCODER else -1.5, "color": colour, "fontsize": 10}
        ax.text(
            s=f"{name} gap {max(end - start, 0):.1f}", ha="center", va="center", transform=shares, **where
        )
    ax.text(0, -0.75, f"ELBO\n{best.amortized_elbo[n]:.1f}", fontsize=10, transform=shares, va="top")
    ax.text(
        1, -0.75, f"log p(x)\n{log_p[n]:.1f}", fontsize=10, transform=shares, va="top", ha="right", color=TRUE
    )
    ax.set(xlim=(0, ends[-1]), ylim=(-2, 0.3))
    ax.axis("off")


figure = Figure(figsize=(11, 4.6), layout="constrained")
rows = figure.subplots(2, 3, height_ratios=(3, 1))
for i, title in enumerate(("A typical image", "p(z|x) is no normal", "The encoder is astray")):
    densities(rows[0, i], i, title)
    parts(rows[1, i], i)
figure.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
figure.savefig(folder / "concepts_gaps.png", dpi=theme.DPI)

# ---- estimates from draws --------------------------------------------------------------------------

figure = Figure(figsize=(11, 3.8), layout="constrained")
left, right = figure.subplots(1, 2)
w, exactly = np.float64(log_w[:, 0]), log_p[shown[0]]
left.hist(w, bins=80, range=(np.quantile(w, 0.005), w.max()), color="#c9ced6")
for value, colour, name in (
    (w.mean(), ENCODER, "their mean: the ELBO"),
    (log_mean_exp(w), BEST, f"log of the mean of w, K = {draws:,}"),
    (exactly, TRUE, "log p(x), exact"),
):
    left.axvline(value, color=colour, label=f"{name}, {value:.2f}")
left.set(xlabel="log w of one draw, nats", yticks=[], title=f"{draws:,} draws for a typical image")
left.set_ylim(0, 1.45 * left.get_ylim()[1])
left.legend(frameon=False, loc="upper left", fontsize=9)
counts = [k for k in (1, 3, 10, 30, 100, 300, 1000) if k <= draws // 10]
for i, colour, name in ((0, BEST, "the typical image"), (2, ENCODER, "the encoder astray")):
    w = np.float64(log_w[:, i])
    bounds = [log_mean_exp(w[: draws // k * k].reshape(-1, k).T) - log_p[shown[i]] for k in counts]
    right.plot(counts, [b.mean() for b in bounds], "o-", color=colour, label=name)
    right.fill_between(
        counts, *np.transpose([np.quantile(b, (0.1, 0.9)) for b in bounds]), color=colour, alpha=0.15
    )
right.axhline(0, color=TRUE, label="log p(x), exact")
right.set(xscale="log", xlabel="draws of z, K", ylabel="bound minus log p(x), nats")
right.set_title("The importance-weighted bound")
right.legend(frameon=False, fontsize=9)
for ax in (left, right):
    theme.style(ax)
figure.savefig(folder / "concepts_estimators.png", dpi=theme.DPI)
