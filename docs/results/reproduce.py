"""Derive numbers of docs/results.md and of README again, and compare them with the record.

    python docs/results/reproduce.py --list
    python docs/results/reproduce.py perceptron-elbo --mnist mnist.npz
    python docs/results/reproduce.py --quick

The command trains the model of each name, evaluates it and compares every measure with the record. On a
machine of the same description, the same seed must give the same digits. Elsewhere the difference must be at
most 4 sqrt(s² + draws²), where s is the deviation over seeds, pooled over the rows of a kind, and draws the
Monte Carlo error. The error over images is printed, but not used, as the test images are the same. A training
that was interrupted, by Ctrl-C for example, goes on when the command is given again.
"""

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parent))

import pages
import record
from entries import ENTRIES, Entry, kin
from measures import Measure, read_evaluation

from probvae.cli.start import make_strategy

PARTS = 2  # parts of a batch, as in all entries, which threads process in parallel


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*ENTRIES]), metavar="[NAME]...")
@click.option("--list", "lists", is_flag=True, help="List the names with their seeds and minutes.")
@click.option("--quick", is_flag=True, help="Make a small version of the entries, of all without a NAME.")
@click.option(
    "--seed", "seeds", type=int, multiple=True, help="Seed to train with; repeatable. [all of the entry]"
)
@click.option("--mnist", metavar="PATH", help="mnist.npz, instead of a download.")
@click.option("--adult", metavar="PATH", help="adult.csv, for the model of this table.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("runs/results"),
    metavar="FOLDER",
    help="Folder of the runs. [runs/results]",
)
@click.option(
    "--write", is_flag=True, help="Write the results into the record, and the tables into the pages."
)
def main(
    names: tuple[str, ...],
    lists: bool,
    quick: bool,
    seeds: tuple[int, ...],
    mnist: str | None,
    adult: str | None,
    output: Path,
    write: bool,
) -> None:
    """Train, evaluate and compare the results of docs/results.md."""
    path = record.QUICK if quick else record.PATH
    if lists:
        for line in listed(record.read(path)):
            click.echo(line)
        return
    if not names and not quick and not write:
        raise click.UsageError("Give the NAME of an entry, or --list, --quick or --write.")
    make_strategy("none", None, None, PARTS)  # one setting of threads, whichever program comes first
    failed = []
    for name in names or (ENTRIES if quick else ()):
        entry = ENTRIES[name]
        for seed in seeds or (entry.seeds[:1] if quick else entry.seeds):
            places = {"mnist": mnist, "adult.csv": adult}
            run = made(entry, seed, output / f"{name}-{seed}", quick=quick, places=places)
            for line, fails in compared(name, seed, run, record.read(path)):
                click.echo(line)
                failed += [name] if fails else []
            if write:
                record.add(path, name, seed, run)
    if write and not quick:
        pages.write(record.read(path))
    if failed:
        raise SystemExit(f"not as recorded: {', '.join(dict.fromkeys(failed))}")


def listed(recorded: record.Record) -> Iterator[str]:
    """Yield a line for each entry: its name, seeds, and recorded minutes and machines."""
    for name, entry in ENTRIES.items():
        runs = recorded.get(name, {})
        minutes = ", ".join(f"{run['minutes']:.0f} min" for run in runs.values())
        where = "; ".join(dict.fromkeys(run["machine"] for run in runs.values()))
        yield f"{name}: {len(runs)} of {len(entry.seeds)} seeds recorded"
        yield f"    {entry.program} {entry.train}"
        if runs:
            yield f"    {minutes}; {where}"


def made(
    entry: Entry, seed: int, folder: Path, *, quick: bool, places: dict[str, str | None]
) -> dict[str, Any]:
    """Return the measures of an entry, its minutes of training and its machine, made unless this is done.

    What has been asked for, and the result, stand in a file beside the folder of the run. So a training goes
    on where it has stopped, and a folder of other options is refused.
    """
    words = shlex.split(f"{entry.train} {entry.quick}" if quick else entry.train)
    words = [places.get(word) or word for word in words]
    options = [f"{text} {entry.quick_evaluate}" if quick else text for text in entry.evaluate]
    asked = {"train": words, "evaluate": options, "seed": seed}
    path = folder.with_name(f"{folder.name}.json")
    known = json.loads(path.read_text()) if path.exists() else None
    foreign = folder.exists() if known is None else known["asked"] != asked
    if foreign:
        raise SystemExit(f"{folder} has a run with other options: move it away, or choose another --output")
    if known is None or known["result"] is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"asked": asked, "result": None}))
        result = {**measured(entry, words, options, seed, folder), "machine": record.machine()}
        known = {"asked": asked, "result": result}
        path.write_text(json.dumps(known))
    return known["result"]


def measured(entry: Entry, words: list[str], options: list[str], seed: int, folder: Path) -> dict[str, Any]:
    """Train and evaluate a model, and return its measures and the minutes of its training."""
    if entry.made is not None:
        return entry.made(words, seed, folder)
    train(words, seed, folder)
    evaluations = []
    for i, text in enumerate(options):
        target = folder / f"evaluation-{i}"
        evaluate(folder, shlex.split(text), target)
        evaluations.append(read_evaluation(target))
    seconds = json.loads((folder / "metrics.json").read_text())["training_seconds"]
    return {
        "measures": {key: list(value) for key, value in entry.measure(evaluations).items()},
        "minutes": round(seconds / 60, 1),
    }


def train(words: list[str], seed: int, folder: Path) -> None:
    """Train a run, or go on with it where it has stopped."""
    from probvae.cli import train as command

    metrics = folder / "metrics.json"
    if metrics.exists() and not json.loads(metrics.read_text())["interrupted"]:
        return
    if (folder / "config.json").exists():
        arguments = ["--resume", str(folder)]
    else:
        arguments = [*words, "--seed", str(seed), "--output", str(folder)]
    click.echo(f"probvae-train {shlex.join(arguments)}")
    command.main.main([*arguments, "--quiet"], standalone_mode=False)
    if not metrics.exists() or json.loads(metrics.read_text())["interrupted"]:
        raise SystemExit("interrupted: the same command goes on with the training")


def evaluate(folder: Path, options: list[str], target: Path) -> None:
    """Evaluate a run, unless this is done."""
    from probvae.cli import evaluate as command

    if (target / "metrics.json").exists():
        return
    arguments = [str(folder), *options, "--output", str(target), "--quiet"]
    click.echo(f"probvae-evaluate {shlex.join(arguments)}")
    command.main.main(arguments, standalone_mode=False)


def compared(
    name: str, seed: int, run: dict[str, Any], recorded: record.Record
) -> Iterator[tuple[str, bool]]:
    """Yield a line for each measure, and whether it fails."""
    before = recorded.get(name, {}).get(str(seed), {})
    same_machine = before.get("machine") == run["machine"]
    for key, numbers in run["measures"].items():
        measure = Measure(*numbers)
        old = Measure(*before["measures"][key]) if same_machine and key in before["measures"] else None
        usual = record.expected(recorded, name, key, kin(name))
        verdict = record.compare(measure, old, usual)
        errors = f"± {measure.images:.2g} images ± {measure.draws:.2g} draws"
        yield f"{name}, seed {seed}, {key}: {measure.value:.6g} {errors}: {verdict.text}", verdict.fails


if __name__ == "__main__":
    main()
