"""The explorer: a web page of a run, collected and written."""

import os
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from probvae.errors import InputError
from probvae.export.web.content import describe, refuse_unless_served
from probvae.export.web.page import to_html
from probvae.files import writing
from probvae.runs.source import Run

PAGE = "explorer.html"


def explore(
    folder: Path,
    *,
    points: int,
    log_prob: str,
    num_samples: int,
    data: str | None,
    seed: int,
    output: Path | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Load a run, collect the page's content, write the page and say so."""
    run = Run(folder, data)
    path = output or folder / PAGE
    _refuse_unless_free(path, overwrite=overwrite)
    refuse_unless_served(run.architecture)
    x, labels = run.test
    if not quiet:
        click.echo(f"{folder}, {len(x[:points]):,} test images of {run.examples.name}")
    with tqdm(total=100, unit="%", disable=True if quiet else None, leave=False, dynamic_ncols=True) as bar:
        content = describe(
            run.vae,
            x[:points],
            None if labels is None else labels[:points],
            title=folder.resolve().name,
            data=Path(run.examples.name).name,
            threshold=run.training.binarize != "none",
            label_names=tuple(run.examples.label_names),
            method=log_prob,
            num_samples=num_samples,
            seed=seed,
            on_progress=lambda fraction: _move(bar, fraction),
        )
    if not quiet:
        known = np.array([v for v in content["points"]["log_prob"] if v is not None])
        click.echo(f"{content['log_prob']['name']}: {known.mean():.2f} nats in the mean over them")
    writing.write_text(path, to_html(content))
    click.echo(f"written to {path}, {path.stat().st_size / 1e6:.1f} MB: open it in a browser")


def _move(bar: "tqdm[None]", fraction: float) -> None:
    bar.update(max(0.0, round(100 * fraction, 1) - bar.n))


def _refuse_unless_free(path: Path, *, overwrite: bool) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder: give --output a file's name, such as {path / PAGE}.")
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--output must be the name of a page, ending in .html; got {path.name!r}.")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already: add --overwrite, or choose another --output.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent}: make it, or choose another --output.")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"The folder {path.parent} cannot be written to: choose another --output.")
