"""Plain Keras `fit` of the usual VAE of `tfp.layers`: the KL as an activity regularizer of the encoder."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from probvae.benchmark.cases import BASE, BASE_CHANNELS, Case, Work


def prepare(case: Case, images: np.ndarray) -> Work | None:
    """Return what trains on a number of examples; None for what such a VAE does not do."""
    if case.task != "train" or case.samples > 1:
        return None
    layers, tfpl, tfd = tf_keras.layers, tfp.layers, tfp.distributions
    first, second = case.filters
    zeros, ones = tf.zeros(case.latent), tf.ones(case.latent)
    head, prior = {
        "diagonal": (tfpl.IndependentNormal, tfd.Independent(tfd.Normal(zeros, ones), 1)),
        "tril": (tfpl.MultivariateNormalTriL, tfd.MultivariateNormalDiag(zeros, ones)),
    }[case.posterior]
    encoder = tf_keras.Sequential(
        [
            layers.InputLayer((28, 28, 1)),
            layers.Conv2D(first, 3, 2, activation="relu"),
            layers.Conv2D(second, 3, 2, activation="relu"),
            layers.Flatten(),
            layers.Dense(head.params_size(case.latent)),
            head(case.latent, activity_regularizer=tfpl.KLDivergenceRegularizer(prior)),
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
            layers.Flatten(),
            tfpl.IndependentBernoulli((28, 28, 1), tfd.Bernoulli.logits),
        ]
    )
    vae = tf_keras.Model(encoder.inputs, decoder(encoder.outputs[0]))
    vae.compile(tf_keras.optimizers.Adam(1e-4), loss=lambda x, p: -p.log_prob(x))
    x = images.astype(np.float32)
    dataset = (
        tf.data.Dataset.from_tensor_slices((x, x)).shuffle(len(x)).batch(case.batch, drop_remainder=True)
    )
    dataset = dataset.repeat()
    return lambda examples: vae.fit(dataset, steps_per_epoch=examples // case.batch, epochs=1, verbose=0)
