"""The benchmark: its arithmetic, its contestants, its report; a real comparison (slow)."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from tensorflow_probability import distributions as tfd

from benchmark import cases, table
from benchmark import run as benchmark_run
from benchmark.cases import FULL, MATRIX, NOT_COMPARED, QUICK, STARTS, Case
from benchmark.command import main
from benchmark.compare import Timing, compare, ratio
from benchmark.contestants import decoder as decoder_contestant
from benchmark.contestants import keras as keras_contestant
from benchmark.contestants import probvae as our_contestant
from benchmark.contestants import reach, startup, tutorial
from probvae.config.architecture import Architecture
from probvae.models import building

IMAGES = np.random.default_rng(0).integers(0, 2, [300, 28, 28, 1]).astype(np.uint8)


def multiplications(model):
    """Of a Keras model, an example: counted from its layers' weights and sizes."""
    total = 0
    for layer in model.layers:
        if not layer.weights:
            continue
        kernel = layer.weights[0].shape
        shape = layer.input_shape if "Transpose" in type(layer).__name__ else layer.output_shape
        places = int(np.prod(shape[1:-1])) if len(shape) == 4 else 1
        total += places * int(np.prod(kernel))
    return total


@pytest.mark.parametrize(
    "case", [Case(), Case(filters=(8, 12)), Case(latent=50), Case(latent=7, posterior="tril")]
)
def test_the_arithmetic_is_that_of_the_layers(case):
    encoder, decoder = tutorial.networks(case)
    assert case.encoder_flops == 2 * multiplications(encoder)
    assert case.decoder_flops == 2 * multiplications(decoder)
    first = 2 * 13 * 13 * 9 * case.filters[0]
    assert case.flops == 3 * (case.encoder_flops + case.decoder_flops) - first


def test_the_contestants_have_the_same_weights():
    case = Case(filters=(4, 6), latent=3)
    ours = building.build(Architecture(filters=case.filters, latent_dim=case.latent))
    encoder, decoder = tutorial.networks(case)
    shapes = [tuple(w.shape) for w in [*encoder.weights, *decoder.weights]]
    assert [tuple(w.shape) for w in ours.trainable_weights] == shapes


def test_the_tutorials_bound_is_ours():
    """The same weights, many draws: the means agree within 5 errors (a false alarm in 2 million)."""
    case = Case(filters=(4, 6), latent=3, samples=4000)
    ours = building.build(Architecture(filters=case.filters, latent_dim=case.latent))
    encoder, decoder = tutorial.networks(case)
    rng = np.random.default_rng(1)
    for variable in ours.trainable_variables:
        variable.assign(2 * variable + 0.05 * rng.standard_normal(variable.shape))
    encoder.set_weights(ours.encoder.get_weights())
    decoder.set_weights(ours.decoder.get_weights())
    x = tf.constant(IMAGES[:1], tf.float32)
    theirs = tutorial.log_weights(case, encoder, decoder, x).numpy()[:, 0]
    q = ours.posterior(x)
    z = q.sample(4000, seed=(0, 1))
    mine = (ours.likelihood(z).log_prob(x) + ours.prior.log_prob(z) - q.log_prob(z)).numpy()[:, 0]
    error = math.sqrt((np.var(theirs) + np.var(mine)) / 4000)
    assert abs(np.mean(theirs) - np.mean(mine)) < 5 * error
    log_q = q.log_prob(z).numpy()[:, 0]  # the wrong variant: without log q
    assert abs(np.mean(mine + log_q) - np.mean(theirs)) > 5 * error


def test_a_normal_density():
    z, mean, log_variance = (tf.constant(np.random.default_rng(i).standard_normal([5, 3])) for i in range(3))
    expected = tfd.MultivariateNormalDiag(mean, tf.exp(log_variance / 2)).log_prob(z)
    np.testing.assert_allclose(tutorial.log_normal(z, mean, log_variance), expected, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("case", [Case(), Case(samples=3), Case(latent=4, posterior="tril")])
@pytest.mark.parametrize("contestant", [our_contestant, tutorial, keras_contestant])
def test_contestants_train(contestant, case):
    work = contestant.prepare(case, IMAGES)
    unknown = {tutorial: case.posterior == "tril", keras_contestant: case.samples > 1}
    assert (work is None) == unknown.get(contestant, False)
    if work is not None:
        assert work(3 * case.batch) is None  # the worker takes the time


@pytest.mark.parametrize("task", ["iwae", "encode", "sample"])
def test_contestants_evaluate(task):
    work = our_contestant.prepare(Case(task=task, batch=10, samples=5 if task == "iwae" else 1), IMAGES)
    assert work(20) is None  # the worker takes the time


def test_the_decoder_alone_is_for_importance_sampling():
    case = Case(task="iwae", batch=10, samples=5, filters=(4, 6))
    decoder_contestant.prepare(case, IMAGES)(20)
    assert decoder_contestant.prepare(Case(), IMAGES) is None


@pytest.mark.parametrize("task", STARTS)
def test_starts_are_timed_in_processes_of_their_own(monkeypatch, task):
    """The imports, or what comes after them; a process that fails is an error."""
    monkeypatch.setattr(startup, "CODE", "{imports}; print(3.0, 4.0 + {steps})  # {name}")
    seconds = {"import": 3.0, "first step": 5.0}[task]
    case = Case(task=task)
    assert startup.prepare(case, "probvae", "import json")(2) == 2 * seconds
    with pytest.raises(subprocess.CalledProcessError):
        startup.prepare(case, "probvae", "import no_such_module")(1)
    assert callable(our_contestant.prepare(case, IMAGES)) and callable(tutorial.prepare(case, IMAGES))


@pytest.mark.slow
def test_a_first_step_in_a_process_of_its_own():
    assert startup.prepare(Case(task="first step"), "tutorial", tutorial.IMPORTS)(1) > 0


def test_seconds_to_the_target_leave_evaluations_out(monkeypatch):
    """Building takes 5 seconds, a third of an epoch 10, an evaluation 100; the seeds count up."""
    clock, seeds, seen = [0.0], [], []

    def start(seed):
        clock[0] += 5
        seeds.append(seed)
        elbos = iter([-200.0, math.nan, -160.0, cases.TARGET] if seed < 2 else [-200.0] * 10_000)

        def train(indices):
            clock[0] += 10
            seen.append(indices)

        def elbo():
            clock[0] += 100
            return next(elbos)

        return train, elbo

    monkeypatch.setattr(reach.time, "perf_counter", lambda: clock[0])
    work = reach.prepare(start, np.zeros([60_000 + cases.TEST, 1]), 32)
    assert work(1) == 5 + 4 * 10 and work(1) == 45 and seeds == [0, 1]
    assert all(indices.shape == (625, 32) for indices in seen)
    assert np.array_equal(np.sort(np.concatenate(seen[:3]).ravel()), np.arange(60_000))  # an epoch
    assert not np.array_equal(seen[0], seen[3]) and not np.array_equal(seen[0], seen[4])  # another order
    assert math.isnan(work(1))  # which never gets there, and ends


@pytest.mark.slow
@pytest.mark.parametrize("contestant", [our_contestant, tutorial])
def test_contestants_train_until_the_target(monkeypatch, contestant):
    """From about -543.5 nats, which nothing but training leaves; a target that is out of reach is nan."""
    for module in (reach, our_contestant, tutorial):
        monkeypatch.setattr(module, "TEST", 500)
    monkeypatch.setattr(reach, "CHECK", 320)
    monkeypatch.setattr(reach, "CHECKS", 20)
    monkeypatch.setattr(our_contestant, "EPOCHS", 1000)  # of 12 steps
    images = np.repeat(IMAGES[:1], 900, axis=0)
    case = Case(task="reach", filters=(4, 6))
    monkeypatch.setattr(reach, "TARGET", -543.0)
    assert 0 < contestant.prepare(case, images)(1) < 600
    monkeypatch.setattr(reach, "TARGET", 1.0)
    monkeypatch.setattr(reach, "CHECKS", 2)
    assert math.isnan(contestant.prepare(case, images)(1))


@pytest.mark.parametrize("turns", [0, 2, 4])
def test_a_contestant_that_ends_is_absent_with_its_code(monkeypatch, tmp_path, turns):
    """Before its first turn, in its preparation, or in its last turn."""
    python = tmp_path / "python"
    answers = "".join("read n; echo '{\"seconds\": 1}';" for _ in range(turns))
    python.write_text(f"#!/bin/sh\necho '{{\"ready\": true}}'; {answers} read n; exit 3\n")
    python.chmod(0o755)
    monkeypatch.setattr("benchmark.compare.sys.executable", str(python))
    np.save(tmp_path / "images.npy", IMAGES)
    found = compare(Case(), tmp_path / "images.npy", ["pytorch"], rounds=3)
    assert found == [Timing("pytorch", absent="it ended with code 3")]


# ---- report --------------------------------------------------------------------------------------

TIMINGS = [
    Timing("probvae", (100.0, 120.0, 400.0)),
    Timing("tutorial", (50.0, 40.0, 100.0)),
    Timing("flax", absent="No module named 'flax'"),
    Timing("matmul", (2.0, 2.0, 2.0)),
]


def test_ratios_are_of_neighbouring_turns():
    found = ratio(TIMINGS[0], TIMINGS[1])
    assert (found.low, found.median, found.high) == (2.5, 3.0, 3.5)  # of 2, 3, 4
    assert ratio(TIMINGS[1], TIMINGS[0]).median == pytest.approx(1 / 3)


def test_the_table_and_the_json_say_what_was_measured():
    results = [(Case(), TIMINGS), (Case(batch=128), TIMINGS[:2])]
    lines = table.table(results).splitlines()
    assert "| train, batch 32 | the tutorial's loop | 50 | 3.00 (2.50 to 3.50) | 5% |" in lines
    assert "absent: No module named 'flax'" in lines[4] and len(lines) == 2 + 3 + 2
    assert table.matmul_rate(TIMINGS) == 4 * MATRIX**3 and math.isnan(table.matmul_rate([]))
    found = json.loads(json.dumps(table.as_json(results), allow_nan=False))
    assert found[0]["timings"][1]["examples_per_second"] == [50, 40, 100]
    assert found[1]["matmul_flops_per_second"] is None
    assert len(table.figure(results).axes[0].patches) == 4


def test_starts_are_told_in_seconds_and_what_is_not_compared_is_left_out():
    timings = [Timing("probvae", (0.25, 0.5)), Timing("flax", absent=NOT_COMPARED)]
    results = [(Case(task="import"), timings)]
    assert table.table(results).splitlines()[2:] == ["| import | probvae | 2.7 s |  |  |"]
    assert not table.figure(results).axes[0].patches


def test_every_case_has_a_name_of_its_own():
    names = [case.name for case in (*FULL,)]
    assert len(set(names)) == len(names) and set(QUICK) <= set(FULL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--peers", "theano"], "peers must be of probvae, tutorial"),
        (["--peers", ","], "got ''"),
        (["--case", "1", "--case", "99"], "--case must be from 1 to 2 in the suite quick; got 99"),
        (["--case", "0"], "--case must be from 1"),
        (["--seconds", "nan"], "seconds must be a finite number"),
        (["--data", "absent.npz"], "There is no file"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path):
    result = CliRunner().invoke(main, [*arguments, "--output", str(tmp_path / "out")])
    assert result.exit_code == 2 and message in result.output and len(result.output.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_folder_is_a_command(tmp_path):
    command = [sys.executable, str(Path(__file__).parent), "--help"]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("Usage: python tests/benchmark [OPTIONS]\n")


@pytest.mark.slow
def test_a_real_comparison(tmp_path):
    command = ["--peers", "tutorial", "--case", "1", "--rounds", "2", "--seconds", "0.1"]
    result = CliRunner().invoke(main, [*command, "--output", str(tmp_path)])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "benchmark.json").read_text())
    timings = {t["contestant"]: t for t in found["results"][0]["timings"]}
    assert all(len(timings[name]["examples_per_second"]) == 2 for name in ("probvae", "tutorial", "matmul"))
    assert (tmp_path / "benchmark.png").stat().st_size > 5000
    assert "the tutorial's loop" in (tmp_path / "benchmark.md").read_text()


def test_a_run_that_is_stopped_keeps_the_cases_before(monkeypatch, tmp_path):
    """Interrupted in its second case, it has written the first."""

    def compare(case, images, names, **options):
        if case != QUICK[0]:
            raise KeyboardInterrupt
        return TIMINGS

    monkeypatch.setattr(benchmark_run, "compare", compare)
    result = CliRunner().invoke(main, ["--output", str(tmp_path)])
    assert result.exit_code != 0
    assert len(json.loads((tmp_path / "benchmark.json").read_text())["results"]) == 1
    assert (tmp_path / "benchmark.md").read_text() == table.table([(QUICK[0], TIMINGS)])
    assert (tmp_path / "benchmark.png").stat().st_size > 5000
