"""Mutation testing by hand-picked mutants: small mistakes in the mathematics that the tests must notice.

    python tests/tools/mutants.py                     # all mutants, at most an hour on two cores
    python tests/tools/mutants.py iwae_log_k m2_alpha # these alone
    python tests/tools/mutants.py --tree ../other     # of another checkout
    python tests/tools/mutants.py --list              # where each of them stands; no test is run
    python tests/tools/mutants.py --again             # also those that were tried on the same code before

Each mutant of `mutants_table.py` and of `mutants_of_kinds.py` is one change of one line. Changes are made one
at a time, in a temporary copy of the checkout, and the few tests that should notice are run there. They are
run on the unchanged copy first, since a test that fails anyway proves nothing. Each mutant is then

- caught: a test failed;
- SURVIVED: all of its tests passed, so that nothing would notice this mistake;
- equivalent: not tried, since it changes no number; the table has the reason;
- not applicable: the text was not found exactly once, its tests are gone, or fail without the change.

A run that was interrupted goes on where it was: the verdicts on this very code and these tests are kept in
`.mutants_cache`, and are not found again but with `--again`.

A mutant names the definition that it changes and its tests by their names, never by their files, so the table
outlives a move of code to other files. The exit code is 1 if any mutant survived or could not be applied.
"""

import argparse
import ast
import contextlib
import hashlib
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from mutants_of_kinds import KINDS
from mutants_table import MUTANTS as ROOMS
from mutants_table import Mutant

MUTANTS = [*ROOMS, *KINDS]
COPIED = ("probvae", "tests", "bin", "docs", "README.md", "pyproject.toml", "setup.cfg")
OUTCOMES = ("caught", "equivalent", "SURVIVED", "not applicable")
COPIES = 2  # copies of the checkout, each with one mutant at a time
TIMEOUT = 600  # seconds for the tests of one mutant
BROKEN = re.compile(
    r"\b(NameError|ImportError|ModuleNotFoundError|SyntaxError): .*"
)  # no mistake in mathematics
FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


class Inapplicable(Exception):  # noqa: N818
    """Raised where a mutant does not fit the checkout, or its tests say nothing."""


class Place(NamedTuple):
    """Where a mutant changes the code: a file below the checkout, a span of its text, the new text."""

    path: Path
    start: int
    stop: int
    new: str = ""


class Verdict(NamedTuple):
    """The outcome of a mutant, one of `OUTCOMES`, and the test or the reason."""

    outcome: str
    reason: str


# ---- the checkout --------------------------------------------------------------------------------


def definitions(node: ast.AST, outer: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """Yield classes, functions and registries of a module with their qualified names: "Chain._log_prob"."""
    for child in ast.iter_child_nodes(node):
        name = outer
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{outer}.{child.name}" if outer else child.name
            yield name, child
        elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name) and not outer:
            yield child.target.id, child
        yield from definitions(child, name)


def pattern_of(text: str) -> re.Pattern[str]:
    """Return a pattern of the text, cut into lines anywhere."""
    return re.compile(r"\s+".join(map(re.escape, text.split())))


class Checkout:
    """The definitions and the tests of a checkout, found by name.

    Args:
      root: the folder that holds `probvae` and `tests`.
    """

    def __init__(self, root: Path) -> None:
        self.texts: dict[Path, str] = {}
        self.spans: list[tuple[str, Place]] = []
        for path in sorted(root.glob("probvae/**/*.py")):
            text, place = path.read_text(), path.relative_to(root)
            starts = [0, *(match.end() for match in re.finditer("\n", text)), len(text)]
            self.texts[place] = text
            for name, node in definitions(ast.parse(text)):
                span = Place(place, starts[node.lineno - 1], starts[node.end_lineno or node.lineno])
                self.spans.append((name, span))
        self.tests: dict[str, list[str]] = {}
        for path in sorted(root.glob("tests/**/test_*.py")):
            for name, _ in definitions(ast.parse(path.read_text())):
                address = f"{path.relative_to(root)}::{name.replace('.', '::')}"
                self.tests.setdefault(name.rpartition(".")[2], []).append(address)

    def place(self, mutant: Mutant) -> Place:
        """Return the one place where a mutant's text stands; blanks and line ends count the same."""
        names = (mutant.definition,) if isinstance(mutant.definition, str) else mutant.definition
        olds, news = ((text,) if isinstance(text, str) else text for text in (mutant.old, mutant.new))
        spans = [span for name, span in self.spans if any(f".{name}".endswith(f".{n}") for n in names)]
        if not spans:
            raise Inapplicable(f"there is no {' or '.join(names)}")
        places = {
            Place(span.path, *match.span(), new)
            for old, new in zip(olds, news, strict=True)
            for span in spans
            for match in pattern_of(old).finditer(self.texts[span.path], span.start, span.stop)
        }
        if len(places) != 1:
            raise Inapplicable(f"{mutant.old!r} stands {len(places)} times in {' or '.join(names)}, not once")
        return places.pop()

    def mutated(self, place: Place) -> str:
        """Return the whole file with the change made."""
        text = self.texts[place.path]
        text = text[: place.start] + place.new + text[place.stop :]
        try:
            ast.parse(text)
        except SyntaxError as error:
            raise Inapplicable(f"{place.new!r} is no Python there: {error.msg}") from None
        return text

    def addresses(self, mutant: Mutant) -> list[str]:
        """Return what pytest calls a mutant's tests; a name in several files stands for all of them.

        Tests that the checkout lacks, as one from before they were written does, are left out.
        """
        addresses: list[str] = []
        for test in mutant.tests:
            name, bracket, case = test.partition("[")
            addresses += [f"{address}{bracket}{case}" for address in self.tests.get(name, ())]
        if not addresses:
            raise Inapplicable(f"there is no {' and no '.join(mutant.tests)}")
        return addresses


# ---- tests ---------------------------------------------------------------------------------------


def run_tests(copy: Path, addresses: Sequence[str], *options: str, slow: bool = False) -> tuple[int, str]:
    """Run tests of a copy in a process of their own; return the exit status of pytest and its output."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", *options]
    command += ["-m", ""] if slow else []  # the marker filter of pyproject.toml leaves slow tests out
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",  # no file that was compiled before the next change
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    try:
        done = subprocess.run(
            [*command, *addresses], cwd=copy, env=environment, capture_output=True, text=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        raise Inapplicable(f"its tests ran past {TIMEOUT} s") from None
    return done.returncode, done.stdout + done.stderr


def failing(copy: Path, addresses: Sequence[str], slow: bool) -> set[str]:
    """Return which tests fail, or cannot be run, without any change."""
    if not addresses:
        return set()
    status, output = run_tests(copy, addresses, slow=slow)
    if status not in (0, 1):
        sys.exit(f"The tests cannot be run (pytest ended with {status}):\n{output[-3000:]}")
    return set(FAILED.findall(output)) if status else set()


def try_mutant(checkout: Checkout, mutant: Mutant, copy: Path, red: set[str]) -> Verdict:
    """Make the change in the copy, run the tests that should notice, and take the change back."""
    try:
        place = checkout.place(mutant)
        text = checkout.mutated(place)
        if mutant.equivalent:
            return Verdict("equivalent", mutant.equivalent)
        addresses = checkout.addresses(mutant)
        bad = [
            test
            for test in sorted(red)
            if any(f"{test}[".startswith(f"{a}[") or test == a for a in addresses)
        ]
        if bad:
            raise Inapplicable(f"{bad[0]} fails without the change")
        (copy / place.path).write_text(text)
        try:
            status, output = run_tests(copy, addresses, "-x", slow=mutant.slow)
        finally:
            (copy / place.path).write_text(checkout.texts[place.path])
        broken = BROKEN.search(output)
        if status not in (0, 1) or broken:
            raise Inapplicable(broken.group() if broken else f"pytest ended with {status}")
    except Inapplicable as error:
        return Verdict("not applicable", str(error))
    if not status:
        return Verdict("SURVIVED", ", ".join(mutant.tests))
    return Verdict("caught", FAILED.findall(output)[0].rpartition("::")[2])


# ---- verdicts that are kept ----------------------------------------------------------------------


class Kept:
    """Verdicts on mutants of one state of the code and its tests, kept in a file line by line.

    Args:
      root: the folder that holds `probvae` and `tests`.
    """

    def __init__(self, root: Path) -> None:
        digest = hashlib.sha256()
        for path in sorted(path for name in ("probvae", "tests") for path in (root / name).rglob("*.py")):
            if "tools" not in path.parts:
                digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
        self._path = root / ".mutants_cache" / f"{digest.hexdigest()[:16]}.jsonl"

    def read(self) -> dict[str, Verdict]:
        """Return the verdicts by the text of the mutant; a line that was cut off is left out."""
        verdicts = {}
        for line in self._path.read_text().splitlines() if self._path.exists() else ():
            with contextlib.suppress(ValueError):
                mutant, outcome, reason = json.loads(line)
                verdicts[mutant] = Verdict(outcome, reason)
        return verdicts

    def add(self, mutant: Mutant, verdict: Verdict) -> None:
        """Keep a verdict; whether a mutant can be applied may depend on more than the code, such as time."""
        if verdict.outcome == "not applicable":
            return
        self._path.parent.mkdir(exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps([repr(mutant), *verdict]) + "\n")


# ---- the command ---------------------------------------------------------------------------------


def try_all(root: Path, checkout: Checkout, chosen: Sequence[Mutant], kept: Kept) -> dict[str, Verdict]:
    """Try mutants, two at a time, each in its own copy of the checkout; print what becomes of them."""
    wanted: dict[bool, set[str]] = {False: set(), True: set()}  # quick tests, slow tests
    for mutant in chosen:
        with contextlib.suppress(Inapplicable):  # which `try_mutant` will tell
            wanted[mutant.slow].update(checkout.addresses(mutant))
    verdicts: dict[str, Verdict] = {}
    with tempfile.TemporaryDirectory(prefix="mutants_") as folder, ThreadPoolExecutor(COPIES) as pool:
        copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for i in range(COPIES):
            copies.put(copied(root, Path(folder, str(i))))

        def in_a_copy(function: Callable[[Path], Any]) -> Any:
            copy = copies.get()
            try:
                return function(copy)
            finally:
                copies.put(copy)

        parts = [(sorted(wanted[slow])[i::COPIES], slow) for slow in wanted for i in range(COPIES)]
        red = set().union(*pool.map(lambda part: in_a_copy(lambda copy: failing(copy, *part)), parts))
        print(f"The tests without a change: {len(red)} fail.", flush=True)
        tried = pool.map(lambda m: in_a_copy(lambda copy: try_mutant(checkout, m, copy, red)), chosen)
        for mutant, verdict in zip(chosen, tried, strict=True):
            verdicts[mutant.name] = verdict
            kept.add(mutant, verdict)
            print(f"{verdict.outcome:14}  {mutant.name}: {verdict.reason}", flush=True)
    return verdicts


def copied(root: Path, folder: Path) -> Path:
    """Copy what the tests need of a checkout into a new folder."""
    folder.mkdir()
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (root / name).exists():
            shutil.copy2(root / name, folder / name)
    return folder


def list_mutants(checkout: Checkout, chosen: Sequence[Mutant]) -> int:
    """Print where each mutant stands and which tests should notice it; return how many do not fit."""
    misfits = 0
    for mutant in chosen:
        try:
            place = checkout.place(mutant)
            checkout.mutated(place)
            noticed = mutant.equivalent or ", ".join(mutant.tests) * bool(checkout.addresses(mutant))
            line = checkout.texts[place.path].count("\n", 0, place.start) + 1
            print(f"{mutant.name}: {place.path}:{line}; {noticed}")
        except Inapplicable as error:
            misfits += 1
            print(f"{mutant.name}: not applicable, {error}")
    return misfits


def by_file(checkout: Checkout, verdicts: dict[str, Verdict]) -> Iterator[str]:
    """Yield the lines of a table of the outcomes by the file that is changed."""
    counts: dict[str, list[int]] = {}
    for mutant in MUTANTS:
        with contextlib.suppress(Inapplicable, KeyError):
            outcome, path = verdicts[mutant.name].outcome, str(checkout.place(mutant).path)
            counts.setdefault(path, [0] * len(OUTCOMES))[OUTCOMES.index(outcome)] += 1
    yield f"| file | {' | '.join(OUTCOMES)} |"
    yield f"|---|{'---:|' * len(OUTCOMES)}"
    for path, numbers in sorted(counts.items()):
        yield f"| `{path}` | {' | '.join(map(str, numbers))} |"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Make small mistakes one by one; do the tests notice?")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of mutants; all of them by default")
    parser.add_argument(
        "--tree", type=Path, default=Path(__file__).parents[2], help="checkout to try them on"
    )
    parser.add_argument("--list", action="store_true", help="print where each mutant stands, and run no test")
    parser.add_argument("--again", action="store_true", help="try mutants that were tried on this code, too")
    options = parser.parse_args()
    unknown = set(options.names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}; --list names them")
    chosen = [mutant for mutant in MUTANTS if not options.names or mutant.name in options.names]
    root = options.tree.resolve()
    checkout = Checkout(root)
    if options.list:
        return 1 if list_mutants(checkout, chosen) else 0
    start = time.perf_counter()
    kept = Kept(root)
    before = {} if options.again else kept.read()
    known = {mutant.name: before[repr(mutant)] for mutant in chosen if repr(mutant) in before}
    if known:
        print(f"{len(known)} verdicts on this code are known; --again finds them again.", flush=True)
    left = [mutant for mutant in chosen if mutant.name not in known]
    verdicts = known | (try_all(root, checkout, left, kept) if left else {})
    outcomes = [verdict.outcome for verdict in verdicts.values()]
    print("", *by_file(checkout, verdicts), sep="\n")
    counts = ", ".join(f"{outcomes.count(o)} {o}" for o in OUTCOMES)
    print(f"\n{len(outcomes)} mutants: {counts}; {(time.perf_counter() - start) / 60:.1f} minutes")
    for name, verdict in verdicts.items():
        if verdict.outcome not in OUTCOMES[:2]:
            print(f"{verdict.outcome:14}  {name}: {verdict.reason}")
    return int(any(outcome not in OUTCOMES[:2] for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
