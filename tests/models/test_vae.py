import functools
import inspect

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from conftest import tiny_vae
from linear_gaussian import LinearGaussian
from marked_cases import cases
from statistics_helpers import ALPHA, mean_p_value
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

import probvae
from probvae.models.ascent import ascend


def own_networks(decoder_kind="sequential", **encoder_options):
    """Networks of the caller's own, the decoder ending in a distribution in different ways."""
    encoder = tf_keras.Sequential(
        [
            tf_keras.layers.InputLayer((8, 8, 1)),
            tf_keras.layers.Flatten(),
            tf_keras.layers.Dense(7, "tanh"),
            tf_keras.layers.Dense(tfpl.MultivariateNormalTriL.params_size(3)),
            tfpl.MultivariateNormalTriL(3, **encoder_options),
        ]
    )
    layers = [
        tf_keras.layers.Dense(16, "tanh"),
        tf_keras.layers.Reshape((4, 4, 1)),
        tf_keras.layers.Conv2DTranspose(1, 3, 2, "same"),
        tf_keras.layers.Flatten(),
        tfpl.IndependentBernoulli((8, 8, 1)),
    ]
    if decoder_kind == "sequential":
        decoder = tf_keras.Sequential([tf_keras.layers.InputLayer((3,)), *layers])
    elif decoder_kind == "functional":
        inputs = outputs = tf_keras.Input((3,))
        for layer in layers:
            outputs = layer(outputs)
        decoder = tf_keras.Model(inputs, outputs)
    else:

        class Decoder(tf_keras.Model):
            def __init__(self):
                super().__init__()
                self.steps = layers

            def call(self, z, training=False):
                return functools.reduce(lambda h, layer: layer(h), self.steps, z)

        decoder = Decoder()
    prior = tfd.MultivariateNormalDiag(tf.zeros(3), tf.ones(3))
    return probvae.VAE(prior, encoder, decoder)


def test_the_three_distributions(vae, x):
    q, p, prior = vae.posterior(x), vae.likelihood(tf.zeros([5, 2])), vae.prior
    assert all(isinstance(d, tfd.Distribution) for d in (q, p, prior))
    assert q.batch_shape == [5] and q.event_shape == [2]
    assert p.batch_shape == [5] and p.event_shape == [8, 8, 1]
    assert isinstance(vae.decoder.layers[-1], tfpl.IndependentBernoulli)
    assert isinstance(vae, tf_keras.Model)


@pytest.mark.parametrize("kind", ["sequential", "functional", "subclassed"])
def test_any_number_of_batch_axes(kind, x):
    vae = own_networks(kind)
    z = tf.constant(np.random.default_rng(0).standard_normal([4, 5, 3]), tf.float32)
    together = vae.likelihood(z)
    assert together.batch_shape == [4, 5] and together.event_shape == [8, 8, 1]
    one_by_one = [vae.likelihood(z[i]).log_prob(x) for i in range(4)]
    np.testing.assert_allclose(together.log_prob(x), one_by_one, rtol=1e-5)
    assert vae.likelihood(z[0, 0]).batch_shape == []
    np.testing.assert_allclose(vae.likelihood(z[0, 0]).mean(), together.mean()[0, 0], rtol=1e-5, atol=1e-6)
    assert together.sample(seed=(0, 1)).shape == [4, 5, 8, 8, 1]


def test_posterior_of_more_and_fewer_batch_axes(vae, x):
    np.testing.assert_allclose(vae.posterior(x[0]).mean(), vae.posterior(x).mean()[0], rtol=1e-5, atol=1e-6)
    assert vae.posterior(tf.stack([x, x])).batch_shape == [2, 5]


@pytest.mark.parametrize("kind", cases(["sequential", "functional", "subclassed"], slow=["functional"]))
def test_own_networks_train(kind, x):
    vae, x = own_networks(kind), tf.ones_like(x)
    vae.compile(tf_keras.optimizers.Adam(1e-2))
    history = vae.fit(x, epochs=30, verbose=0).history["loss"]
    assert history[-1] < history[0] - 3


def test_joint(vae, x):
    joint = vae.joint()
    assert isinstance(joint, tfd.JointDistribution)
    draw = joint.sample(6, seed=(0, 1))
    assert draw["z"].shape == [6, 2] and draw["x"].shape == [6, 8, 8, 1]
    by_hand = vae.prior.log_prob(draw["z"]) + vae.likelihood(draw["z"]).log_prob(draw["x"])
    np.testing.assert_allclose(joint.log_prob(draw), by_hand, rtol=1e-5)
    pinned = joint.experimental_pin(x=x)
    z = tf.constant(np.random.default_rng(0).standard_normal([4, 5, 2]), tf.float32)
    np.testing.assert_allclose(
        pinned.unnormalized_log_prob(z=z), vae.prior.log_prob(z) + vae.likelihood(z).log_prob(x), rtol=1e-5
    )


def test_joint_with_hmc_finds_the_exact_posterior():
    """Means and variances over 2,000 independent chains: z-test at `ALPHA`; a shifted mean is caught."""
    model = LinearGaussian()
    vae, x = model.vae(), model.sample(2, seed=4)[:1]
    target = vae.joint().experimental_pin(x=x)
    kernel = tfp.mcmc.HamiltonianMonteCarlo(
        lambda z: target.unnormalized_log_prob(z=z), step_size=0.25, num_leapfrog_steps=5
    )

    @tf.function
    def chains():
        return tfp.mcmc.sample_chain(
            1,
            vae.prior.sample(2000, seed=(0, 1)),
            kernel=kernel,
            num_burnin_steps=60,
            trace_fn=None,
            seed=(0, 2),
        )

    z = chains().numpy()[0].astype(np.float64)
    mean = vae.posterior(x).mean().numpy()
    assert mean_p_value(z, mean) > ALPHA
    assert mean_p_value((z - mean) ** 2, np.diag(model.covariance)) > ALPHA
    assert mean_p_value(z + 0.2, mean) < ALPHA


@pytest.mark.slow
def test_joint_with_vi_fits_the_exact_posterior():
    model = LinearGaussian()
    vae, x = model.vae(), model.sample(2, seed=4)[:1]
    target = vae.joint().experimental_pin(x=x)
    loc, scale = (
        tf.Variable(tf.zeros([1, 2])),
        tfp.util.TransformedVariable(tf.ones([1, 2]), tfp.bijectors.Exp()),
    )
    surrogate = tfd.MultivariateNormalDiag(loc, scale)
    loss = tfp.vi.fit_surrogate_posterior(
        lambda z: target.unnormalized_log_prob(z=z),
        surrogate,
        tf_keras.optimizers.Adam(0.05),
        num_steps=200,
        sample_size=8,
        seed=(0, 1),
        trainable_variables=surrogate.trainable_variables,  # without it the decoder would learn too
    )
    assert np.mean(loss[-20:]) < np.mean(loss[:20])
    np.testing.assert_allclose(loc, vae.posterior(x).mean(), atol=0.1)


def test_samples_and_reconstructions(vae, x):
    drawn = vae.sample(6, seed=3)
    assert drawn.shape == [6, 8, 8, 1] and set(np.unique(drawn)) <= {0.0, 1.0}
    np.testing.assert_array_equal(drawn, vae.sample(6, seed=3))
    assert not np.array_equal(drawn, vae.sample(6, seed=4))
    reconstruction = vae.reconstruct(x, seed=3).numpy()
    assert reconstruction.shape == x.shape and 0 < reconstruction.min() and reconstruction.max() < 1
    np.testing.assert_array_equal(reconstruction, vae.reconstruct(x, seed=3))
    assert not np.array_equal(reconstruction, vae.reconstruct(x, seed=4))
    assert isinstance(vae(x), tfd.Distribution)
    np.testing.assert_allclose(vae.predict(x, verbose=0), vae(x).mean(), rtol=1e-5)


def test_keras_fit_and_evaluate(x):
    vae = tiny_vae()
    vae.compile(tf_keras.optimizers.Adam(1e-2), seed=1)
    stop = tf_keras.callbacks.EarlyStopping("val_elbo", mode="max", patience=50, restore_best_weights=True)
    history = vae.fit(x, epochs=20, validation_data=(x,), callbacks=[stop], verbose=0).history
    assert set(history) == {"loss", "objective", "val_loss", "val_elbo", "val_log_likelihood", "val_kl"}
    assert history["val_elbo"][-1] > history["val_elbo"][0] + 1
    first, second = (vae.evaluate(x, verbose=0, return_dict=True) for _ in range(2))
    assert first == second
    assert first["elbo"] == pytest.approx(first["log_likelihood"] - first["kl"], rel=1e-5)
    assert first["loss"] == pytest.approx(-first["elbo"])


@pytest.mark.slow
def test_fit_repeats_from_one_seed(x):
    weights = []
    for seed in (1, 1, 2):
        vae = tiny_vae()
        vae.compile("adam", seed=seed)
        vae.fit(x, epochs=3, batch_size=2, shuffle=False, verbose=0)
        weights.append(vae.get_weights()[0])
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_gradient_tape_loop(x):
    vae = tiny_vae("tril")
    optimizer = tf_keras.optimizers.Adam(2e-2)
    bounds = []
    for step in range(15):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(probvae.elbo(vae, x, seed=step))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, vae.trainable_variables), vae.trainable_variables, strict=True)
        )
        bounds.append(-loss.numpy())
    assert np.mean(bounds[-5:]) > np.mean(bounds[:5]) + 1


@pytest.mark.filterwarnings("ignore:Even though the `tf.config")  # the data set is compiled all the same
def test_objectives_of_compile(x, eager):
    vae = tiny_vae()
    for objective in ("iwae", functools.partial(probvae.iwae, num_samples=4)):
        vae.compile("adam", objective)
        assert np.isfinite(vae.fit(x, verbose=0).history["loss"][0])
    with pytest.raises(ValueError, match=r"Expected an objective among elbo, iwae, .*; got 'mse'"):
        vae.compile("adam", "mse")
    with pytest.raises(ValueError, match="takes no loss"):
        vae.compile("adam", loss="mse")


@pytest.mark.filterwarnings("ignore:Even though the `tf.config")  # the data set is compiled all the same
def test_a_learnable_prior_is_trained(x, eager):
    model = own_networks()
    prior = tfd.MultivariateNormalDiag(tf.Variable(tf.ones(3)), tf.ones(3))
    vae = probvae.VAE(prior, model.encoder, model.decoder)
    assert any(v is prior.loc for v in vae.trainable_variables)
    vae.compile(tf_keras.optimizers.Adam(1e-2))
    vae.fit(x, epochs=2, verbose=0)
    assert np.all(prior.loc.numpy() != 1)


def test_losses_of_layers_count(x):
    """Weight decay by a Keras regularizer lowers the weights; without it the step differs."""
    vae = tiny_vae()
    x = tf.ones_like(x)
    layer = vae.decoder.layers[0]
    optimizer = tf_keras.optimizers.SGD(0.01)
    before = layer.kernel.numpy()
    vae.decoder.add_loss(lambda: 50.0 * tf.reduce_sum(layer.kernel**2))
    ascend(vae, optimizer, lambda vae, x, seed: 0 * probvae.elbo(vae, x, seed=seed), x, (0, 1))
    np.testing.assert_allclose(layer.kernel, before * (1 - 0.01 * 2 * 50), atol=1e-5)


def test_kl_regularizers_are_refused():
    prior = tfd.MultivariateNormalDiag(tf.zeros(3), tf.ones(3))
    with pytest.raises(ValueError, match="KL would count twice"):
        own_networks(activity_regularizer=tfpl.KLDivergenceRegularizer(prior))


def test_parts_that_do_not_fit_are_refused():
    model = own_networks()
    with pytest.raises(ValueError, match=r"event shape \[2\].*returned event shape \[3\]"):
        probvae.VAE(tiny_vae().prior, model.encoder, tiny_vae().decoder)


def test_kerass_own_format_is_refused_with_advice(vae, tmp_path):
    with pytest.raises(probvae.InputError, match=r"probvae\.save"):
        vae.save(tmp_path / "model.keras")


def test_the_bound_is_in_one_place():
    """No densities are typed by hand in the library: log p and log q come from `log_prob` alone."""
    assert inspect.getsource(probvae.objectives).count(".log_prob(") <= 4


def test_metrics_are_no_weights(vae):
    assert len(vae.weights) == len(vae.trainable_weights)


def test_single_examples_in_place_of_batches_are_refused(eager):
    vae = tiny_vae()
    vae.compile("adam")
    single = tf.data.Dataset.from_tensor_slices(tf.zeros([4, 8, 8, 1]))
    with pytest.raises(ValueError, match=r"must yield batches of shape \[B, 8, 8, 1\]"):
        vae.fit(single, verbose=0)
    other = tiny_vae()
    other.compile("adam")
    other.fit(single.batch(2), verbose=0)
