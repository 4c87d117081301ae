"""probvae-explore: a web page that decodes the point of the latent plane under the pointer."""

from pathlib import Path
from typing import Any

import click

from probvae.cli.command import Command
from probvae.cli.start import AT_LEAST_ONE, data_option, quiet_start, run_argument, seed_option
from probvae.environment import __version__


@click.command("probvae-explore", cls=Command, context_settings={"max_content_width": 100})
@run_argument
@click.option(
    "--points",
    type=click.IntRange(1, 5000),
    default=500,
    metavar="N",
    help="Show the first N test images. [500]",
)
@click.option(
    "--log-prob",
    type=click.Choice(("auto", "exact", "iwae")),
    default="auto",
    help="Method to compute log p(x). exact: quadrature, up to 3 dimensions. iwae: the importance-weighted "
    "bound. auto: exact for 1 or 2 dimensions, else iwae. [auto]",
)
@click.option(
    "--num-samples",
    type=AT_LEAST_ONE,
    default=100,
    metavar="K",
    help="Number of draws of z for each image in the bound. [100]",
)
@data_option
@seed_option
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="Output page. [RUN_DIR/explorer.html]"
)
@click.option("--overwrite", is_flag=True, help="Replace an existing page.")
@click.option("--quiet", is_flag=True, help="Print only the last line.")
@click.version_option(__version__, prog_name="probvae-explore")
def main(run: Path, quiet: bool, **options: Any) -> None:
    """Write a web page to explore a run of probvae-train.

    \b
    probvae-explore runs/mine
    probvae-explore runs/mine --points 2000 --output mine.html

    Open the page in any browser: it holds the encoder and the decoder and needs no network. Move the pointer
    over the latent plane to see the mean of p(x|z). The test images are points of the plane, coloured by
    log p(x), and the page encodes images of your own. For models of images with the networks conv,
    residual_conv, mlp and gated_mlp.
    """  # noqa: D301
    with quiet_start():
        from probvae.cli.console import PageConsole
        from probvae.export.web.explorer import explore
    written = explore(run, observer=PageConsole(run, quiet=quiet), **options)
    if not quiet:
        click.echo(f"{written.method}: {written.log_prob:.2f} nats in the mean over them")
    size = written.path.stat().st_size / 1e6
    click.echo(f"written to {written.path}, {size:.1f} MB: open it in a browser")


if __name__ == "__main__":
    main()
