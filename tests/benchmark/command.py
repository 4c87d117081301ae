"""The options of `python tests/benchmark`."""

from pathlib import Path

import click

from benchmark.cases import FULL, QUICK
from probvae.cli.command import Command
from probvae.cli.start import quiet_start
from probvae.environment import __version__
from probvae.errors import InputError

NAME = "python tests/benchmark"
SUITES = {"quick": QUICK, "full": FULL}


@click.command(NAME, cls=Command, context_settings={"max_content_width": 100})
@click.option(
    "--data",
    default="digits",
    metavar="NAME|PATH",
    help="Images of 28x28, as for probvae-train; their values matter to the last full case only. [digits]",
)
@click.option("--suite", type=click.Choice(tuple(SUITES)), default="quick", help="Which cases. [quick]")
@click.option(
    "--case", "only", type=int, multiple=True, metavar="N", help="Only this case, from 1. Repeatable."
)
@click.option("--peers", default="", metavar="NAME,NAME", help="Only these. [all]")
@click.option("--rounds", type=click.IntRange(1, 1000), default=7, help="Turns of each. [7]")
@click.option("--seconds", type=click.FloatRange(0.01, 600), default=1.0, help="Of a turn, about. [1]")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("benchmark"),
    metavar="FOLDER",
    help="For table, JSON and picture. [benchmark]",
)
@click.version_option(__version__, prog_name="probvae")
def main(
    data: str, suite: str, only: tuple[int, ...], peers: str, rounds: int, seconds: float, output: Path
) -> None:
    """Time probvae against its peers: the tutorial's loop, Keras fit, PyTorch, JAX.

    \b
    python tests/benchmark                             training at two batch sizes
    python tests/benchmark --suite full --data mnist   every case

    Each contestant has a process of its own and they take turns, so that a change of the machine's speed
    meets all of them. Peers that are not installed are reported as absent: pip install '.[benchmark]'.
    """
    cases = SUITES[suite]
    unknown = [n for n in only if not 1 <= n <= len(cases)]
    if unknown:
        raise InputError(f"--case must be from 1 to {len(cases)} in the suite {suite}; got {unknown[0]}.")
    chosen = [cases[n - 1] for n in dict.fromkeys(only)] if only else list(cases)
    names = [name.strip() for name in peers.split(",")] if peers else []
    with quiet_start():
        from benchmark.run import run
    run(data, chosen, names, rounds, seconds, output)
