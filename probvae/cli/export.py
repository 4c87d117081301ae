"""probvae-export: a trained model for use without probvae, and its model card."""

from pathlib import Path

import click

from probvae.cli.command import Command
from probvae.cli.start import quiet_start
from probvae.environment import __version__

FORMATS = ("savedmodel", "onnx")
PARTS = ("encoder", "decoder")


@click.command("probvae-export", cls=Command, context_settings={"max_content_width": 100})
@click.argument("run", metavar="RUN_DIR", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "formats",
    type=click.Choice(FORMATS),
    multiple=True,
    default=("savedmodel",),
    help="savedmodel: encode, decode, log_prob and sample, for TensorFlow alone. onnx: encoder and "
    "decoder. Repeatable. [savedmodel]",
)
@click.option(
    "--part",
    "parts",
    type=click.Choice(PARTS),
    multiple=True,
    default=PARTS,
    help="Of onnx: this part alone. [both]",
)
@click.option(
    "--class",
    "label",
    type=click.IntRange(min=0),
    metavar="C",
    help="Export the model of class C, for conditional models.",
)
@click.option(
    "--license",
    default="unknown",
    metavar="NAME",
    help="Of the model, for its card: mit, apache-2.0, cc-by-4.0, ... [unknown]",
)
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FOLDER", help="Where to write. [RUN_DIR/export]"
)
@click.option("--overwrite", is_flag=True, help="Replace an export that is there.")
@click.version_option(__version__, prog_name="probvae-export")
def main(
    run: Path,
    formats: tuple[str, ...],
    parts: tuple[str, ...],
    label: int | None,
    license: str,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Write a run's model for use without probvae, and a model card.

    \b
    probvae-export runs/mine
    probvae-export runs/mine --format savedmodel --format onnx --license mit
    probvae-export runs/classes --class 3 --output three

    The card (model_card.md) says what the model is, how it was trained, how it was evaluated (by
    probvae-evaluate, if it was) and how it is loaded.
    """  # noqa: D301
    with quiet_start():
        from probvae.export.folder import export_run

        paths = export_run(
            run, output, formats, card_license=license, label=label, parts=parts, overwrite=overwrite
        )
    click.echo(f"written to {paths[0].parent}: {', '.join(path.name for path in paths)}")


if __name__ == "__main__":
    main()
