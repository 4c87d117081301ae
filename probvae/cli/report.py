"""probvae-report: an HTML report of each run, and a comparison of runs."""

from pathlib import Path

import click

from probvae.cli.command import Command
from probvae.cli.start import RunFolder
from probvae.environment import __version__
from probvae.errors import InputError


@click.command("probvae-report", cls=Command, context_settings={"max_content_width": 100})
@click.argument("runs", metavar="RUN_DIR...", nargs=-1, required=True, type=RunFolder())
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File for the comparison; an existing report is replaced. [comparison.html]",
)
@click.version_option(__version__, prog_name="probvae-report")
def main(runs: tuple[Path, ...], output: Path | None) -> None:
    """Write the report.html of each run again, and compare two or more runs.

    \b
    probvae-report runs/mine
    probvae-report runs/a runs/b runs/c --output abc.html

    probvae-train and probvae-evaluate write the report of their run, too. Runs that probvae-evaluate has
    evaluated under the same conditions are compared example by example. Needs no TensorFlow and no network.
    """  # noqa: D301
    from probvae.runs.folder import REPORT
    from probvae.runs.reports.page import report

    if output is not None and len(runs) == 1:
        raise InputError("--output is of a comparison: give two or more runs, or leave it out.")
    written = report(*runs, output=output or "comparison.html")
    for run in runs:
        click.echo(f"written to {run / REPORT}")
    if len(runs) > 1:
        click.echo(f"written to {written}")


if __name__ == "__main__":
    main()
