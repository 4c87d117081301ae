"""Draw the pictures of the certificate in docs/evaluation.md: `python docs/images/certificate.py`.

A VAE of scikit-learn's handwritten digits with two latent dimensions is trained on the ELBO, and its
certificate is drawn. Then its encoder alone is trained on pairs z ~ p(z), x ~ p(x|z) drawn from the model, to
raise log q(z|x). FOLDER as an argument writes there; with --quick it trains for a moment only.
"""

import sys
from pathlib import Path

import tensorflow as tf
import tf_keras
from matplotlib.figure import Figure

import probvae
from probvae import data
from probvae.figures import coverage_curves, rank_histograms, theme
from probvae.inference import certify
from probvae.seeds import fold_in, split

quick = "--quick" in sys.argv
folder = Path(next((word for word in sys.argv[1:] if not word.startswith("-")), Path(__file__).parent))

digits = data.prepare(data.load("digits"), binarize="threshold")
tf.random.set_seed(0)  # fixes the order in which Keras takes the images
vae = probvae.build(
    probvae.Architecture((28, 28, 1), network="mlp", units=(200, 200), posterior="spline", latent_dim=2)
)
vae.compile(tf_keras.optimizers.Adam(1e-3), seed=0)
vae.fit(digits.train.astype("float32"), epochs=1 if quick else 60, batch_size=32, verbose=0)


def improve(steps: int) -> None:
    """Train the encoder on simulated pairs: ascend the mean of log q(z|x)."""
    variables, optimizer = vae.encoder.trainable_variables, tf_keras.optimizers.Adam(1e-3)
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step(number: tf.Tensor) -> None:
        seed_z, seed_x = split(fold_in(1, number), 2)
        z = vae.prior.sample(256, seed=seed_z)  # p(z)
        x = vae.likelihood(z).sample(seed=seed_x)  # p(x|z)
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(vae.posterior(x).log_prob(z))  # q(z|x)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for number in range(steps):
        if number in (steps // 2, 3 * steps // 4):
            optimizer.learning_rate.assign(optimizer.learning_rate * 0.2)
        step(tf.constant(number))


before = certify(vae, 200 if quick else 1000, seed=0)
improve(10 if quick else 12_000)
after = certify(vae, 200 if quick else 1000, seed=0)

figure = Figure(figsize=(9.2, 4.4), dpi=theme.DPI, layout="constrained")
titles = ("trained on the ELBO", "the same encoder, trained on simulated pairs")
for place, (certificate, title) in enumerate(zip((before, after), titles, strict=True), 1):
    axes = figure.add_subplot(1, 2, place)
    coverage_curves(certificate, ax=axes)
    axes.set_title(title, fontsize=theme.letters(10), color=theme.ink(), loc="left")
figure.savefig(folder / "certificate_coverage.png", dpi=theme.DPI)
rank_histograms(before).savefig(folder / "certificate_ranks_before.png", dpi=theme.DPI)
rank_histograms(after).savefig(folder / "certificate_ranks_after.png", dpi=theme.DPI)
print(before, after, sep="\n\n")
