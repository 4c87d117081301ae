"""Colour images of 32x32 pixels: 8-bit colour with discretized logistics, in bits per dimension.

Data: CIFAR-10 if its archive, cifar-10-python.tar.gz, is given as an argument (or any .npz file or folder of
images that probvae.data.load reads); otherwise patches of scikit-learn's two photographs, so that no network
is needed. Run it as `python docs/examples/colour_images.py [PATH]`; with --quick it trains for a moment only.
"""

# %%
import sys
from pathlib import Path

import numpy as np
import tf_keras
from sklearn.datasets import load_sample_images

import probvae
from probvae.data.cifar import read_cifar10
from probvae.evaluation.latents import bits_per_dimension
from probvae.evaluation.outliers import compressed_size
from probvae.figures.panels import grid

quick = "--quick" in sys.argv
paths = [Path(word) for word in sys.argv[1:] if not word.startswith("-")]

# %% [markdown]
# Patches from the left three quarters of each photograph are for training, and those from the rest for
# testing.


# %%
def patches(photos, step):
    """Cut photographs [H, W, 3] into patches of 32x32."""
    corners = [
        (photo, i, j)
        for photo in photos
        for i in range(0, photo.shape[0] - 31, step)
        for j in range(0, photo.shape[1] - 31, step)
    ]
    return np.stack([photo[i : i + 32, j : j + 32] for photo, i, j in corners])


if paths and paths[0].name.endswith(".tar.gz"):
    arrays = read_cifar10(paths[0])
    name, train, test = "CIFAR-10", arrays["x_train"], arrays["x_test"]
elif paths:
    data = probvae.data.load(paths[0], image_size=32)
    name, train, test = data.name, data.train[:], data.test[:]
else:
    photos = load_sample_images().images
    name = "patches of two photographs (give the path of CIFAR-10's archive for CIFAR-10)"
    train, test = patches([p[:, :480] for p in photos], 20), patches([p[:, 480:] for p in photos], 32)
if quick:
    train, test = train[:: len(train) // 64], test[:: max(1, len(test) // 20)]
print(f"{name}: {len(train):,} training and {len(test):,} test images")
train, test = (np.float32(x) / 255 for x in (train, test))

# %%
vae = probvae.conv_vae(
    (32, 32, 3), latent_dim=32, likelihood="discretized_logistic", filters=(8, 16) if quick else (32, 64)
)
vae.compile(tf_keras.optimizers.Adam(2e-3), seed=0)
vae.fit(train, epochs=1 if quick else 50, batch_size=32, verbose=0)

# %% [markdown]
# Bits per dimension are the cost of coding one value of a pixel, which takes 8 bits uncompressed. For
# comparison: Deflate, which PNG uses, is not made for photographs; the model knows only the training images.

# %%
elbo = np.concatenate(
    [probvae.elbo(vae, test[i : i + 100], seed=i).numpy() for i in range(0, len(test), 100)]
)
bits = bits_per_dimension(elbo, (32, 32, 3))
deflated = bits_per_dimension(-compressed_size(test), (32, 32, 3))
print(f"ELBO: {bits.mean():.2f} ± {bits.std() / len(bits) ** 0.5:.2f} bits per dimension; lower is better")
print(f"deflate of each image by itself: {deflated.mean():.2f}")

# %%
picks = np.linspace(0, len(test) - 1, 10).astype(int)
drawn = vae.likelihood(vae.prior.sample(10, seed=(0, 2))).mean().numpy()  # z ~ p(z)
rows = [test[picks], vae.reconstruct(test[picks], seed=1).numpy(), drawn]
figure = grid(
    np.stack(rows), rows=["test", "reconstruction", "drawn mean"], title="Colour images and their model"
)
figure.savefig("colour_images.png")
print("wrote colour_images.png")
