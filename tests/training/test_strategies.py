"""Training on replicas: the mathematics on virtual devices, and real processes that lose one of them.

What virtual devices compute comes from replicas.py, in a process of its own.
"""

import contextlib
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from replicas import MUTANTS, X

from probvae.cli.train import main
from probvae.config.choices import OBJECTIVES
from probvae.config.training import Training
from probvae.errors import InputError
from probvae.training import cluster, strategies

ROOT = Path(__file__).parents[2]
FLOAT32 = 3e-6  # weights of about 1, after six steps
SIGMAS = 5.0  # of a normal number, two-sided: 6e-7
CALM = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return computed("quick", tmp_path_factory.mktemp("replicas"))


@pytest.fixture(scope="module")
def more(tmp_path_factory):
    return computed("slow", tmp_path_factory.mktemp("replicas"))


def computed(parts, folder):
    path = folder / "found.npz"
    command = [sys.executable, str(ROOT / "tests/helpers/replicas.py"), str(path), parts]
    done = subprocess.run(command, env=CALM, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(path) as file:
        return dict(file)


# ---- the mathematics -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("replicas", "clip"), [(2, 0), (3, 0), (2, 1)])
def test_replicas_give_the_weights_of_one_device(found, replicas, clip):
    """43 examples in batches of 8: neither divides by 3, and the last batch has 3."""
    one, more = found[f"weights/1/{clip}"], found[f"weights/{replicas}/{clip}"]
    np.testing.assert_allclose(more, one, atol=FLOAT32)
    np.testing.assert_allclose(found[f"tally/{replicas}/{clip}"], found[f"tally/1/{clip}"], rtol=1e-6)


@pytest.mark.slow
def test_data_that_are_read_chunk_by_chunk_are_the_same(found):
    np.testing.assert_array_equal(found["streamed"], found["weights/2/0"])


@pytest.mark.slow
def test_a_batch_of_one_leaves_replicas_idle(found):
    np.testing.assert_allclose(found["one left/3"], found["one left/1"], atol=FLOAT32)


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_variants_are_caught(more, name):
    np.testing.assert_allclose(more["few/2"], more["few/1"], atol=FLOAT32)
    assert np.abs(more[f"mutant/{name}"] - more["few/1"]).max() > 1000 * FLOAT32


@pytest.mark.slow
def test_the_mean_of_the_elbo_is_that_of_one_device(more):
    """43,000 draws each at fixed weights; 1e-6 of all seeds would fail."""
    error = np.sqrt(2 * more["noise"] / more["examples"])
    assert error < 0.05
    assert abs(more["mean/1"] - more["mean/2"]) < SIGMAS * error
    assert more["mean/1"] != more["mean/2"]


@pytest.mark.slow
def test_replicas_draw_noise_of_their_own(found):
    """Two replicas, the same two examples: other draws, which are those that `step_inputs` tells of."""
    first, second = found["noise/parts"]
    assert np.all(first != second)
    assert found["noise/total"] == pytest.approx(found["noise/parts"].sum(), rel=1e-6)


@pytest.mark.slow
def test_a_replica_that_is_not_finite_stops_all_and_the_example_is_named(found):
    assert "for 1 of 8 examples of the batch (training example 17)" in str(found["error"])
    assert found["finite"] and found["skipping/finite"]
    _, examples, skipped, in_a_row, _ = found["skipping/tally"]
    assert (examples, skipped, in_a_row) == (32, 1, 0)


@pytest.mark.slow
def test_resumed_on_replicas_is_uninterrupted(more):
    np.testing.assert_array_equal(more["resumed"], more["whole"])


@pytest.mark.slow
def test_layers_in_training_are_right_on_replicas(found):
    """Moving statistics are means over the halves of the batch, losses of activities those of the whole."""
    halves = X[:4], X[4:8]
    mean, variance = (
        np.mean([f(half) for half in halves], 0) for f in (partial(np.mean, axis=0), partial(np.var, axis=0))
    )
    np.testing.assert_allclose(found["moving/mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(found["moving/variance"], 0.9 + 0.1 * variance, rtol=1e-5)
    assert np.abs(variance - X[:8].var(0)).max() > 1e-2  # those of the whole batch would show
    np.testing.assert_allclose(found["activity/2"], found["activity/1"], atol=FLOAT32)
    assert np.abs(found["activity/1"] - found["no activity/1"]).max() > 1000 * FLOAT32
    np.testing.assert_array_equal(found["turns/1"], found["turns/2"])


@pytest.mark.slow
def test_keras_fit_on_replicas_gives_the_weights_of_one_device(found):
    np.testing.assert_allclose(found["keras/3"], found["keras/1"], atol=FLOAT32)


@pytest.mark.slow
def test_layers_in_training_resume_on_replicas(more):
    np.testing.assert_array_equal(more["own/rest"], more["own/whole"])
    np.testing.assert_array_equal(more["own state/rest"], more["own state/whole"])
    assert more["own/copies are equal"] and np.any(more["own/whole"] != more["own state/whole"])


@pytest.mark.slow
def test_importance_on_replicas_equals_that_on_one_device(found):
    fields = [name.removeprefix("bounds/one/") for name in found if name.startswith("bounds/one/")]
    assert {"bound", "curve", "elbo"} <= set(fields)
    for field in fields:
        one, three = found[f"bounds/one/{field}"], found[f"bounds/three/{field}"]
        np.testing.assert_array_equal(three, one)
        if field != "num_samples":
            np.testing.assert_array_equal(found[f"bounds/stopped/{field}"], one[..., :750])


# ---- what is refused -----------------------------------------------------------------------------


def test_names_agree():
    assert tuple(strategies.STRATEGIES) == cluster.STRATEGY_NAMES


@pytest.mark.slow
def test_what_cannot_be_shared_out_is_refused(found):
    assert "looks at a batch as a whole" in str(found["refused/objective"])
    assert "batch of 1 examples cannot be shared out over 2 replicas" in str(found["refused/batch"])
    for objective in (name for name, entry in OBJECTIVES.items() if entry.whole_batch):
        training = Training(objective=objective)
        strategies.refuse_unless_shared(training, 1)
        with pytest.raises(InputError, match="as a whole"):
            strategies.refuse_unless_shared(training, 2)


GOOD = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "needs TF_CONFIG on every worker"),
        ("", "needs TF_CONFIG on every worker"),
        ("{", "TF_CONFIG must hold JSON"),
        ("[]", "must be an object with cluster and task"),
        ('{"cluster": 3, "task": {}}', "must be an object with cluster and task"),
        (json.dumps({**GOOD, "cluster": {"worker": []}}), "one list of different host:port"),
        (json.dumps({**GOOD, "cluster": {"worker": ["a:1", "a:1"]}}), "one list of different host:port"),
        (json.dumps({**GOOD, "cluster": {"worker": ["a", "b"]}}), "one list of different host:port"),
        (json.dumps({**GOOD, "cluster": {"worker": ["a:1", "b:0"]}}), "one list of different host:port"),
        (json.dumps({**GOOD, "cluster": {"chief": ["c:1"], "worker": ["a:1"]}}), "no other jobs"),
        (json.dumps({**GOOD, "task": {"type": "chief", "index": 0}}), "got type 'chief', index 0"),
        (json.dumps({**GOOD, "task": {"type": "worker", "index": 2}}), "I from 0 to 1"),
        (json.dumps({**GOOD, "task": {"type": "worker", "index": True}}), "I from 0 to 1"),
    ],
)
def test_a_bad_cluster_is_one_line(text, message, monkeypatch):
    monkeypatch.delenv(cluster.VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(cluster.VARIABLE, text)
    done = CliRunner().invoke(main, ["--strategy", "multi_worker", "--output", "never"])
    assert done.exit_code == 2
    assert message in done.stderr and len(done.stderr.splitlines()) == 1 and not done.stdout
    assert not Path("never").exists()


def test_workers_need_the_name_of_the_folder_that_they_share():
    done = CliRunner().invoke(main, ["--strategy", "multi_worker"])
    assert done.exit_code == 2 and "add --output" in done.stderr


def test_a_cluster_is_read(monkeypatch):
    assert cluster.parse(json.dumps(GOOD)) == cluster.Cluster(("a:1", "b:2"), 1)


# ---- real processes ------------------------------------------------------------------------------

OPTIONS = ["--filters", "3,4", "--batch-size", "16", "--epochs", "6", "--seed", "3"]
THREADS = ["--threads", "1", "--inter-threads", "1"]  # another number of threads rounds otherwise
OPTIONS += ["--checkpoint-every", "2", *THREADS]
PATIENCE = 240  # seconds for a whole run; a few on a machine of its own
IN_TIME = 60  # seconds, in which the others notice that a worker is lost
MIRRORED = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[1]))
from probvae.cli.train import main
main(["--strategy", "mirrored", *sys.argv[2:]])
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """90 images: 6 steps an epoch, the last of 10 examples."""
    rng = np.random.default_rng(0)
    x = (rng.random([90, 8, 9]) < np.linspace(0, 1, 9)).astype(np.uint8) * 255
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    np.savez(path, x_train=x, x_test=x[:20])
    return path


def free_ports(number):
    with contextlib.ExitStack() as open_:
        sockets = [open_.enter_context(socket.socket()) for _ in range(number)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


@contextlib.contextmanager
def workers(number, *arguments, each=None):
    """Start worker processes, with arguments of their own in `each`; end those that are left."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(number)]
    running = []
    for index in range(number):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        command = [sys.executable, "-m", "probvae.cli.train", "--strategy", "multi_worker"]
        command += map(str, (*arguments, *(each[index] if each else ())))
        running.append(
            subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": str(ROOT), cluster.VARIABLE: json.dumps(config)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.communicate()


def results(running, seconds=PATIENCE):
    """Exit codes, outputs and errors of processes."""
    found = []
    for process in running:
        out, err = process.communicate(timeout=seconds)
        found.append((process.returncode, out, err))
    return zip(*found, strict=True)


def wait_for_epochs(folder, number):
    path, start = folder / "history.csv", time.monotonic()
    while not path.exists() or len(path.read_text().splitlines()) <= number:
        assert time.monotonic() - start < PATIENCE
        time.sleep(0.05)


def weights(folder):
    with np.load(folder / "weights.npz") as file:
        return np.concatenate([file[name].ravel() for name in sorted(file.files)])


def history(folder):
    rows = csv.DictReader((folder / "history.csv").read_text().splitlines())
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def mirrored_run(replicas, images, folder):
    command = [sys.executable, "-c", MIRRORED, str(replicas), "--data", images, "--output", folder, *OPTIONS]
    done = subprocess.run(list(map(str, command)), env=CALM, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.processes
def test_two_workers_stopped_by_one_of_them_and_resumed_are_two_replicas(images, tmp_path):
    """SIGTERM at worker 1 stops both; after --resume the weights are those of one process, bit for bit."""
    mirrored_run(2, images, tmp_path / "mirrored")
    folder = tmp_path / "workers"
    with workers(2, "--data", images, "--output", folder, *OPTIONS) as running:
        wait_for_epochs(folder, 2)
        running[1].send_signal(signal.SIGTERM)
        codes, out, _ = results(running)
    assert codes == (143, 143)
    assert out[0].splitlines()[-2].startswith("stopped early") and not out[1]
    assert json.loads((folder / "metrics.json").read_text())["interrupted"] is True
    with workers(2, "--resume", folder, *THREADS) as running:
        codes, out, err = results(running)
    assert codes == (0, 0), err
    assert out[0].splitlines()[-1].startswith("done: test ELBO") and not out[1] and not err[1]
    assert err[0].splitlines() == [err[0].strip()] and err[0].startswith("waiting for 2 workers: 127.0.0.1:")
    np.testing.assert_array_equal(weights(folder), weights(tmp_path / "mirrored"))
    assert history(folder) == history(tmp_path / "mirrored")


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("victim", [0, 2])
def test_a_killed_worker_ends_all_and_resume_goes_on(victim, uninterrupted, images, tmp_path):
    folder = tmp_path / "killed"
    with workers(3, "--data", images, "--output", folder, *OPTIONS) as running:
        wait_for_epochs(folder, 2)
        running[victim].kill()
        start = time.monotonic()
        codes, _, err = results(running, IN_TIME)
        assert time.monotonic() - start < IN_TIME
    for index in {0, 1, 2} - {victim}:
        assert codes[index] == cluster.WORKER_LOST_EXIT_CODE
        lines = [line for line in err[index].splitlines() if not line.startswith("waiting for")]
        assert len(lines) == 1 and "a worker is lost" in lines[0] and "--resume on all workers" in lines[0]
    assert not (folder / "metrics.json").exists()
    with workers(3, "--resume", folder, *THREADS) as running:
        codes, _, err = results(running)
    assert codes == (0, 0, 0), err
    np.testing.assert_array_equal(weights(folder), weights(uninterrupted))
    assert history(folder) == history(uninterrupted)


@pytest.fixture(scope="module")
def uninterrupted(images, tmp_path_factory):
    """Three workers that nothing happens to; only the first of them prints."""
    folder = tmp_path_factory.mktemp("three") / "run"
    with workers(3, "--data", images, "--output", folder, *OPTIONS) as running:
        codes, out, err = results(running)
    assert codes == (0, 0, 0), err
    assert out[0].count("/6 ") == 6 and not (out[1] or out[2] or err[1] or err[2])
    assert not list(folder.rglob("*.tmp")) and not (folder / ".lock").exists()
    return folder


@pytest.mark.slow
@pytest.mark.processes
def test_three_workers_are_three_replicas_to_rounding(uninterrupted, images, tmp_path):
    mirrored_run(3, images, tmp_path / "mirrored")
    np.testing.assert_allclose(weights(uninterrupted), weights(tmp_path / "mirrored"), atol=1e-5)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("case", ["other data", "no data"])
def test_what_one_worker_refuses_ends_all(case, images, tmp_path):
    """Each would otherwise wait for the other for ever."""
    theirs = tmp_path / "images.npz"
    if case == "other data":
        with np.load(images) as file:
            np.savez(theirs, x_train=255 - file["x_train"], x_test=file["x_test"])
    folder, each = tmp_path / "run", (["--data", images], ["--data", theirs])
    with workers(2, "--output", folder, *OPTIONS, each=each) as running:
        codes, _, err = results(running)
    assert codes == (2, 2), err
    if case == "other data":
        assert all("The workers differ in their data" in text for text in err)
    else:
        assert "Worker 1 cannot train: fix its error" in err[0] and "images.npz" in err[1]
    assert not folder.exists()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_waits_for_others_can_be_ended(sent, images, tmp_path):
    with workers(2, "--data", images, "--output", tmp_path / "run", *OPTIONS) as running:
        running[1].kill()
        assert running[0].stderr.readline().startswith("waiting for 2 workers")
        time.sleep(1)
        assert running[0].poll() is None
        running[0].send_signal(sent)
        assert running[0].wait(20) != 0
    assert not (tmp_path / "run").exists()


def test_workers_wait_until_the_last_one_listens():
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(3))
    clusters = [cluster.Cluster(addresses, i) for i in range(3)]
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(cluster.wait_for_all, c, pause=0.05) for c in clusters[:2]]
        time.sleep(0.5)
        assert not any(w.done() for w in waiting)
        with listening(addresses[2]):  # as TensorFlow does in the end
            for w in waiting:
                w.result(10)


def test_a_port_that_is_taken_is_one_line():
    (port,) = free_ports(1)
    with listening(f"127.0.0.1:{port}"), pytest.raises(InputError, match=f"its port {port}: .* in use"):
        cluster.wait_for_all(cluster.Cluster((f"127.0.0.1:{port}",), 0))


def listening(address):
    return socket.create_server(("", int(address.split(":")[1])))
