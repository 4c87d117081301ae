"""Tiny models and images that the tests share."""

import ctypes
import functools
import gc
import os
import shutil
import signal
import sys
import typing
from pathlib import Path

import numpy as np
import pytest

import probvae
from probvae.environment import cores

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # where a shell runs the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the processes that tests start shall hear it

# Each worker has its share of the cores, and so has a process that a test starts.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, cores() // WORKERS)))

# Memory that is no longer used goes back: oneDNN takes no allocator of its own, which would keep all of it.
os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
C_LIBRARY = ctypes.CDLL(None)
if hasattr(C_LIBRARY, "mallopt"):
    C_LIBRARY.mallopt(-3, 2**20)  # M_MMAP_THRESHOLD, in bytes

# TensorFlow asks for a protocol's attributes at every operation; Python 3.12 and later keep the answer.
if sys.version_info < (3, 12):
    typing._get_protocol_attrs = functools.cache(typing._get_protocol_attrs)
    typing._is_callable_members_only = functools.cache(typing._is_callable_members_only)
gc.set_threshold(20_000, 20, 20)  # fewer collections: `clear` collects after each file

# Chromium that is installed, else (None) the one that playwright installs.
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist.npz"


def tiny_vae(
    posterior: str = "diagonal", *, latent_dim: int = 2, seed: int = 0, gain: float = 2.0, **choices
):
    """A convolutional VAE on 8x8 images whose weights are large enough for every term to matter."""
    vae = probvae.conv_vae(
        (8, 8, 1), latent_dim=latent_dim, posterior=posterior, filters=(3, 4), seed=seed, **choices
    )
    rng = np.random.default_rng(seed)
    for variable in vae.trainable_variables:
        variable.assign(gain * variable + 0.1 * rng.standard_normal(variable.shape))
    return vae


SHARED = {}


def shared_vae(*arguments, **choices):
    """`tiny_vae`, built once a file, for tests that leave it as it is: `clear` fails if weights change."""
    key = arguments, tuple(sorted(choices.items()))
    if key not in SHARED:
        vae = tiny_vae(*arguments, **choices)
        SHARED[key] = vae, vae.get_weights()
    return SHARED[key][0]


def check_shared():
    """Drop the models of `shared_vae`.

    Raises:
      AssertionError: A test has changed the weights of one.
    """
    shared = dict(SHARED)
    SHARED.clear()
    for key, (vae, weights) in shared.items():
        assert all(map(np.array_equal, vae.get_weights(), weights)), f"a test has changed shared_vae{key}"


@pytest.fixture(scope="module", autouse=True)
def clear():
    """Free the models and compiled functions of a file when it ends, so that they do not pile up."""
    import tensorflow as tf  # here, so that the process that hands the tests out does without
    import tensorflow_probability as tfp
    import tf_keras
    from tensorflow.python.framework.ops import gradient_registry

    tf.zeros([])  # starts the devices: no command that a test runs in this process shall set its threads
    gc.freeze()  # what is imported by now stays: no collection looks at it again
    yield
    check_shared()
    if "probvae.training.shared" in sys.modules:  # its compiled functions need what is emptied below
        probvae.training.shared.POOL.clear()
    tf_keras.backend.clear_session()
    # Two tables that are never emptied hold compiled functions: custom gradients and what bijectors gave.
    for name in [name for name in gradient_registry.list() if name.startswith("CustomGradient-")]:
        del gradient_registry._registry[name]
    storage = tfp.bijectors.Bijector._cache.storage
    storage.update(dict.fromkeys(storage))  # values first: what goes with them looks for its key here
    storage.clear()
    gc.collect()
    if hasattr(C_LIBRARY, "malloc_trim"):
        C_LIBRARY.malloc_trim(0)


@pytest.fixture(scope="module")
def built():
    """The models that the fixture `vae` keeps for one file."""
    return {}


@pytest.fixture(params=["diagonal", "tril"])
def vae(request, built):
    """A tiny model, built once a file; after a test that gave it new attributes, built again."""
    if request.param not in built:
        model = tiny_vae(request.param)
        built[request.param] = model, model.get_weights(), dict(vars(model))
    model, weights, attributes = built[request.param]
    yield model
    if vars(model).keys() == attributes.keys() and all(vars(model)[k] is v for k, v in attributes.items()):
        model.set_weights(weights)
    else:
        del built[request.param]


@pytest.fixture
def x():
    """Five binary images of 8x8."""
    import tensorflow as tf

    return tf.constant(np.random.default_rng(7).integers(0, 2, [5, 8, 8, 1]), tf.float32)


@pytest.fixture
def eager():
    """Functions run step by step: where a training is short, their compilation is most of its time."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def mnist_path():
    if not MNIST.is_file():
        pytest.skip("real MNIST is absent: put mnist.npz into ../shared/data to run this test")
    return MNIST


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is absent: pip install '.[test]'")
    with api.sync_playwright() as playwright:
        try:
            context = playwright.chromium.launch_persistent_context(
                tmp_path_factory.mktemp("profile"),
                executable_path=CHROMIUM,
                args=list(FLAGS),
                viewport={"width": 1280, "height": 800},
                reduced_motion="reduce",
            )
        except api.Error as error:
            reason = error.message.splitlines()[0]
            pytest.skip(
                "Chromium is absent or does not start: install it (Debian: apt install chromium) to test the "
                f"pages; {reason}"
            )
        yield context
        context.close()


def pytest_collection_modifyitems(items):
    """A long case names a neighbour of its file that CI runs."""
    for item in items:
        for mark in item.iter_markers("long"):
            if not (mark.args and hasattr(item.module, mark.args[0].partition("[")[0])):
                raise pytest.UsageError(f"{item.nodeid} must name a neighbour: pytest.mark.long('test_x').")
