import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from conditional_models import OPTIONS, ConditionalLinearGaussian, parts, shaken, tiny
from statistics_helpers import ALPHA, mean_p_value
from tensorflow_probability import distributions as tfd

import probvae
from probvae import objectives
from probvae.data.arrays import Rows
from probvae.data.binarization import Prepared
from probvae.data.labels import is_one_hot, join_prepared, join_rows, one_hot
from probvae.distributions.missing import encoder_inputs
from probvae.errors import InputError
from probvae.evaluation.contexts import exact_given
from probvae.inference.amortization import optimize_posteriors
from probvae.inference.hmc import posterior_samples
from probvae.inference.quadrature import exact
from probvae.likelihoods import LIKELIHOODS
from probvae.models import conditional
from probvae.models.conditional import ConditionalVAE, observed_contexts
from probvae.models.networks.contexts import WithContext, encoder_layers
from probvae.models.networks.registry import NETWORKS
from probvae.posteriors import POSTERIORS
from probvae.priors import PRIORS

Y = np.array([0, 1, 2, 0, 1])


@pytest.fixture(scope="module")
def vae():
    return tiny()


@pytest.fixture
def example(vae, x):
    return vae.join(x, Y)


@pytest.fixture(scope="module")
def oracle():
    return ConditionalLinearGaussian()


def covariates(n, seed=0):
    return np.random.default_rng(seed).standard_normal([n, 3]).astype(np.float32)


# ---- the distributions ---------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_terms_are_those_written_by_hand(network, x):
    vae = tiny(network)
    example, y = vae.join(x, Y), np.eye(3)[Y]
    terms = objectives.log_terms(vae, example, num_samples=4, seed=1)
    z = terms.z.numpy().astype(np.float64)
    params = vae.encoder_parts.network(example).numpy().astype(np.float64)
    mean, log_variance = params[:, :2], params[:, 2:]
    log_q = -0.5 * (np.log(2 * np.pi) + log_variance + (z - mean) ** 2 / np.exp(log_variance)).sum(-1)
    log_prior = -0.5 * (np.log(2 * np.pi) + z**2).sum(-1)
    decoder = tf_keras.Model(vae.decoder.inputs, vae.decoder.layers[-1].input)
    for s in range(4):
        logits = decoder(np.concatenate([z[s], y], axis=1).astype(np.float32)).numpy().astype(np.float64)
        pixels = np.reshape(x, [5, -1])
        log_p = (pixels * logits - np.logaddexp(0, logits)).sum(-1)
        np.testing.assert_allclose(terms.log_likelihood[s], log_p, rtol=1e-5)
    np.testing.assert_allclose(terms.log_prior, log_prior, rtol=1e-5)
    np.testing.assert_allclose(terms.log_posterior, log_q, rtol=1e-4, atol=1e-4)
    wrong = objectives.log_terms(vae, vae.join(x, (Y + 1) % 3), num_samples=4, seed=1)
    assert np.abs(wrong.log_likelihood - terms.log_likelihood).max() > 0.1


@pytest.mark.parametrize(
    ("network", "posterior"), [("conv", "diagonal"), ("gated_mlp", "tril"), ("mlp", "iaf")]
)
def test_given_y_agrees_with_joined_examples(network, posterior, x):
    vae = tiny(network, posterior=posterior)
    z = np.float32(np.random.default_rng(1).standard_normal([4, 5, 2]))
    for y in (2, np.float32([0.2, -1.0, 3.0])):
        example, given = vae.join(x, y), vae.given(y)
        assert type(given) is probvae.VAE and given.event_shape == (8, 8, 1)
        np.testing.assert_allclose(
            vae.posterior(example).log_prob(z), given.posterior(x).log_prob(z), rtol=1e-4, atol=1e-4
        )
        one, other = vae.likelihood(z).log_prob(example), given.likelihood(z).log_prob(x)
        np.testing.assert_allclose(one, other, rtol=1e-5)
        np.testing.assert_allclose(vae.likelihood(z, y).log_prob(x), other, rtol=1e-5)
        weights = (
            objectives.log_weights(m, e, num_samples=3, seed=2) for m, e in ((vae, example), (given, x))
        )
        np.testing.assert_allclose(*weights, rtol=1e-4, atol=1e-4)
        assert {id(v) for v in given.trainable_weights} == {id(v) for v in vae.trainable_weights}


def test_given_y_is_a_whole_vae(vae, x):
    given = vae.given(1)
    assert given.sample(3, seed=0).shape == [3, 8, 8, 1] and given.reconstruct(x, seed=0).shape == x.shape
    np.testing.assert_array_equal(given.sample(3, seed=0), vae.sample(3, seed=0, y=1))
    assert given.marginal(20).log_prob(x).shape == [5]
    assert tf.convert_to_tensor(given.posterior(x)).shape == [5, 2]
    type_of_p = type(given.likelihood(tf.zeros([4, 2])).tensor_distribution)
    assert type_of_p is tfd.Independent  # wrapped once: what `exact` looks at
    assert optimize_posteriors(given, x.numpy(), num_steps=2, num_evaluation_samples=4).elbo.shape == (5,)


def test_batches_of_z_and_of_examples_broadcast(vae, example):
    z = np.float32(np.random.default_rng(0).standard_normal([7, 2]))
    grid = vae.likelihood(z).log_prob(example[:, tf.newaxis])  # [5, 7]
    for i in range(5):
        np.testing.assert_allclose(grid[i], vae.likelihood(z).log_prob(example[i]), rtol=1e-5)
    p = vae.likelihood(z[:, np.newaxis], np.eye(3)[Y])
    assert p.batch_shape == [7, 5] and vae.likelihood(z).batch_shape == [7]
    np.testing.assert_allclose(p.log_prob(vae.split(example)[0]), tf.transpose(grid), rtol=1e-5)
    wished = tf.function(lambda e: objectives.iwae(vae, e, num_samples=3, seed=0), autograph=False)
    compiled = wished.get_concrete_function(tf.TensorSpec([None, 67]))(example)
    np.testing.assert_allclose(compiled, objectives.iwae(vae, example, num_samples=3, seed=0), rtol=1e-5)


def test_log_p_of_x_given_y_is_the_oracles(oracle):
    y = covariates(6)
    x = oracle.sample(y, 1)
    log_p = oracle.log_prob(x, y)
    vae = oracle.vae()
    draws = objectives.log_weights(vae, vae.join(x, y), num_samples=5, seed=0)
    np.testing.assert_allclose(draws, np.broadcast_to(log_p, [5, 6]), rtol=1e-4, atol=2e-3)
    wrong = objectives.log_weights(vae, vae.join(x, y[::-1].copy()), num_samples=5, seed=0)
    assert np.abs(wrong - log_p).max() > 1


def test_importance_weights_are_unbiased(oracle):
    y = covariates(4)
    x = oracle.sample(y, 1)
    vae = oracle.vae(shift=0.2)
    log_w = objectives.log_weights(vae, vae.join(x, y), num_samples=20_000, seed=3).numpy()
    log_p = oracle.log_prob(x, y)
    assert mean_p_value(np.exp(log_w - log_p), 1.0) > ALPHA
    assert mean_p_value(np.exp(log_w - log_p - 0.05), 1.0) < ALPHA


@pytest.mark.slow
def test_quadrature_and_hmc_take_joined_examples(oracle):
    y = np.eye(3, dtype=np.float32)[[0, 1, 1]]
    x = oracle.sample(y, 2)
    vae = oracle.vae(shift=0.3)
    example, log_p = vae.join(x, y).numpy(), oracle.log_prob(x, y)
    np.testing.assert_allclose(exact(vae, example[:1]).log_marginal, log_p[:1], atol=6e-3)
    by_class = exact_given(vae, example)
    np.testing.assert_allclose(by_class.log_marginal, log_p, atol=6e-3)
    assert np.all(by_class.converged) and by_class.spacing.shape == (3, 2) and by_class.bounds.shape == (2, 2)
    z = posterior_samples(vae, example, num_samples=4, num_burnin_steps=4, num_chains=2).z
    assert z.shape == (4, 2, 3, 2) and np.all(np.isfinite(z))


# ---- draws ---------------------------------------------------------------------------------------


def test_draws_follow_y(oracle):
    vae, y = oracle.vae(), np.float32([1.0, -0.5, 0.3])
    x = vae.sample(4000, seed=0, y=y)
    mean = oracle.plain.bias + oracle.slope @ y
    assert mean_p_value(x, mean) > ALPHA
    assert mean_p_value(x, oracle.plain.bias) < ALPHA
    own = vae.sample(3, seed=0, y=covariates(3))
    assert own.shape == [3, 5]


def test_y_is_drawn_where_there_is_a_distribution_of_it(oracle):
    shares = [0.5, 0.2, 0.3]
    vae = oracle.vae().with_contexts(tfd.OneHotCategorical(probs=shares, dtype=tf.float32))
    x, y = (part.numpy() for part in vae.split(vae.sample(5000, seed=0)))
    assert is_one_hot(y) and mean_p_value(y, np.array(shares)) > ALPHA
    left = x - y @ oracle.slope.T - oracle.plain.bias
    assert mean_p_value(left) > ALPHA
    assert mean_p_value(x - oracle.plain.bias) < ALPHA
    assert {id(v) for v in vae.trainable_weights} <= {id(v) for v in vae.variables}


def test_observed_contexts():
    classes = observed_contexts(one_hot(np.array([0, 1, 1, 1]), 2))
    np.testing.assert_allclose(classes.probs, [0.25, 0.75])
    y = covariates(4)
    drawn = observed_contexts(y).sample(50, seed=(0, 1)).numpy()
    assert (
        all(any(np.array_equal(row, one) for one in y) for row in drawn) and len(np.unique(drawn[:, 0])) > 2
    )


def test_reconstructions_are_of_x_alone(vae, example, x):
    assert vae.reconstruct(example, seed=0).shape == x.shape
    z = vae.posterior(example).sample(seed=probvae.seeds.as_seed(0))
    np.testing.assert_allclose(
        vae.reconstruct(example, seed=0), vae.likelihood(z, np.eye(3)[Y]).mean(), rtol=1e-6
    )
    assert vae(example).mean().shape == x.shape


def test_what_needs_y_says_so(vae):
    p = vae.likelihood(tf.zeros([4, 2]))
    for use in (lambda: p.sample(seed=(0, 1)), p.mean, lambda: vae.sample(3, seed=0)):
        with pytest.raises(InputError, match="y"):
            use()
    assert np.all(np.isnan(vae.joint().sample(seed=(0, 1))["x"][-3:]))


# ---- pairs ---------------------------------------------------------------------------------------


def test_join_and_split_are_inverse(vae, x):
    leading = np.float32(np.random.default_rng(0).random([2, 5, 8, 8, 1]))
    y = np.float32(np.random.default_rng(1).random([2, 5, 3]))
    back = vae.split(vae.join(leading, y))
    np.testing.assert_array_equal(back[0], leading)
    np.testing.assert_array_equal(back[1], y)
    for one in (1, np.int64(1), np.float32([0, 1, 0]), np.array([1] * 5, np.uint8), np.eye(3)[[1] * 5]):
        np.testing.assert_array_equal(vae.join(x, one)[:, 64:], np.eye(3)[[1] * 5])


# ---- what a model answers -------------------------------------------------------------------------


def test_examples_come_apart_as_what_they_are(vae, x):
    example = vae.join(x, Y)
    assert vae.value_shape == x.shape[1:] and vae.event_shape == example.shape[1:]
    for values, contexts in (
        (vae.values(example), vae.contexts_of(example)),
        (vae.values(example.numpy()), vae.contexts_of(example.numpy())),
        (
            vae.values(Rows(example.numpy(), np.arange(5))),
            vae.contexts_of(Rows(example.numpy(), np.arange(5))),
        ),
    ):
        np.testing.assert_array_equal(values, x)
        np.testing.assert_array_equal(contexts, np.eye(3)[Y])
    assert tf.is_tensor(vae.values(example)) and isinstance(vae.values(example.numpy()), np.ndarray)
    plain = vae.given(1)
    assert plain.values(x) is x and plain.contexts_of(x) is None and plain.value_shape == plain.event_shape
    np.testing.assert_array_equal(plain.join(x, Y), x)
    with pytest.raises(InputError, match="conditional, and there are no labels"):
        vae.join(x)
    assert (vae.density_name, plain.density_name) == ("log p(x|y)", "log p(x)")
    z = np.float32(np.random.default_rng(0).standard_normal([5, 2]))
    np.testing.assert_array_equal(
        vae.likelihood_at(z, example).mean(), vae.likelihood(z, np.eye(3)[Y]).mean()
    )
    np.testing.assert_array_equal(plain.likelihood_at(z, x).mean(), plain.likelihood(z).mean())


def test_the_model_of_one_class(vae, x):
    one, same = vae.of_class(2), vae.given(2)
    np.testing.assert_array_equal(probvae.elbo(one, x, seed=0), probvae.elbo(same, x, seed=0))
    assert one.of_class(None) is one
    for label, message in ((None, "none was given"), (3, "got 3"), (-1, "got -1")):
        with pytest.raises(InputError, match=f"expected a class from 0 to 2; {message}"):
            vae.of_class(label)
    with pytest.raises(InputError, match="this one has no classes"):
        one.of_class(0)


def test_each_y_has_a_model_and_its_examples(vae, x):
    x, example = x.numpy(), vae.join(x, Y).numpy()
    pairs = vae.by_context(example)
    assert [rows.tolist() for _, rows in pairs] == [[2], [1, 4], [0, 3]]  # y in the order of `np.unique`
    for model, rows in pairs:
        z = vae.posterior(example[rows]).sample(seed=(0, 1))
        np.testing.assert_allclose(
            model.likelihood(z).log_prob(x[rows]), vae.likelihood(z).log_prob(example[rows]), rtol=1e-5
        )
    plain = vae.given(0)
    ((model, rows),) = plain.by_context(x)
    assert model is plain and rows.tolist() == [0, 1, 2, 3, 4]
    y = np.random.default_rng(0).standard_normal([conditional.MAX_CONTEXTS + 1, 3])
    many = vae.join(np.resize(x, [len(y), *x.shape[1:]]), np.float32(y)).numpy()
    with pytest.raises(InputError, match="100 at most; there are 101"):
        vae.by_context(many)


def test_a_generator_draws_y_as_observed(vae, x):
    drawing = vae.generator(vae.join(x, Y).numpy())
    np.testing.assert_allclose(drawing.contexts.probs, [0.4, 0.4, 0.2], rtol=1e-6)
    assert drawing.generator(vae.join(x, 0).numpy()) is drawing  # it has a p(y)
    plain = vae.given(0)
    assert plain.generator(x) is plain and vae.generator(np.zeros([0, 67], np.float32)) is vae


def test_the_draws_of_a_picture(vae, x):
    z = np.random.default_rng(0).standard_normal([16, 2]).astype(np.float32)
    example, plain = vae.join(x, Y).numpy(), vae.given(0)
    (shown, y), columns, title = vae.fixed_draws(z, example)  # a row for each class, the same z in a column
    np.testing.assert_array_equal(y.reshape(3, 8, 3), np.broadcast_to(np.eye(3)[:, None], [3, 8, 3]))
    np.testing.assert_array_equal(shown.reshape(3, 8, 2), np.broadcast_to(z[:8], [3, 8, 2]))
    assert columns == 8 and title == "Prior draws, a class a row"
    np.testing.assert_array_equal(
        vae.unconditional(example).likelihood(z).mean(), vae.given(0).likelihood(z).mean()
    )
    given = covariates(5)
    (shown, y), columns, _ = vae.fixed_draws(z, vae.join(x, given).numpy())
    np.testing.assert_array_equal(y, given[np.arange(16) % 5])
    assert shown is z and columns == 4
    np.testing.assert_array_equal(
        vae.unconditional(vae.join(x, given).numpy()).likelihood(z).mean(),
        vae.given(given[0]).likelihood(z).mean(),
    )
    assert plain.fixed_draws(z, x) == ((z,), 4, "Prior draws") and plain.unconditional(x) is plain
    assert plain.test_metrics(x) == vae.test_metrics(example) == {}


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (3, r"Classes are integers from 0 to 2; got 3\."),
        (-1, "from 0 to 2; got -1"),
        (np.eye(3, dtype=np.uint8)[Y], r"got x of shape \[5, 8, 8, 1\] and y of \[5, 3, 3\]"),
        (np.ones([5, 2], np.float32), r"floats of shape \[..., 3\].* got float32 of shape \[5, 2\]"),
        (1.0, r"which are classes; got 1\.0\."),
    ],
)
def test_wrong_y_is_refused(vae, x, y, message):
    with pytest.raises(InputError, match=message):
        vae.join(x, y)


def test_wrong_x_and_several_y_are_refused(vae, x):
    with pytest.raises(InputError, match=r"x of shape \[..., 8, 8, 1\]"):
        vae.join(x[:, :4], 1)
    with pytest.raises(InputError, match="given takes one y"):
        vae.given([0, 1])


# ---- networks ------------------------------------------------------------------------------------


def test_y_stands_at_every_place():
    x, y = np.float32(np.random.default_rng(0).random([2, 4, 5, 3])), np.float32([[1, 2], [3, 4]])
    example = np.concatenate([x.reshape(2, -1), y], axis=1)
    planes = WithContext((4, 5, 3), 2)
    seen = planes(example).numpy()
    assert planes.output_dims == (4, 5, 5)
    np.testing.assert_array_equal(seen[..., :3], x)
    np.testing.assert_array_equal(seen[..., 3:], np.broadcast_to(y[:, None, None], [2, 4, 5, 2]))
    assert WithContext((20, 3), 2)(example).shape == [2, 20, 5]
    np.testing.assert_array_equal(WithContext((4, 5, 3), 2, flat=True)(example), example)
    np.testing.assert_array_equal(WithContext((60,), 2)(example), example)


def test_the_encoders_inputs_are_of_x_alone():
    example = np.float32([[2, np.nan, 0.5, 7]])
    layer = WithContext((2,), 2, inputs=encoder_inputs)
    assert layer(example).numpy().tolist() == [[2, 0, 1, 0, 0.5, 7]]
    logs = WithContext((2,), 2, inputs=tf.math.log1p)(np.float32([[0, np.e - 1, 5, 7]]))
    np.testing.assert_allclose(logs, [[0, 1, 5, 7]], rtol=1e-6)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        ("conv", (9, 8, 2)),
        ("residual_conv", (8, 8, 1)),
        ("conv1d", (9, 2)),
        ("mlp", (4, 4, 1)),
        ("mlp", (5,)),
    ],
)
def test_every_network_serves(network, shape):
    vae = tiny(network, shape)
    x = np.float32(np.random.default_rng(0).integers(0, 2, [3, *shape]))
    with tf.GradientTape() as tape:
        bound = objectives.elbo(vae, vae.join(x, [0, 1, 2]), seed=0)
    assert vae.value_shape == shape and bound.shape == [3] and np.all(np.isfinite(bound))
    assert all(g is not None for g in tape.gradient(bound, vae.trainable_variables))


def test_missing_values_of_x():
    kind, shape = NETWORKS["mlp"], (6,)
    layers = encoder_layers(kind, shape, 3, options=OPTIONS, seed=0, inputs=encoder_inputs)
    decoder = kind.decoder(shape, 5, options=OPTIONS, seed=1)
    vae = shaken(
        ConditionalVAE(
            PRIORS["standard_normal"](2),
            tf_keras.Sequential([*layers, *POSTERIORS["diagonal"](2, seed=2)]),
            tf_keras.Sequential([*decoder, LIKELIHOODS["bernoulli"](shape, missing=True).head()]),
            context_dim=3,
        )
    )
    x = np.float32([[0, 1, np.nan, 1, np.nan, 0]])
    z = np.float32([[0.3, -1.0]])
    p = vae.likelihood(z, [1]).mean().numpy()
    expected = np.log(np.where(x == 1, p, 1 - p))[~np.isnan(x)].sum()
    np.testing.assert_allclose(vae.likelihood(z).log_prob(vae.join(x, [1])), [expected], rtol=1e-5)
    assert np.isfinite(objectives.elbo(vae, vae.join(x, [1]), seed=0)[0])


def test_networks_that_are_no_graphs_have_no_model_at_one_y():
    class Wrapped(tf_keras.Model):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def call(self, x):
            return self.inner(x)

    prior, encoder, decoder = parts("mlp", (6,))
    vae = ConditionalVAE(prior, Wrapped(encoder), decoder, context_dim=3)
    assert objectives.elbo(vae, vae.join(np.zeros([2, 6]), 1), seed=0).shape == [2]
    with pytest.raises(InputError, match="Build them with an Input"):
        vae.given(1)


# ---- training ------------------------------------------------------------------------------------


def stripes(n, seed=0):
    """Images of 8x8 with one stripe in the half that the class names, and some noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    x = rng.random([n, 8, 8, 1]) < 0.05
    x[np.arange(n), rng.integers(0, 4, n) + 4 * labels] = True
    return x.astype(np.float32), labels


@pytest.mark.slow
def test_labels_matter_after_a_little_training():
    (x, y), (x_test, y_test) = stripes(600), stripes(200, seed=1)
    vae = ConditionalVAE(*parts("mlp", (8, 8, 1), classes=2), context_dim=2)

    def gain():  # of the right class over the wrong one, in nats
        right, wrong = (
            objectives.iwae(vae, vae.join(x_test, k), num_samples=20, seed=0) for k in (y_test, 1 - y_test)
        )
        return float(np.mean(right - wrong))

    assert abs(gain()) < 0.5
    vae.compile(tf_keras.optimizers.Adam(0.01))
    tf_keras.utils.set_random_seed(0)  # fit shuffles by the global seed
    history = vae.fit(vae.join(x, y), epochs=15, batch_size=50, verbose=0).history
    assert history["objective"][-1] > history["objective"][0] + 5
    assert gain() > 5
    for k in (0, 1):
        image = vae.likelihood(vae.prior.sample(100, seed=(0, k)), k).mean().numpy().mean(axis=(0, 2, 3))
        assert image[4 * k : 4 * k + 4].mean() > 2 * image[4 * (1 - k) : 4 * (1 - k) + 4].mean()
    values_of_test = vae.evaluate(vae.join(x_test, y_test), verbose=0, return_dict=True)
    assert (
        values_of_test["elbo"] < 0 and vae.predict(vae.join(x_test, y_test), verbose=0).shape == x_test.shape
    )


def test_saved_and_loaded(vae, example, tmp_path):
    probvae.save(vae, tmp_path)
    other = tiny(seed=9)
    before = objectives.elbo(other, example, seed=0)
    probvae.load(tmp_path, other)
    expected = objectives.elbo(vae, example, seed=0)
    np.testing.assert_array_equal(objectives.elbo(other, example, seed=0), expected)
    assert not np.allclose(before, expected)


# ---- data ----------------------------------------------------------------------------------------


def test_one_hot_classes():
    assert one_hot(np.array([2, -1]), 3).tolist() == [[0, 0, 1], [0, 0, 0]]
    for wrong in (np.array([3]), np.array([-2]), np.array([0.5]), np.array([[1]]), np.array([], int)):
        with pytest.raises(InputError, match="Labels must be"):
            one_hot(wrong, 3)


def test_dynamic_binarization_is_of_x_alone():
    grey = np.random.default_rng(0).integers(0, 256, [7, 4, 4, 1]).astype(np.uint8)
    feed = lambda x, seed: tf.cast(  # noqa: E731
        tf.random.stateless_uniform(tf.shape(x), seed) * 255 < tf.cast(x, tf.float32), tf.float32
    )
    y = one_hot(np.arange(7) % 3, 3)
    joined = join_prepared(Prepared(grey, grey[:2], feed), y, y[:2])
    assert joined.train.dtype == np.uint8 and joined.train.shape == (7, 19) and joined.test.shape == (2, 19)
    batch = joined.feed(tf.constant(joined.train[2:5]), (0, 1))
    np.testing.assert_array_equal(batch[:, 16:], y[2:5])
    np.testing.assert_array_equal(batch[:, :16], tf.reshape(feed(tf.constant(grey[2:5]), (0, 1)), [3, 16]))
    assert set(np.unique(batch)) <= {0.0, 1.0}


def test_covariates_and_rows_of_a_file():
    x, y = np.arange(40, dtype=np.uint8).reshape(10, 2, 2), covariates(10)
    joined = join_rows(x, y)
    assert joined.dtype == np.float32
    np.testing.assert_array_equal(joined[:, 4:], y)
    rows = Rows(x, np.array([3, 1, 8]))
    np.testing.assert_array_equal(join_rows(rows, y[:3])[:, :4], x[[3, 1, 8]].reshape(3, 4))
    with pytest.raises(InputError, match=r"Expected y of shape \[10, C\]"):
        join_rows(x, y[:3])
