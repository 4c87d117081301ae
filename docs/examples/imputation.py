"""Imputation: a model fills in the missing lower half of handwritten digits, with its uncertainty.

Data: scikit-learn's 1,797 digits of 8x8 pixels; no network. Run it as `python docs/examples/imputation.py`;
with --quick it trains for a moment only.
"""

# %%
import functools
import sys

import numpy as np
import tf_keras
from sklearn.datasets import load_digits

import probvae
from probvae.figures.panels import grid

quick = "--quick" in sys.argv

# %% [markdown]
# A missing value is NaN. The model is trained on black and white digits with a random quarter of the pixels
# missing; the bound is on the observed pixels. With so many missing pixels, a model trained on the ELBO does
# not learn to use z here (its KL falls to zero). One trained on the importance-weighted bound with 5 draws
# does, as in Mattei & Frellsen (2019).

# %%
rng = np.random.default_rng(0)
images = np.float32(load_digits().images[..., None] >= 8)
train, test = images[:1500], images[1500:]  # the last ones are by other writers
holes = np.where(rng.random(train.shape) < 0.25, np.nan, train).astype(np.float32)

vae = probvae.build(
    probvae.Architecture(event_shape=(8, 8, 1), latent_dim=12, network="mlp", units=(256, 128), missing=True)
)
bound = functools.partial(probvae.iwae, num_samples=5)
vae.compile(tf_keras.optimizers.Adam(1e-3), objective=bound, seed=0)
vae.fit(holes, epochs=2 if quick else 100, batch_size=50, verbose=0)
print(vae)

# %% [markdown]
# `probvae.impute` weights draws of z by how well they explain the upper half. Its mean is the best guess for
# each pixel; each of its draws is a plausible lower half.

# %%
shown = test[: 40 if quick else None].copy()
shown[:, 4:] = np.nan
imputed = probvae.impute(vae, shown, num_samples=200 if quick else 2000, num_draws=4, seed=0)
lower, guess = test[: len(shown), 4:], imputed.mean[:, 4:]
average = train[:, 4:].mean(axis=0)
error, simple = (np.sqrt(np.mean((g - lower) ** 2)) for g in (guess, average))
print(f"root mean squared error of the missing pixels: {error:.3f}; by their average: {simple:.3f}")

# %% [markdown]
# Calibration: of the pixels to which the model gives the probability 0.7, about 70% should be white.

# %%
print("probability given   pixels   actually white")
for low, high in ((0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.001)):
    inside = (guess >= low) & (guess < high)
    white = f"{lower[inside].mean():8.2f}" if inside.any() else ""
    print(f"   {low:.1f} to {min(high, 1):.1f}      {inside.sum():7,}   {white}")
print(f"effective sample size: median {np.median(imputed.effective_sample_size):.0f}")

# %%
picks = np.arange(8)
columns = [test[picks], shown[picks], imputed.mean[picks], *(draw[picks] for draw in imputed.draws)]
names = ["whole", "seen", "mean", *(f"draw {i}" for i in range(1, 5))]
figure = grid(np.stack(columns, axis=1), columns=names, title="Lower halves filled in")
figure.savefig("imputation.png")
print("wrote imputation.png")
