"""probvae-export: the export of a trained model for use without probvae, and its model card."""

from pathlib import Path

import click

from probvae.cli.command import Command
from probvae.cli.start import quiet_start, run_argument
from probvae.environment import __version__

FORMATS = ("savedmodel", "onnx")
PARTS = ("encoder", "decoder")


@click.command("probvae-export", cls=Command, context_settings={"max_content_width": 100})
@run_argument
@click.option(
    "--format",
    "formats",
    type=click.Choice(FORMATS),
    multiple=True,
    default=("savedmodel",),
    help="Format, which may be repeated. savedmodel: encode, decode, log_prob and sample, for TensorFlow "
    "alone. onnx: encoder and decoder. [savedmodel]",
)
@click.option(
    "--part",
    "parts",
    type=click.Choice(PARTS),
    multiple=True,
    default=PARTS,
    help="Part of the model to export as onnx. [both]",
)
@click.option(
    "--class",
    "label",
    metavar="C",
    help="Export the model of class C, for conditional models; its name or number.",
)
@click.option(
    "--license",
    default="unknown",
    metavar="NAME",
    help="License of the model, for its card: mit, apache-2.0, cc-by-4.0, ... [unknown]",
)
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FOLDER", help="Output folder. [RUN_DIR/export]"
)
@click.option("--overwrite", is_flag=True, help="Replace an existing export.")
@click.version_option(__version__, prog_name="probvae-export")
def main(
    run: Path,
    formats: tuple[str, ...],
    parts: tuple[str, ...],
    label: str | None,
    license: str,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Write a run's model for use without probvae, and a model card.

    \b
    probvae-export runs/mine
    probvae-export runs/mine --format savedmodel --format onnx --license mit
    probvae-export runs/classes --class 3 --output three
    probvae-export runs/cities --class Seoul

    A SavedModel of a table takes and gives its columns in their own units, one of images their grey levels.
    The card (model_card.md) describes the model, its data, its training, its evaluation (if probvae-evaluate
    has evaluated it) and how to load it; schema.json holds the columns, levels, units and classes.
    """  # noqa: D301
    with quiet_start():
        from probvae.export.folder import export_run

        paths = export_run(
            run, output, formats, card_license=license, label=label, parts=parts, overwrite=overwrite
        )
    click.echo(f"written to {paths[0].parent}: {', '.join(path.name for path in paths)}")


if __name__ == "__main__":
    main()
