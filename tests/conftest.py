"""Tiny models and images that the tests share."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import probvae
from probvae.environment import cores

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # where a shell runs the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the processes that tests start shall hear it

# Each worker has its share of the cores, and so has a process that a test starts.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, cores() // WORKERS)))
tf.zeros([])  # starts the devices: no command that a test runs in this process shall set its threads

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


@pytest.fixture(params=["diagonal", "tril"])
def vae(request):
    return tiny_vae(request.param)


@pytest.fixture
def x():
    """Five binary images of 8x8."""
    return tf.constant(np.random.default_rng(7).integers(0, 2, [5, 8, 8, 1]), tf.float32)


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


# Cases of parametrized tests that take long and whose neighbours test the same quickly.
SLOW = (
    "test_the_same_gradient_eager_compiled_and_in_a_compiled_loop[iaf-dreg]",
    "test_path_log_prob_is_log_prob_with_the_gradient_of_z_alone[spline]",
    "test_a_fit_follows_its_seed_and_leaves_the_model_alone[flow]",
    "test_a_sampler_comes_close_to_the_aggregate_posterior[flow]",
    "test_colour_images_through_convolutions[logistic_mixture]",
    "test_weights_are_unbiased[prior]",
    "test_weights_are_unbiased[posterior]",
    "test_reverse_weights_are_unbiased[prior]",
    "test_convolutional_model_against_quadrature[prior]",
    "test_exact_evaluation_agrees_with_importance_sampling[von_mises_fisher-uniform_sphere]",
    "test_exact_evaluation_agrees_with_importance_sampling[diagonal-spline]",
    "test_exact_evaluation_agrees_with_importance_sampling[diagonal-maf]",
    "test_exact_evaluation_agrees_with_importance_sampling[diagonal-realnvp]",
    "test_exact_evaluation_agrees_with_importance_sampling[spline-standard_normal]",
    "test_exact_evaluation_agrees_with_importance_sampling[mixture-standard_normal]",
    "test_code_in_documents_runs[docs/tutorial.md]",
    "test_code_in_documents_runs[docs/export.md]",
    "test_code_in_documents_runs[docs/guide.md]",
    "test_every_stage_of_classes",
    "test_in_a_pipeline_and_a_grid_search",
    "test_a_warm_start_goes_on",
    "test_a_crash_at_any_point_of_writing_loses_nothing_that_was_saved",
    "test_a_signal_ends_the_run_and_keeps_what_was_learnt[15]",
    "test_an_existing_run_is_overwritten_only_when_asked",
    "test_more_latent_dimensions_and_comparison",
    "test_bdmc_progress_and_stop",
    "test_blocks_progress_and_seed",
    "test_reverse_weights_are_unbiased[posterior]",
    "test_resumed_is_uninterrupted[best on a validation set]",
    "test_fit_repeats_from_one_seed",
    "test_a_conditional_model_encodes_each_example_under_its_class",
    "test_quadrature_and_hmc_take_joined_examples",
    "test_an_example_runs[anomaly_detection]",
    "test_an_example_runs[colour_images]",
    "test_an_example_runs[imputation]",
)
LONG = (  # slow, and left to hand, so that CI ends within 25 minutes
    "test_pictures_can_be_drawn_anew[scaling.py]",
    "test_pictures_can_be_drawn_anew[concepts.py]",
    "test_it_learns_by_gradients[spline]",
    "test_quadrature_agrees_with_importance_sampling[3-vamp]",
    "test_it_learns_by_gradients[maf]",
    "test_it_learns_by_gradients[realnvp]",
    "test_quadrature_agrees_with_importance_sampling[2-vamp]",
    "test_quadrature_agrees_with_importance_sampling[3-uniform_sphere]",
    "test_annealing_and_its_bracket_on_the_sphere",
    "test_path_log_prob_is_log_prob_with_the_gradient_of_z_alone[iaf]",
    "test_a_sampler_stands_in_place_of_the_prior[flow]",
    "test_an_example_runs[conditional_generation]",
    "test_onnx_computes_what_the_model_does[spline0]",
    "test_resumed_is_uninterrupted[VampPrior]",
    "test_code_in_documents_runs[docs/extending.md]",
    "test_an_example_runs[mixed_table]",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.name in (*SLOW, *LONG):
            item.add_marker(pytest.mark.slow)
        if item.name in LONG:
            item.add_marker(pytest.mark.long)
