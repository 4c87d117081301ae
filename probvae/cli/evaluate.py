"""probvae-evaluate: the evaluation of a trained model, with an error on every number."""

import functools
import signal
from pathlib import Path
from typing import Any

import click

from probvae.cli.command import Command
from probvae.cli.start import (
    AT_LEAST_NONE,
    AT_LEAST_ONE,
    data_option,
    make_strategy,
    quiet_start,
    run_argument,
    seed_option,
    thread_options,
)
from probvae.environment import __version__


def _names(context: click.Context, parameter: click.Parameter, text: str) -> tuple[str, ...]:
    """Return the names in a text with commas, in which hyphens stand for spaces."""
    return tuple(name.strip().replace("-", " ") for name in text.split(",") if name.strip())


@click.command("probvae-evaluate", cls=Command, context_settings={"max_content_width": 100})
@run_argument
@data_option
@click.option("--limit", type=click.IntRange(min=2), metavar="N", help="Use the first N test examples. [all]")
@click.option(
    "--num-samples",
    type=AT_LEAST_ONE,
    default=100,
    metavar="K",
    help="Number of draws of z for each example in the importance-weighted bound. [100]",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=1e-6, max=1),
    default=6e-3,
    metavar="NATS",
    help="Tolerance of exact log p(x), for up to 3 latent dimensions. [0.006]",
)
@click.option(
    "--train-images",
    type=AT_LEAST_NONE,
    default=2000,
    metavar="N",
    help="Number of training examples, chosen at random, to compare with. [2000]",
)
@click.option(
    "--gap-images",
    type=AT_LEAST_NONE,
    default=50,
    metavar="N",
    help="Number of test examples, and of training ones, for which q(z|x) is optimized individually. [50]",
)
@click.option(
    "--ais-images",
    type=AT_LEAST_NONE,
    default=20,
    metavar="N",
    help="Number of test examples for annealed importance sampling, and of simulated ones (20 at most) for "
    "its bracket. [20]",
)
@click.option(
    "--calibrate",
    is_flag=True,
    default=False,
    help="Compare q(z|x) with the posterior of the model, on 1,000 simulated examples.",
)
@click.option(
    "--calibrate-images",
    type=AT_LEAST_NONE,
    default=0,
    metavar="N",
    help="Number of test examples, 20 or more, on which q(z|x) is compared with draws of p(z|x); slow. [0]",
)
@click.option(
    "--stages",
    metavar="NAME,...",
    default="",
    callback=_names,
    help="Parts of the evaluation beside the bounds: exact, rate-and-distortion, classifier, gaps, annealing "
    "or another. [all]",
)
@click.option("--outliers", metavar="NAME|PATH", help="Another data set, scored as outliers.")
@click.option(
    "--compare",
    type=click.Path(path_type=Path),
    metavar="RUN_DIR",
    help="Another evaluated run to compare with, example by example.",
)
@click.option("--force", is_flag=True, help="Compare runs that were evaluated under different conditions.")
@seed_option
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FOLDER", help="Output folder. [RUN_DIR/evaluation]"
)
@click.option("--overwrite", is_flag=True, help="Replace an existing evaluation.")
@click.option(
    "--strategy",
    type=click.Choice(("none", "mirrored")),
    default="none",
    help="mirrored: divide the importance sampling among all GPUs of this machine, or its CPU devices. "
    "[none]",
)
@thread_options
@click.option("--quiet", is_flag=True, help="Print only the table.")
@click.version_option(__version__, prog_name="probvae-evaluate")
def main(
    run: Path,
    compare: Path | None,
    output: Path | None,
    strategy: str,
    threads: int | None,
    inter_threads: int | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Evaluate a run of probvae-train.

    \b
    probvae-evaluate runs/mine
    probvae-evaluate runs/mine --num-samples 5000 --limit 1000
    probvae-evaluate runs/mine --compare runs/other
    probvae-evaluate runs/mine --outliers fashion_mnist
    probvae-evaluate runs/mine --calibrate

    Prints a table and writes metrics.json, per_example.npz, scores.csv and pictures. Each number has a
    standard error over examples and, separately, a Monte Carlo error over draws of z. Ctrl-C ends the
    evaluation early and keeps the results so far.
    """  # noqa: D301
    # Importance sampling and quadrature run in parts, one for each core. The long chain of annealing uses all
    # cores in each step.
    anneals = options["ais_images"] and (not options["stages"] or "annealing" in options["stages"])
    parts = 1 if anneals or strategy != "none" else None
    with quiet_start(functools.partial(make_strategy, strategy, threads, inter_threads, parts)) as devices:
        from probvae.cli.console import EvaluationConsole, print_comparison
        from probvae.runs.comparison import compare_evaluations, read_comparable
        from probvae.runs.evaluation import evaluate
    other = None if compare is None else read_comparable(compare)
    with (console := EvaluationConsole(run, quiet=quiet)):
        options |= {"strategy": devices, "observer": console, "should_stop": console.stop}
        results = evaluate(run, compare=compare, output=output, **options)
    for stage, reason in results.skipped.items():
        click.echo(f"skipped: {stage}, because {reason}", err=True)
    if other is not None and "iwae" in results.per_example:
        print_comparison(compare_evaluations(results, other, force=True), compare)
    folder = output or run / "evaluation"
    if results.unfinished:
        click.echo(f"\nstopped early, without all of: {', '.join(results.unfinished)}; in {folder}")
        console.exit(signal.SIGINT)
    click.echo(f"\nwritten to {folder}")


if __name__ == "__main__":
    main()
