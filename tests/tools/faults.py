"""Faults in real trainings, and what came of them: `python tests/tools/faults.py --kills 60 --seed 0`.

Every training is a process of its own that runs `probvae-train`'s command on images and a model so small that
it takes seconds and writes all the time. What is counted as lost are steps that had been taken and are taken
again. At the end a run must equal one that was never disturbed, bit for bit. Prints a Markdown table; exit
code 1 where anything else happened. Disk faults need the right to mount (root).
"""

import contextlib
import csv
import io
import json
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from PIL import Image

import probvae.runs.training  # noqa: F401 - before processes are forked, not in each of them
from probvae.cli.train import main as train
from probvae.runs import checkpoints as run_state
from probvae.runs.checkpoints import DAMAGED
from probvae.training.trainer import Trainer

STEPS = 10  # between two checkpoints
OPTIONS = ["--filters", "2,3", "--batch-size", "16", "--epochs", "5", "--checkpoint-every", str(STEPS)]


class Wrong(AssertionError):  # noqa: N818
    """Something happened that must not."""


class Line(NamedTuple):
    """A line of the table: fault, times injected, what happened, most steps lost."""

    fault: str
    times: int
    happened: str
    lost: str


def require(condition: Any, message: str) -> None:
    """Raise `Wrong` unless the condition holds."""
    if not condition:
        raise Wrong(message)


class Bench:
    """A place for runs, their data, and a run that was never disturbed."""

    def __init__(self, place: Path, seed: int) -> None:
        self.place, self.rng = place, np.random.default_rng(seed)
        self.counter = mmap.mmap(-1, 8)  # steps taken, shared with the processes that train
        self.data = place / "images.npy"
        images = np.random.default_rng(0).integers(0, 256, [4000, 8, 8]).astype(np.uint8)
        np.save(self.data, images)
        self.reference = place / "reference"
        start = time.time()
        code, output = self.run(self.fresh(self.reference))
        require(code == 0, output)
        self.seconds = time.time() - start

    def fresh(self, folder: Path, data: Path | None = None) -> list[str]:
        """Return the arguments of a new run."""
        return ["--data", str(data or self.data), "--output", str(folder), *OPTIONS]

    def resumed(self, folder: Path, *more: str) -> list[str]:
        """Return the arguments that go on with a run, or begin it."""
        if not (folder / "config.json").exists():
            return self.fresh(folder)
        return ["--resume", str(folder), "--checkpoint-every", str(STEPS), *more]

    def start(self, arguments: list[str], before: Callable[[], Any] = lambda: None) -> int:
        """Start the command in a process of its own; return its number."""
        self.counter[:8] = bytes(8)
        sys.stdout.flush()
        child = os.fork()
        if child:
            return child
        code = 70
        try:
            handle = os.open(self.place / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            self._count_steps()
            before()
            train(arguments, prog_name="probvae-train")
        except KeyboardInterrupt:
            code = 1  # before the command has begun
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            sys.stdout.flush()
            os._exit(code)

    def _count_steps(self) -> None:
        pieces = Trainer._pieces

        def counted(trainer: Trainer, every: Any) -> Iterator[int]:
            for images in pieces(trainer, every):
                self.counter[:8] = struct.pack("q", int(trainer.optimizer.iterations))
                yield images

        Trainer._pieces = counted  # type: ignore[method-assign]

    def wait(self, process: int, seconds: float = 300) -> tuple[int, str]:
        """Return exit code (minus the signal that ended it) and output."""
        deadline = time.time() + seconds
        while time.time() < deadline:
            done, status = os.waitpid(process, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status), (self.place / "output.txt").read_text()
            time.sleep(0.01)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        raise Wrong(f"A process hung for {seconds} s.")

    def run(self, arguments: list[str], before: Callable[[], Any] = lambda: None) -> tuple[int, str]:
        """Run the command to its end."""
        return self.wait(self.start(arguments, before))

    @property
    def steps(self) -> int:
        """Steps that the process had taken."""
        return int(struct.unpack("q", self.counter[:8])[0])

    def lost(self, folder: Path) -> int:
        """Return how many of them the last good checkpoint does not hold."""
        return max(0, self.steps - last_step(folder))

    def require_same(self, folder: Path) -> None:
        """Require that a finished run equals the undisturbed one, to the last bit of every number."""
        for name in (f"checkpoints/{last_file(folder).name}", "weights.npz"):
            a, b = arrays(folder / name), arrays(self.reference / name)
            require(a.keys() == b.keys(), f"{name} holds other arrays")
            for key in a:
                require(np.array_equal(a[key], b[key]), f"{name}: {key} differs")
        require(history(folder) == history(self.reference), "the history differs")
        pictures = [
            {p.name: p.read_bytes() for p in (f / "images").iterdir()} for f in (folder, self.reference)
        ]
        require(pictures[0].keys() == pictures[1].keys(), "there are other pictures")
        differ = [name for name in pictures[0] if pictures[0][name] != pictures[1][name]]
        require(not differ, f"pictures differ: {differ}")


# ---- what a folder must always be ----------------------------------------------------------------


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of weights.npz or of a checkpoint, which must be whole."""
    if path.suffix == ".state":
        run_state._verified(path)
    with zipfile.ZipFile(path) as archive, contextlib.ExitStack() as stack:
        names = archive.namelist()
        return {name: np.load(io.BytesIO(stack.enter_context(archive.open(name)).read())) for name in names}


def history(folder: Path) -> list[dict[str, str]]:
    """Return the rows of history.csv without the times."""
    rows = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, the last one last."""
    return sorted((folder / "checkpoints").glob("step-*.state"))


def last_file(folder: Path) -> Path:
    """Return the last checkpoint."""
    return checkpoints(folder)[-1]


def last_step(folder: Path) -> int:
    """Return the step of the last checkpoint, 0 without one."""
    found = checkpoints(folder)
    return int(found[-1].stem.removeprefix("step-")) if found else 0


def require_whole(folder: Path) -> None:
    """Require that every file of a run folder is whole, whatever interrupted the run."""
    for path in folder.rglob("*"):
        if not path.is_file() or path.name.startswith("."):
            continue
        try:
            if path.suffix in (".npz", ".state"):
                arrays(path)
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".csv":
                require(all(None not in row.values() for row in history(folder)), "a row is short")
            elif path.suffix in (".png", ".gif"):
                with Image.open(path) as image:
                    image.load()
        except Exception as error:
            raise Wrong(f"{path} is damaged: {error!r}") from None


# ---- the faults ----------------------------------------------------------------------------------


def kills(bench: Bench, times: int, number: int, name: str) -> Line:
    """Interrupt runs at random moments until so many have been interrupted; each goes on to its end."""
    injected, lost, runs, before_start = 0, 0, 0, 0
    codes: set[int] = set()
    while injected < times:
        folder = bench.place / f"{name}-{runs}"
        runs += 1
        finished = False
        while not finished:
            process = bench.start(bench.resumed(folder))
            if injected < times:
                time.sleep(bench.rng.uniform(0, 1.05 * bench.seconds))
                os.kill(process, number)
            code, output = bench.wait(process)
            finished = code == 0
            if not finished:
                injected += 1
                codes.add(code)
                require("Traceback" not in output, output)
                allowed = (-number,) if number == signal.SIGKILL else (-number, 128 + number, 1)
                require(code in allowed, f"exit code {code}: {output}")
                if folder.exists():
                    require_whole(folder)
                    lost = max(lost, bench.lost(folder))
                before_start += last_step(folder) == 0 if folder.exists() else 1
                if code == 128 + number:
                    require(bench.lost(folder) == 0, "a run that could save lost steps")
        bench.require_same(folder)
        shutil.rmtree(folder)
    require(lost <= STEPS, f"{lost} steps lost")
    happened = (
        f"{runs} runs went on to their end by --resume, equal to the undisturbed run bit for bit; "
        f"{before_start} interruptions came before the first checkpoint; exit codes "
        f"{', '.join(str(c) for c in sorted(codes))}"
    )
    return Line(f"{name} at a random moment", injected, happened, f"{lost} steps (of at most {STEPS})")


def stopped_run(bench: Bench, name: str) -> Path:
    """Return a run that was killed when it had two checkpoints or more."""
    folder = bench.place / name
    process = bench.start(bench.fresh(folder))
    deadline = time.time() + 180
    while len(checkpoints(folder)) < 2 or last_step(folder) < 300:
        require(time.time() < deadline, "no checkpoints came")
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    bench.wait(process)
    return folder


def damage(bench: Bench, times: int) -> Line:
    """Truncate, flip and zero the last checkpoint."""
    kept = stopped_run(bench, "damage-kept")
    hurts: dict[str, Callable[[bytes], bytes]] = {
        "truncated": lambda c: c[: int(bench.rng.integers(len(c)))],
        "a bit flipped": lambda c: flipped(c, int(bench.rng.integers(len(c)))),
        "a block of zeros": lambda c: zeroed(c, int(bench.rng.integers(len(c)))),
    }
    lost = 0
    for i in range(times):
        folder = bench.place / "damage"
        shutil.copytree(kept, folder)
        path, step = last_file(folder), last_step(folder)
        path.write_bytes(list(hurts.values())[i % 3](path.read_bytes()))
        before = checkpoints(folder)[-2]
        code, output = bench.run(bench.resumed(folder))
        require(code == 0 and "is damaged" in output and "Traceback" not in output, output)
        require(path.with_name(path.name + DAMAGED).exists(), "it was not set aside")
        lost = max(lost, step - int(before.stem.removeprefix("step-")))
        path.with_name(path.name + DAMAGED).unlink()
        bench.require_same(folder)
        shutil.rmtree(folder)
    happened = "noticed, set aside with a warning, the one before it used; equal to the undisturbed run"
    return Line(f"last checkpoint {', '.join(hurts)}", times, happened, f"{lost} steps (one checkpoint)")


def flipped(content: bytes, place: int) -> bytes:
    """Flip a bit."""
    return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]


def zeroed(content: bytes, place: int) -> bytes:
    """Zero up to 512 bytes, and one that was not zero at least."""
    block = bytes(len(content[place : place + 512]))
    changed = content[:place] + block + content[place + 512 :]
    return changed if changed != content else flipped(content, place)


@contextlib.contextmanager
def small_disk(bench: Bench, size: str) -> Iterator[Path]:
    """Mount a small file system."""
    place = bench.place / "disk"
    place.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True, stderr=subprocess.DEVNULL
    )
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def may_mount(bench: Bench) -> bool:
    """Whether this user may mount file systems."""
    try:
        with small_disk(bench, "1m"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def disk_full(bench: Bench, times: int) -> Line:
    """Fill the disk while a run writes; make room, and go on."""
    lost = 0
    for _ in range(times):
        with small_disk(bench, "8m") as disk:
            folder = disk / "run"
            process = bench.start(bench.fresh(folder))
            wait_for_step(folder, int(bench.rng.integers(50, 900)))
            with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
                while filler.write(bytes(4096)):
                    pass
            code, output = bench.wait(process)
            require(code == 2 and "No space left" in output and "--resume" in output, output)
            require("Traceback" not in output, output)
            require_whole(folder)
            lost = max(lost, bench.lost(folder))
            (disk / "filler").unlink()
            code, output = bench.run(bench.resumed(folder))
            require(code == 0, output)
            bench.require_same(folder)
    require(lost <= STEPS, f"{lost} steps lost")
    happened = "one line with what to do, exit code 2, no half-written file; went on once there was room"
    return Line("disk full", times, happened, f"{lost} steps")


def read_only(bench: Bench, times: int) -> Line:
    """Mount the run folder read-only over itself while a run writes."""
    lost = 0
    for _ in range(times):
        folder = bench.place / "read-only"
        process = bench.start(bench.fresh(folder))
        wait_for_step(folder, int(bench.rng.integers(50, 900)))
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        try:
            code, output = bench.wait(process)
            require(code == 2 and "Read-only" in output and "Traceback" not in output, output)
            require_whole(folder)
            lost = max(lost, bench.lost(folder))
            code, output = bench.run(bench.resumed(folder))
            require(code == 2 and "cannot be used: Read-only" in output, output)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)
        code, output = bench.run(bench.resumed(folder))
        require(code == 0, output)
        bench.require_same(folder)
        shutil.rmtree(folder)
    require(lost <= STEPS, f"{lost} steps lost")
    happened = "one line with what to do, exit code 2; went on once it could be written again"
    return Line("run folder turned read-only", times, happened, f"{lost} steps")


def wait_for_step(folder: Path, step: int) -> None:
    """Wait until a run has a checkpoint of that step or a later one."""
    deadline = time.time() + 180
    while last_step(folder) < step:
        require(time.time() < deadline, "no checkpoint came")
        time.sleep(0.002)


def vanished_data(bench: Bench, times: int) -> Line:
    """Remove the data under a run that reads them, and before one goes on."""
    lost = 0
    for i in range(times):
        data, folder = bench.place / f"vanishing-{i}.npy", bench.place / "vanished"
        shutil.copy(bench.data, data)
        process = bench.start(bench.fresh(folder, data))
        wait_for_step(folder, 200)
        data.unlink()
        os.kill(process, signal.SIGTERM)
        code, output = bench.wait(process)
        require(code in (143, 0), output)  # 0: it was at its end already
        lost = max(lost, bench.lost(folder))
        code, output = bench.run(bench.resumed(folder))
        require(code == 2 and "There is no file" in output and "Traceback" not in output, output)
        code, output = bench.run(bench.resumed(folder, "--data", str(bench.data)))
        require(code == 0, output)
        bench.require_same(folder)
        other = bench.place / "other.npy"
        np.save(other, np.load(bench.data)[::-1])
        code, output = bench.run(bench.resumed(folder, "--data", str(other), "--epochs", "6"))
        require(code == 2 and "are not those that the run" in output, output)
        shutil.rmtree(folder)
    happened = (
        "a run that has begun goes on; --resume names the missing file in one line, goes on with --data, and "
        "refuses other data"
    )
    return Line("data file removed", times, happened, f"{lost} steps")


def two_processes(bench: Bench, times: int) -> Line:
    """Start a second process on a run folder; leave a lock behind."""
    for _ in range(times):
        folder = bench.place / "locked"
        process = bench.start(bench.fresh(folder))
        wait_for_step(folder, 100)
        os.kill(process, signal.SIGSTOP)
        for arguments in (bench.resumed(folder), [*bench.fresh(folder), "--overwrite"]):
            code, output = bench.run(arguments)
            require(code == 2 and f"in use by process {process}" in output, output)
        os.kill(process, signal.SIGKILL)
        bench.wait(process)
        require((folder / ".lock").exists(), "the killed process left no lock file")
        code, output = bench.run(bench.resumed(folder))
        require(code == 0, output)
        bench.require_same(folder)
        shutil.rmtree(folder)
    happened = "the second was refused, exit code 2; the lock of a killed process did not count"
    return Line("two processes on one folder; stale lock", times, happened, "nothing")


def not_finite(bench: Bench, times: int) -> Line:
    """Go on with a learning rate that spoils the weights, and then with a sound one."""
    options = ["--likelihood", "normal", "--binarize", "none"]
    for i in range(times):
        folder = bench.place / "nan"
        code, output = bench.run([*bench.fresh(folder), *options, "--epochs", "1"])
        require(code == 0, output)
        rate = ["--learning-rate", "10" if i % 2 else "3", "--epochs", "5"]
        code, output = bench.run(bench.resumed(folder, *rate))
        require(code == 2 and "not finite" in output and "go on by" in output, output)
        require("Traceback" not in output, output)
        require_whole(folder)
        weights = arrays(folder / "weights.npz")
        require(all(np.isfinite(w).all() for w in weights.values()), "weights that are not finite were kept")
        code, output = bench.run(bench.resumed(folder, "--learning-rate", "1e-4", "--clip-norm", "10"))
        require(code == 0 and "nan" not in history(folder)[-1].values(), output)
        shutil.rmtree(folder)
    happened = (
        "one line names step, term and examples, exit code 2; the weights before the spoilt ones kept; went "
        "on with a smaller rate to the end"
    )
    return Line("objective not finite (learning rate 3 or 10)", times, happened, f"up to {STEPS} steps")


FAULTS: dict[str, Callable[[Bench, int], Line]] = {
    "SIGKILL": lambda bench, n: kills(bench, n, signal.SIGKILL, "SIGKILL"),
    "SIGTERM": lambda bench, n: kills(bench, max(1, n // 3), signal.SIGTERM, "SIGTERM"),
    "SIGINT": lambda bench, n: kills(bench, max(1, n // 3), signal.SIGINT, "SIGINT"),
    "damage": lambda bench, n: damage(bench, max(3, n // 5)),
    "disk": lambda bench, n: disk_full(bench, max(1, n // 12)),
    "read-only": lambda bench, n: read_only(bench, max(1, n // 12)),
    "data": lambda bench, n: vanished_data(bench, max(1, n // 20)),
    "lock": lambda bench, n: two_processes(bench, max(1, n // 20)),
    "not finite": lambda bench, n: not_finite(bench, max(1, n // 20)),
}


@click.command()
@click.option("--kills", "times", default=60, help="Random moments of SIGKILL; other faults in proportion.")
@click.option("--seed", default=0)
@click.option("--only", type=click.Choice(tuple(FAULTS)), multiple=True)
def main(times: int, seed: int, only: tuple[str, ...]) -> None:
    """Inject faults into real trainings; print what came of them as a Markdown table."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may have switched off
    print("| fault | injected | what happened | lost |\n|---|---|---|---|", flush=True)
    failed = False
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place), seed)
        for name in only or FAULTS:
            if name in ("disk", "read-only") and not may_mount(bench):
                print(f"| {name} | 0 | not tried: it needs the right to mount | |")
                continue
            try:
                line = FAULTS[name](bench, times)
                print(f"| {line.fault} | {line.times} | {line.happened} | {line.lost} |", flush=True)
            except Wrong as error:
                failed = True
                print(f"| {name} | | **WRONG**: {' '.join(str(error).split())[:600]} | |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
