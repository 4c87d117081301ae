"""Spoils valid files in thousands of ways and loads them: each must be taken, or refused in one line.

    python tests/tools/fuzz.py --cases 5000 --seed 0
    python tests/tools/fuzz.py --commands --cases 1000     # commands, on spoiled runs and with odd options

prints a Markdown table and exits with 1 where a loader did anything else: raised another error, warned, took
more than `SECONDS` or `MEMORY`, ran code from a file, or ended the process. Each loader runs in a process of
its own.
"""

import argparse
import json
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import fuzz_commands
import fuzz_loaders
from fuzz_loaders import Loader, Trap

SECONDS = 10  # a case may take
MEMORY = 1000  # MB that it may take beyond what the process had
ADDRESSES = 8 * 2**30  # bytes that a process may map beyond what it has at the start
FATAL = "Fatal Python error"  # how faulthandler begins
SHOWN = 3  # crashes that are printed
LOADERS = {**fuzz_loaders.LOADERS, **fuzz_commands.LOADERS}


class TookTooLong(BaseException):
    """No `Exception`, so that no loader can take it for a damaged file."""


class Result(NamedTuple):
    """What came of the cases of a loader; `slowest` in seconds, `memory` in MB, `messages` of crashes."""

    cases: int
    accepted: int
    refused: int
    slowest: float
    memory: float
    messages: list[str]


# ---- cases ---------------------------------------------------------------------------------------


def attempt(load: Callable[[], object]) -> str | None:
    """Load a file; return None where it is taken, "" where it is refused in one line, else what is wrong."""
    from probvae.errors import LONGEST, InputError

    Trap.sprung = False
    wrong: str | None = None
    try:
        with _time_limit(), warnings.catch_warnings():
            warnings.simplefilter("error")
            load()
    except InputError as error:
        text = str(error)
        wrong = ""
        if not text.isprintable() or not 0 < len(text) <= LONGEST or "larger than the memory" in text:
            wrong = f"the message {text!r}"
    except TookTooLong:
        wrong = f"more than {SECONDS} s"
    except (Exception, SystemExit) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        wrong = f"{type(error).__name__}: {str(error)[:200]!r} at {Path(place.filename).name}:{place.lineno}"
    return "code of the file was run" if Trap.sprung else wrong


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def mutate(loader: Loader, seeds: list[bytes], rng: random.Random) -> bytes:
    """Spoil one of the valid files, mostly in one way."""
    content = rng.choice(seeds)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        content = rng.choice(loader.mutators)(content, rng)
    return content


def run(
    loader: Loader, cases: int, seed: int, folder: Path, on_case: Callable[[int], object] = lambda case: None
) -> Result:
    """Run cases of a loader; case i depends on the seed and i alone. `on_case` hears of each before it."""
    import probvae.data.loading
    import probvae.models.saving  # noqa: F401  # here, where their warnings do not count

    seeds = loader.seeds()
    path = folder / loader.name
    for content in seeds:  # valid files warm everything up; what they take does not count
        path.write_bytes(content)
        attempt(lambda: loader.load(path, random.Random(0)))
    accepted = refused = 0
    slowest = memory = 0.0
    messages = []
    for case in range(cases):
        rng = random.Random(f"{seed}/{loader.name}/{case}")
        on_case(case)
        path.write_bytes(mutate(loader, seeds, rng))
        before, started = _start_peak(), time.perf_counter()
        wrong = attempt(lambda rng=rng: loader.load(path, rng))  # type: ignore[misc]
        slowest, taken = max(slowest, time.perf_counter() - started), _peak() - before
        memory = max(memory, taken)
        if not wrong and taken > MEMORY:
            wrong = f"{taken:,.0f} MB"
        accepted, refused = accepted + (wrong is None), refused + (wrong == "")
        if wrong:
            messages.append(f"case {case} of seed {seed}: {wrong}")
    return Result(cases, accepted, refused, slowest, memory, messages)


def _start_peak() -> float:
    """Let the peak of this process's memory begin anew where Linux allows it; return the memory, in MB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _peak()
    return _peak()


def _peak() -> float:
    try:
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1e3  # type: ignore[index]
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


# ---- the command ---------------------------------------------------------------------------------


def in_this_process(name: str, cases: int, seed: int) -> Result:
    """Run a loader under a bound on memory."""
    loader = LOADERS[name]
    with tempfile.TemporaryDirectory() as folder:
        loader.seeds()  # imports what it needs
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + ADDRESSES, resource.RLIM_INFINITY))
        told = partial(print, flush=True)  # for whoever reads it if the process ends there
        return run(loader, max(1, int(cases * loader.share)), seed, Path(folder), told)


def in_a_process(name: str, cases: int, seed: int) -> Result:
    command = [sys.executable, "-X", "faulthandler", __file__, "--only", name, "--json"]
    done = subprocess.run(
        [*command, "--cases", str(cases), "--seed", str(seed)], capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    if lines and lines[-1].startswith("["):
        return Result(*json.loads(lines[-1]))
    case = int(lines[-1]) if lines else 0
    why = " ".join(done.stderr[max(0, done.stderr.find(FATAL)) :].split())[:500]
    return Result(
        case + 1, 0, 0, 0, 0, [f"case {case} of seed {seed}: the process ended with {done.returncode}: {why}"]
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Load spoiled files.")
    parser.add_argument("--cases", type=int, default=1000, help="of each loader [1000]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=LOADERS, metavar="LOADER", help=", ".join(LOADERS))
    parser.add_argument("--json", action="store_true", help="print the result of --only as JSON")
    parser.add_argument("--commands", action="store_true", help="commands, on spoiled runs and odd options")
    chosen = parser.parse_args()
    if chosen.json:
        print(json.dumps(in_this_process(chosen.only, chosen.cases, chosen.seed)))
        return
    print("| loader | cases | taken | refused in one line | crashes | slowest (s) | extra memory (MB) |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    crashes: list[str] = []
    default = fuzz_commands.LOADERS if chosen.commands else fuzz_loaders.LOADERS
    for name in [chosen.only] if chosen.only else default:
        r = in_a_process(name, chosen.cases, chosen.seed)
        crashes += [f"{name}: {message}" for message in r.messages]
        row = (
            f"{r.cases:,}",
            f"{r.accepted:,}",
            f"{r.refused:,}",
            len(r.messages),
            f"{r.slowest:.2f}",
            f"{r.memory:.0f}",
        )
        print("|", " | ".join(map(str, (name, *row))), "|", flush=True)
    for message in crashes[:SHOWN] if len(crashes) > 20 else crashes:
        print(message, file=sys.stderr)
    sys.exit(bool(crashes))


if __name__ == "__main__":
    main()
