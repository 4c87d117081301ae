"""Plain Keras `fit` of the usual VAE of `tfp.layers`: the KL as an activity regularizer of the encoder."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from benchmark.cases import Case, Work
from benchmark.contestants.tutorial import networks


def prepare(case: Case, images: np.ndarray) -> Work | None:
    """Return what trains on a number of examples; None for what such a VAE does not do."""
    if case.task != "train" or case.samples > 1:
        return None
    tfpl, tfd = tfp.layers, tfp.distributions
    zeros, ones = tf.zeros(case.latent), tf.ones(case.latent)
    head, prior = {
        "diagonal": (tfpl.IndependentNormal, tfd.Independent(tfd.Normal(zeros, ones), 1)),
        "tril": (tfpl.MultivariateNormalTriL, tfd.MultivariateNormalDiag(zeros, ones)),
    }[case.posterior]
    encoder, decoder = networks(case)
    encoder.add(head(case.latent, activity_regularizer=tfpl.KLDivergenceRegularizer(prior)))
    decoder.add(tf_keras.layers.Flatten())
    decoder.add(tfpl.IndependentBernoulli((28, 28, 1), tfd.Bernoulli.logits))
    vae = tf_keras.Model(encoder.inputs, decoder(encoder.outputs[0]))
    vae.compile(tf_keras.optimizers.Adam(1e-4), loss=lambda x, p: -p.log_prob(x))
    x = images.astype(np.float32)
    dataset = (
        tf.data.Dataset.from_tensor_slices((x, x)).shuffle(len(x)).batch(case.batch, drop_remainder=True)
    )
    dataset = dataset.repeat()

    def train(examples: int) -> None:
        vae.fit(dataset, steps_per_epoch=examples // case.batch, epochs=1, verbose=0)

    return train
