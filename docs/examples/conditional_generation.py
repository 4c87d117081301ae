"""Conditional generation: digits of a chosen class, and one handwriting in all classes.

Data: scikit-learn's 1,797 digits of 8x8 pixels; no network. Run it as
`python docs/examples/conditional_generation.py`; with --quick it trains for a moment only.
"""

# %%
import sys

import numpy as np
import tf_keras
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import probvae
from probvae.figures.panels import grid

quick = "--quick" in sys.argv

# %% [markdown]
# `context_dim` makes the model p(x|z, y) with q(z|x, y). Grey levels are numbers from 0 to 1, so the
# likelihood is the continuous Bernoulli. An example is x and y concatenated.

# %%
digits = load_digits()
x, y = np.float32(digits.images[..., None] / 16), digits.target
vae = probvae.build(
    probvae.Architecture(
        event_shape=(8, 8, 1),
        latent_dim=6,
        likelihood="continuous_bernoulli",
        network="mlp",
        units=(256, 128),
        context_dim=10,
    )
)
vae.compile(tf_keras.optimizers.Adam(1e-3), seed=0)
train, test = vae.join(x[:1500], y[:1500]), vae.join(x[1500:], y[1500:])
vae.fit(train, epochs=2 if quick else 150, batch_size=50, verbose=0)
elbo = vae.evaluate(test, verbose=0, return_dict=True)["elbo"]
print(f"test ELBO, a bound on log p(x|y): {elbo:.1f} nats per digit")

# %% [markdown]
# Draws of every class: z ~ p(z), x ~ p(x|z, y). A classifier that was trained on real digits only checks
# whether they show the requested class. With random labels it would agree in a tenth of the cases.

# %%
judge = LogisticRegression(max_iter=2000).fit(x[:1500].reshape(-1, 64), y[:1500])
asked = np.repeat(np.arange(10), 50)
drawn = vae.sample(len(asked), seed=1, y=asked).numpy()
means = vae.likelihood(vae.prior.sample(len(asked), seed=(0, 2)), asked).mean().numpy()
real = judge.score(x[1500:].reshape(-1, 64), y[1500:])
right = [judge.score(images.reshape(-1, 64), asked) for images in (means, drawn)]
print(f"the classifier recognizes {real:.0%} of the real test digits, {right[0]:.0%} of means of p(x|z, y)")
print(f"and {right[1]:.0%} of draws from it, whose pixels have the noise of the likelihood")

# %% [markdown]
# The same z in every class: z describes the style of the handwriting and not the digit.

# %%
z = np.repeat(vae.prior.sample(8, seed=(0, 4)).numpy()[:, None], 10, axis=1)  # [8, 10, L]
classes = np.broadcast_to(np.arange(10), (8, 10))
same_hand = vae.likelihood(z.astype(np.float32), classes).mean().numpy()
figure = grid(
    same_hand,
    rows=[f"z {i + 1}" for i in range(8)],
    columns=[str(i) for i in range(10)],
    title="Mean of p(x|z, y): one z per row, one class per column",
)
figure.savefig("conditional_generation.png")
print("wrote conditional_generation.png")
