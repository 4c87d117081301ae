"""Processes that train one model together, as TF_CONFIG describes them before TensorFlow reads it."""

import contextlib
import dataclasses
import socket
import time
from typing import Any

from probvae.errors import InputError
from probvae.files import strict_json

STRATEGY_NAMES = ("none", "mirrored", "multi_worker")
VARIABLE = "TF_CONFIG"  # name of the environment variable
EXAMPLE = '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}'
WORKER_LOST_EXIT_CODE = 75  # exit code after the loss of another process: EX_TEMPFAIL, try again


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Processes that train together, and the index of this process."""

    workers: tuple[str, ...]  # address host:port of each process
    index: int  # index of this process; 0 is the chief, which writes the files of the run


class WorkerLostError(RuntimeError):
    """Another training process ended or cannot be reached."""

    def __init__(self) -> None:
        super().__init__(
            "a worker is lost: it has ended, or its machine or the network between has failed. The run is "
            "safe up to its last checkpoint: go on with --resume on all workers."
        )


def parse(text: str | None) -> Cluster:
    """Parse the value of TF_CONFIG; a missing or malformed one is refused.

    >>> parse('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}')
    Cluster(workers=('a:1', 'b:1'), index=1)
    """
    if not text:
        raise InputError(
            f"--strategy multi_worker needs {VARIABLE} on every worker: set it to, say, {EXAMPLE}."
        )
    config = strict_json.parse(text, VARIABLE, levels=4)
    workers = _part(config, "cluster", dict).get("worker")
    task = _part(config, "task", dict)
    if set(config["cluster"]) != {"worker"} or not _is_addresses(workers):
        raise InputError(
            f"{VARIABLE} must have one list of different host:port as cluster.worker, and no other jobs: "
            f"write it as {EXAMPLE}."
        )
    index = task.get("index")
    if task.get("type") != "worker" or type(index) is not int or not 0 <= index < len(workers):
        raise InputError(
            f'{VARIABLE} must have the task {{"type": "worker", "index": I}} with I from 0 to '
            f"{len(workers) - 1}; got type {task.get('type')!r}, index {index!r}: give each worker its own I."
        )
    return Cluster(tuple(workers), index)


def wait_for_all(cluster: Cluster, *, pause: float = 0.5) -> None:
    """Wait until every other process listens; Ctrl-C and SIGTERM end this wait, but not that of TensorFlow.

    This process listens on its own port, which must be free, until TensorFlow takes it; there are `pause`
    seconds between two attempts to connect.
    """
    host, port = _address(cluster.workers[cluster.index])
    left = {worker for i, worker in enumerate(cluster.workers) if i != cluster.index}
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            own.bind(("", port))
        except OSError as error:
            reason = (error.strerror or "failed").lower()
            raise InputError(
                f"Worker {cluster.index} cannot listen on its port {port}: {reason}. Name a free one in "
                f"{VARIABLE}."
            ) from None
        own.listen(len(cluster.workers) + 8)
        while left := {worker for worker in left if not _listens(worker)}:
            time.sleep(pause)


def _listens(worker: str) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(_address(worker), timeout=5):
        return True
    return False


def _address(worker: str) -> tuple[str, int]:
    host, _, port = worker.rpartition(":")
    return host.strip("[]"), int(port)


def _part(value: Any, name: str, kind: type) -> Any:
    part = value.get(name) if isinstance(value, dict) else None
    if not isinstance(part, kind):
        raise InputError(f"{VARIABLE} must be an object with cluster and task: write it as {EXAMPLE}.")
    return part


def _is_addresses(workers: Any) -> bool:
    if not isinstance(workers, list) or not workers or not all(isinstance(w, str) for w in workers):
        return False
    parts = [w.rpartition(":") for w in workers]
    good = all(host and port.isdigit() and 0 < int(port) < 65536 for host, _, port in parts)
    return good and len(set(workers)) == len(workers)
