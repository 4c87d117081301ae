"""Crashes at every point of writing a checkpoint; the fault table's command on a few faults (slow)."""

import mmap
import os
import signal
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from probvae.errors import InputError
from probvae.files import writing
from probvae.runs import checkpoints
from probvae.runs.checkpoints import Origin, load_state, save_state
from probvae.runs.folder import LOCK, locked, prepare_folder, remove_unfinished
from probvae.training.state import State

EVENTS = ("fsync", "replace", "chmod", "fdopen", "open", "close")  # functions of os that a writing calls


def state(step):
    """A state whose every number is its step."""
    return State(
        weights=[np.full([3, 2], step, np.float32)], optimizer=[np.int64(step) + np.zeros([], np.int64)]
    )


def crash(folder, counter, write_atomic):
    """Save states 1 to 5 in a process that kills itself at the n-th event; return how many it saved."""
    saved = mmap.mmap(-1, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: the child needs none
        child = os.fork()
    if not child:
        left = [counter]

        def count():
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        class CountedOs:
            def __getattr__(self, name):
                function = getattr(os, name)
                if name not in EVENTS:
                    return function

                def counted(*args, **kwargs):
                    count()
                    result = function(*args, **kwargs)
                    count()
                    return Half(result) if name == "fdopen" else result

                return counted

        class Half:
            """A file of which every writing is interrupted in the middle."""

            def __init__(self, file):
                self.file = file

            def __enter__(self):
                return self

            def __exit__(self, *exception):
                self.file.close()

            def write(self, content):
                self.file.write(content[: len(content) // 2])
                self.file.flush()
                count()
                self.file.write(content[len(content) // 2 :])

            def __getattr__(self, name):
                return getattr(self.file, name)

        try:
            writing.os = CountedOs()
            checkpoints.write_atomic = write_atomic
            for step in range(1, 6):
                save_state(folder, state(step), Origin("f"))
                saved[:8] = struct.pack("q", step)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return struct.unpack("q", saved[:8])[0]


def straight(path, write):
    """The wrong variant: write into the file itself."""
    with writing.os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
        write(file)


def points(folder, write_atomic, keep):
    """Crash at point after point until a process comes through; return those at which something is wrong."""
    wrong = []
    for point in range(1, 1000):
        place = folder / str(point)
        place.mkdir(parents=True)
        saved = crash(place, point, write_atomic)
        names = sorted(path.name for path in (place / "checkpoints").glob("step-*"))
        try:
            found = load_state(place, state(0))
        except (InputError, UserWarning):
            found = None
            wrong.append((point, names))
        else:
            step = found[0].step if found else 0
            if step < saved or step > saved + 1 or len(names) > keep + 1:
                wrong.append((point, names))
        remove_unfinished(place)
        if saved == 5:
            return point - 1, wrong
    raise AssertionError("no process came through")


@pytest.mark.slow
def test_a_crash_at_any_point_of_writing_loses_nothing_that_was_saved(tmp_path):
    """At every call that writes, and in the middle of every writing; no file is ever half there."""
    crashes, wrong = points(tmp_path, writing.write_atomic, checkpoints.KEPT)
    assert wrong == []
    assert crashes > 60


@pytest.mark.slow
def test_writing_into_the_file_itself_would_be_noticed(tmp_path):
    """The power of the test above."""
    _, wrong = points(tmp_path, straight, checkpoints.KEPT)
    assert len(wrong) >= 5


# ---- the folder ----------------------------------------------------------------------------------


def test_a_second_process_is_refused_and_a_stale_lock_is_none(tmp_path):
    folder = tmp_path / "run"
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom probvae.runs.folder import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('locked', flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match=f"run is in use by process {other.pid} on"), locked(folder):
            pass
        other.kill()
    assert (folder / LOCK).exists()
    with locked(folder):
        assert (folder / LOCK).read_text().startswith(f"process {os.getpid()} on ")
    assert not folder.exists() or not (folder / LOCK).exists()


def test_what_a_run_that_came_to_nothing_leaves_is_no_run(tmp_path):
    for name in ("images", "checkpoints"):
        (tmp_path / name).mkdir()
    (tmp_path / ".lock").touch()
    (tmp_path / ".config.json.x8.tmp").touch()
    prepare_folder(tmp_path)
    assert not (tmp_path / ".config.json.x8.tmp").exists()
    (tmp_path / "checkpoints" / "step-000000001.state").touch()
    with pytest.raises(InputError, match="exists already"):
        prepare_folder(tmp_path)


@pytest.mark.slow
@pytest.mark.processes
def test_the_fault_table():
    """The command of docs/reliability.md, with a few of each fault."""
    command = [sys.executable, str(Path(__file__).parents[1] / "tools" / "faults.py"), "--kills", "8"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("\n| ") >= 8 and "WRONG" not in done.stdout
