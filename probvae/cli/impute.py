"""probvae-impute: the missing cells of a table, filled in by a trained model."""

from pathlib import Path
from typing import Any

import click

from probvae.cli.command import Command
from probvae.cli.start import AT_LEAST_ONE, quiet_start, run_argument, seed_option
from probvae.environment import __version__


@click.command("probvae-impute", cls=Command, context_settings={"max_content_width": 100})
@run_argument
@click.argument("table", metavar="[TABLE]", type=click.Path(path_type=Path), required=False)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File for the filled table, of the form of TABLE. [RUN_DIR/imputed/TABLE]",
)
@click.option(
    "--draws",
    "num_draws",
    type=AT_LEAST_ONE,
    metavar="R",
    help="Write R filled tables with draws of the missing cells to FILE-draws, too, for multiple imputation.",
)
@click.option(
    "--level",
    type=float,
    metavar="P",
    help="Write each missing cell with its interval of this level, such as 0.9, to FILE-cells.csv, too.",
)
@click.option(
    "--num-samples",
    type=AT_LEAST_ONE,
    default=1000,
    metavar="K",
    help="Number of draws of z for each row. [1000]",
)
@seed_option
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@click.option("--quiet", is_flag=True, help="Print only the last line.")
@click.version_option(__version__, prog_name="probvae-impute")
def main(run: Path, table: Path | None, num_draws: int | None, quiet: bool, **options: Any) -> None:
    """Fill in the missing cells of TABLE by a run of probvae-train on a table; without TABLE, of its data.

    \b
    probvae-impute runs/patients
    probvae-impute runs/patients new.csv --output filled.csv
    probvae-impute runs/patients new.csv --output filled.csv --draws 10 --level 0.9

    A missing number becomes its conditional mean, rounded in columns of whole numbers; a level the most
    probable one, or the median where levels have an order. All other cells, and columns that the run does
    not know, are written as they are.
    """  # noqa: D301
    with quiet_start():
        from probvae.cli.console import Console
        from probvae.runs.imputing import impute
    console = Console(quiet=quiet)
    written = impute(run, table, num_draws=num_draws or 0, observer=console, **options)
    if not quiet:
        width = max(len(name) for name in ("column", *written.missing))
        click.echo(f"{'column':{width}}  missing of {written.rows:,} rows")
        for name, number in written.missing.items():
            click.echo(f"{name:{width}}  {number:,}")
    total = sum(written.missing.values())
    names = ", ".join(path.name for path in written.paths)
    click.echo(f"filled in {total:,} cells, written to {written.paths[0].parent}: {names}")


if __name__ == "__main__":
    main()
