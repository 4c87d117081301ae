"""What virtual devices compute, in a process of its own: devices are settled before TensorFlow starts.

`python replicas.py FILE quick|slow` writes the arrays that test_strategies.py looks at.
"""

import inspect
import sys
import types
import unittest.mock

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

import probvae
from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.data.binarization import prepare
from probvae.data.dataset import DataSet
from probvae.errors import InputError
from probvae.inference.blocks import Stopped
from probvae.inference.importance_sampling import Importance, importance
from probvae.models.building import build
from probvae.objectives import bound
from probvae.training import feeding, steps
from probvae.training.non_finite import NonFiniteError
from probvae.training.optimizer import averages
from probvae.training.state import EpochSums
from probvae.training.steps import step_inputs
from probvae.training.trainer import Trainer

DEVICES = 3
X = np.random.default_rng(0).standard_normal([43, 3]).astype(np.float32)
ORDER = np.random.default_rng(1).permutation(43).astype(np.int32)
BATCH, BAD = 8, 17  # 43 = 5 * 8 + 3; the example that is spoilt
MUTANTS = {  # wrong variants of steps.py and feeding.py: what is replaced by what
    "mean of the replicas' means": ("/ tf.cast(size, bound.dtype)", "/ (replicas * tf.reduce_sum(weights))"),
    "a sum, not divided": ("/ tf.cast(size, bound.dtype)", ""),
    "the same part for all": ("places = replica * each + np.arange(each)", "places = np.arange(each)"),
    "what fills up counts": ("bound = tf.where(weights > 0, bound, 0.0)", "pass"),
    "gradients averaged": ('replica.all_reduce("SUM", present)', 'replica.all_reduce("MEAN", present)'),
}


def strategy_of(replicas):
    if replicas == 1:
        return tf.distribute.get_strategy()
    cpus = [device.name for device in tf.config.list_logical_devices("CPU")][:replicas]
    return tf.distribute.MirroredStrategy(cpus, cross_device_ops=tf.distribute.ReductionToOneDevice())


def mutant(old, new):
    """The module `steps` with a text of its own, or of `feeding`, replaced."""
    copies = {}
    sources = {module.__name__: inspect.getsource(module) for module in (feeding, steps)}
    assert sum(source.count(old) for source in sources.values()) == 1
    with unittest.mock.patch.dict(sys.modules, copies):
        for name, source in sources.items():
            sys.modules[name] = copies[name] = types.ModuleType(name)
            exec(source.replace(old, new), copies[name].__dict__)  # our own code
    return copies[steps.__name__]


def data(x=X):
    return prepare(DataSet("vectors", x, X, None, None, 1), binarize="none", likelihood="normal_fixed")


def model():
    vae = build(Architecture(event_shape=(3,), network="mlp", units=(4,), likelihood="normal_fixed"), seed=1)
    rng = np.random.default_rng(2)
    for variable in vae.trainable_variables:
        variable.assign(variable + 0.1 * rng.standard_normal(variable.shape))
    return vae


def without_noise(vae, x, *, seed):
    """An objective with the mean of q(z|x) as z."""
    q = vae.posterior(x)
    z = q.mean()[None]
    return (vae.likelihood(z).log_prob(x) + vae.prior.log_prob(z) - q.log_prob(z))[0]


def first_of_z(vae, x, *, seed):
    """An objective that shows the noise: the first dimension of z ~ q(z|x)."""
    return bound.log_terms(vae, x, seed=seed).z[0, :, 0]


def flat(vae):
    return np.concatenate([v.numpy().ravel() for v in vae.trainable_variables])


def trained(
    replicas,
    *,
    module=steps,
    objective=without_noise,
    x=X,
    order=ORDER,
    batch=BATCH,
    rate=0.05,
    change=lambda prepared: prepared,
    **options,
):
    """Train an epoch; return the weights and the tally."""
    with strategy_of(replicas).scope():
        vae = model()
        optimizer = tf_keras.optimizers.SGD(rate)
        step = module.compile_steps(vae, optimizer, objective, change(data(x)), 0, **options)
        whole = len(order) - len(order) % batch
        _, tally = step(order[:whole].reshape(-1, batch), EpochSums())
        if whole < len(order):
            _, tally = step(order[None, whole:], tally)
    return flat(vae), tally


def trainer(replicas, **options):
    chosen = {"batch_size": BATCH, "epochs": 2, "learning_rate": 1e-2, "binarize": "none", "data": "vectors"}
    with strategy_of(replicas).scope():
        return Trainer(model(), data(options.pop("x", X[:40])), Training(**{**chosen, **options}))


def on_disk(prepared):
    """The same data, which are read chunk by chunk."""
    train = np.memmap(f"{sys.argv[1]}.rows", prepared.train.dtype, "w+", shape=prepared.train.shape)
    train[:] = prepared.train
    return prepared._replace(train=train)


# ---- what is looked at ---------------------------------------------------------------------------


def equal_weights():
    found = {}
    for replicas, clip in ((1, 0.0), (2, 0.0), (3, 0.0), (1, 1.0), (2, 1.0)):
        weights, tally = trained(replicas, clip_norm=clip)
        found |= {f"weights/{replicas}/{clip:g}": weights, f"tally/{replicas}/{clip:g}": np.array(tally)}
    found["streamed"] = trained(2, change=on_disk)[0]
    for replicas in (1, 3):  # two of three replicas have nothing
        found[f"one left/{replicas}"] = trained(replicas, order=ORDER[:1], batch=1)[0]
    return found


def mutants():
    """A single batch of three examples on two replicas, by wrong variants of the steps."""
    few = {"order": ORDER[:3], "batch": 3}
    found = {"few/1": trained(1, **few)[0], "few/2": trained(2, **few)[0]}
    return found | {f"mutant/{n}": trained(2, module=mutant(*c), **few)[0] for n, c in MUTANTS.items()}


def means():
    """The ELBO's mean over an epoch at fixed weights, of many examples, and the variance of its noise."""
    x = np.tile(X, [1000, 1])
    order = np.arange(len(x), dtype=np.int32)
    log_w = bound.log_weights(model(), tf.constant(X), num_samples=2000, seed=(0, 5)).numpy()
    found = {"noise": log_w.var(axis=0, ddof=1).mean(), "examples": np.array(len(x))}
    for replicas in (1, 2):
        tally = trained(replicas, objective=bound.elbo, x=x, order=order, batch=430, rate=0.0)[1]
        found[f"mean/{replicas}"] = np.array(tally.objective / tally.examples)
    return found


def noise():
    """The same example on two replicas: what the compiled step sums, and what `step_inputs` says of it."""
    x = np.repeat(X[:1], 4, axis=0)
    order = np.arange(4, dtype=np.int32)
    total = trained(2, objective=first_of_z, x=x, order=order, batch=4, rate=0.0)[1].objective
    vae = model()
    parts = [
        first_of_z(vae, part, seed=seed).numpy()
        for part, seed, _ in step_inputs(data(x), order, seed=0, step=0, replicas=2)
    ]
    return {"noise/total": np.array(total), "noise/parts": np.stack(parts)}


def not_finite():
    x = X[:40].copy()
    x[BAD] = 1e30
    found = {}
    stopping = trainer(2, x=x)
    try:
        stopping.fit()
    except NonFiniteError as error:
        found["error"] = np.array(str(error))
    found["finite"] = np.array(np.all(np.isfinite(flat(stopping.vae))))
    weights, tally = trained(2, x=x, order=np.arange(40, dtype=np.int32), skip=True)
    found |= {"skipping/finite": np.array(np.all(np.isfinite(weights))), "skipping/tally": np.array(tally)}
    return found


def resumed():
    whole, states = trainer(2), []
    whole.fit(on_state=states.append)
    rest = trainer(2)
    rest.restore(states[0])
    rest.fit()
    return {"whole": flat(whole.vae), "resumed": flat(rest.vae)}


def refused():
    found = {}
    for name, options in {"objective": {"objective": "mmd"}, "batch": {"batch_size": 1}}.items():
        try:
            trainer(2, **options)
        except InputError as error:
            found[f"refused/{name}"] = np.array(str(error))
    return found


def bounds():
    """Importance sampling of blocks on one device and on three, whole and stopped."""
    x = np.tile(X, [25, 1])[:1050]  # four blocks of 250, and 50
    strategy = strategy_of(3)
    with strategy.scope():
        mirrored = model()
    found = {"one": importance(model(), x, num_samples=9, seed=3)}
    found["three"] = importance(mirrored, x, num_samples=9, seed=3, strategy=strategy)
    calls = iter(range(2))  # one for the three blocks together, one for the fourth

    def stop(fraction):
        if next(calls) == 1:
            raise Stopped

    found["stopped"] = importance(mirrored, x, num_samples=9, seed=3, strategy=strategy, on_progress=stop)
    arrays = {
        f"bounds/{name}/{field}": getattr(found[name], field)
        for name in found
        for field in Importance._fields
    }
    return {name: array for name, array in arrays.items() if array is not None}


def own_model(*, synchronized=False, rate=0.0, activity=0.0, normalized=True):
    """A VAE of own networks, with layers that differ in training."""
    layers = tf_keras.layers
    tf_keras.utils.set_random_seed(0)
    regularizer = tf_keras.regularizers.L2(activity) if activity else None
    statistics = [layers.BatchNormalization(momentum=0.9, synchronized=synchronized)] if normalized else []
    hidden = layers.Dense(4, "tanh", activity_regularizer=regularizer)
    drop = [layers.Dropout(rate)] if rate else []
    encoder = [
        layers.InputLayer((3,)),
        *statistics,
        hidden,
        *drop,
        layers.Dense(4),
        tfpl.IndependentNormal(2),
    ]
    decoder = [layers.InputLayer((2,)), layers.Dense(6), tfpl.IndependentNormal(3)]
    prior = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
    return probvae.VAE(prior, tf_keras.Sequential(encoder), tf_keras.Sequential(decoder))


def own_step(replicas, batch, *, global_seed=0, **options):
    """Take a step with the mean of q(z|x) as z; return the variables. The global seed must not matter."""
    with strategy_of(replicas).scope():
        vae = own_model(**options)
        tf.random.set_seed(global_seed)
        step = steps.compile_steps(vae, tf_keras.optimizers.SGD(0.05), without_noise, data(X), 0)
        step(np.asarray(batch, np.int32)[None], EpochSums())
    return vae, np.concatenate([v.numpy().ravel() for v in vae.variables])


def fit_by_keras():
    """Keras's `fit` of seven examples in batches of three: shares differ, and two of three are empty."""
    found = {}
    for replicas in (1, 3):
        with strategy_of(replicas).scope():
            vae = own_model(normalized=False)
            vae.compile(tf_keras.optimizers.SGD(0.05), objective=without_noise, seed=0)
        vae.fit(X[:7], batch_size=3, epochs=1, shuffle=False, verbose=0)
        found[f"keras/{replicas}"] = flat(vae)
    return found


def layers_in_training():
    batch = np.arange(8)
    vae, _ = own_step(2, batch)
    statistics = vae.encoder.layers[0]
    found = {"moving/mean": statistics.moving_mean.numpy(), "moving/variance": statistics.moving_variance}
    for replicas in (1, 2):
        found[f"activity/{replicas}"] = own_step(replicas, batch, activity=0.5, normalized=False)[1]
        found[f"no activity/{replicas}"] = own_step(replicas, batch, normalized=False)[1]
    # Replicas take turns in a synchronized layer: each still has the noise of its own seed, and it repeats.
    for run in (1, 2):
        found[f"turns/{run}"] = own_step(2, batch, global_seed=run, synchronized=True, rate=0.5)[1]
    return found


def resumed_in_training():
    """Dropout, moving statistics, weight decay and an average, resumed; all replicas hold the same."""
    found, states = {}, []

    def own_trainer():
        options = {"batch_size": BATCH, "epochs": 2, "learning_rate": 1e-2, "binarize": "none"}
        with strategy_of(2).scope():
            vae = own_model(rate=0.5)
            settings = Training(data="vectors", average=0.9, weight_decay=0.1, **options)
            return Trainer(vae, data(X[:40]), settings)

    whole = own_trainer()
    whole.fit(on_state=states.append)
    rest = own_trainer()
    rest.restore(states[0])
    rest.fit()
    for name, run in (("whole", whole), ("rest", rest)):
        found[f"own/{name}"] = np.concatenate([v.numpy().ravel() for v in run.vae.variables])
        found[f"own state/{name}"] = np.concatenate([v.ravel() for v in run.state().weights])
    variables = [*whole.vae.variables, *averages(whole.optimizer)]
    copies = [[c.numpy() for c in whole.strategy.experimental_local_results(v)] for v in variables]
    return found | {"own/copies are equal": np.array(all(np.array_equal(a, b) for a, b in copies))}


PARTS = {
    "quick": (equal_weights, noise, not_finite, refused, bounds, fit_by_keras, layers_in_training),
    "slow": (mutants, means, resumed, resumed_in_training),
}

if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * DEVICES)
    parts = PARTS[sys.argv[2]]
    np.savez(sys.argv[1], **{name: array for part in parts for name, array in part().items()})
