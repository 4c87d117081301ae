"""probvae-sample: samples of a trained model, as arrays and pictures."""

from pathlib import Path
from typing import Any

import click

from probvae.cli.command import Command
from probvae.cli.start import AT_LEAST_NONE, AT_LEAST_ONE, data_option, quiet_start, run_argument, seed_option
from probvae.environment import __version__
from probvae.runs.sample_options import CHOICES, MODE_OPTIONS, SampleOptions


@click.command("probvae-sample", cls=Command, context_settings={"max_content_width": 100})
@run_argument
@click.option(
    "--mode",
    type=click.Choice(tuple(MODE_OPTIONS)),
    default="prior",
    help="prior: x from z ~ p(z). classes: the same z for every class of a conditional model. "
    "reconstructions: x from z ~ q(z|x) of test examples. interpolation: paths between test examples. "
    "traversal: one coordinate of z changes at a time. [prior]",
)
@click.option(
    "--num",
    type=AT_LEAST_ONE,
    metavar="N",
    help="Number of draws [prior 64, classes 8], of test examples [reconstructions 8] or of pairs of them "
    "[interpolation 6].",
)
@click.option(
    "--pixels",
    type=click.Choice(CHOICES["pixels"]),
    help="Values to show: the mean of p(x|z), or a draw x ~ p(x|z). [mean; draw for rows of a table]",
)
@click.option(
    "--temperature",
    type=float,
    metavar="T",
    help="prior, classes: multiply the prior's standard deviation. [1]",
)
@click.option(
    "--sampler",
    type=click.Choice(CHOICES["sampler"]),
    help="prior: distribution of z: p(z), or a mixture of normals or a flow fitted to q(z|x) of the "
    "training data. [prior]",
)
@click.option(
    "--components",
    type=AT_LEAST_ONE,
    metavar="K",
    help="prior: number of components of the mixture. [chosen by held-out data]",
)
@click.option(
    "--train-images",
    type=AT_LEAST_ONE,
    metavar="N",
    help="prior: number of training examples to fit to. [10000]",
)
@click.option(
    "--class",
    "label",
    metavar="C",
    help="prior, interpolation, traversal: decode as class C, for conditional models; its name or number.",
)
@click.option(
    "--given",
    multiple=True,
    metavar="NAME=VALUE",
    help="prior: draw rows of a table whose column NAME has a value, lies in a range, NAME=30..40, or has "
    "one of several values, NAME=A|B; may be repeated.",
)
@click.option(
    "--draws",
    type=AT_LEAST_ONE,
    metavar="S",
    help="reconstructions: number of draws of z for each example. [6]",
)
@click.option(
    "--from", "start", type=AT_LEAST_NONE, metavar="I", help="interpolation: index of the first example."
)
@click.option(
    "--to", "end", type=AT_LEAST_NONE, metavar="J", help="interpolation: index of the second example."
)
@click.option(
    "--path",
    type=click.Choice(CHOICES["path"]),
    help="interpolation: a straight line or a great circle. [spherical]",
)
@click.option(
    "--steps", type=click.IntRange(min=2), metavar="T", help="interpolation, traversal: points per path. [9]"
)
@click.option("--image", type=AT_LEAST_NONE, metavar="I", help="traversal: index of a test example. [0]")
@click.option(
    "--dimension",
    type=AT_LEAST_NONE,
    multiple=True,
    metavar="L",
    help="traversal: dimension of z, may be repeated. [the 10 whose posterior means vary most]",
)
@data_option
@seed_option
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Output folder. [RUN_DIR/samples/MODE]",
)
@click.option("--images", is_flag=True, help="Write each picture to a .png file, too.")
@click.option("--overwrite", is_flag=True, help="Replace existing samples.")
@click.option("--quiet", is_flag=True, help="Print only the last line.")
@click.version_option(__version__, prog_name="probvae-sample")
def main(
    run: Path, mode: str, output: Path | None, images: bool, overwrite: bool, quiet: bool, **options: Any
) -> None:
    """Generate samples from a run of probvae-train.

    \b
    probvae-sample runs/mine
    probvae-sample runs/mine --num 100 --temperature 0.8 --output few
    probvae-sample runs/mine --sampler mixture --overwrite
    probvae-sample runs/homes --given district=Seoul --given rooms=2..4 --num 1000
    probvae-sample runs/mine --mode reconstructions --draws 10
    probvae-sample runs/mine --mode interpolation --from 3 --to 8
    probvae-sample runs/mine --mode traversal

    Writes samples.npz (z, the mean of p(x|z), a draw x, log p(z)), a picture and, for paths, an animation;
    for series and tables also samples.csv.
    """  # noqa: D301
    SampleOptions(**options).refuse_unless_used(mode)
    with quiet_start():
        from probvae.runs.samples import GRID, TABLE, sample
    written = sample(run, mode, output=output, images=images, overwrite=overwrite, **options)
    if not quiet:
        for line in written.lines:
            click.echo(line)
        if GRID not in written.names:
            click.echo(f"rows of numbers have no picture: see {TABLE}")
    names = [name for name in written.names if "/" not in name]
    more = f" and {len(written.names) - len(names):,} pictures in images" if images else ""
    click.echo(f"written to {written.folder}: {', '.join(names)}{more}")


if __name__ == "__main__":
    main()
