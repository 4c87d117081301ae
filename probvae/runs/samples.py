"""What probvae-sample does once its options are known and TensorFlow is loaded."""

import csv
import dataclasses
import functools
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click
import numpy as np

from probvae import figures
from probvae.data.tables.table_files import in_units
from probvae.environment import __version__
from probvae.errors import InputError
from probvae.figures.panels import PANELS, grid, image_bytes
from probvae.files import writing
from probvae.likelihoods import likelihood_of
from probvae.runs.sample_modes import MODES, Result, pixels
from probvae.runs.source import Options, Run

SAMPLES, TABLE, GRID, ANIMATION, SETTINGS = (
    "samples.npz",
    "samples.csv",
    "grid.png",
    "animation.gif",
    "settings.json",
)
IMAGES = "images"
FRAME_CELL = 140  # pixels of an image in an animation, about


def sample(
    folder: Path,
    mode: str,
    *,
    output: Path | None,
    images: bool,
    overwrite: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Load a run, generate, print a few words and write the files."""
    o = Options(**options)
    run = Run(folder, o.data)
    output = output or folder / "samples" / mode
    _refuse_unless_free(output, overwrite=overwrite)
    if images and len(run.architecture.event_shape) != 3:
        raise InputError("--images is for models of images: leave it out.")
    result = MODES[mode](run, o)
    files = {SAMPLES: _npz(result), **_table(run, o, result), **_pictures(run, result)}
    if images:
        files |= _single_images(run, o, result)
    settings = {"run": str(folder), "mode": mode, **dataclasses.asdict(o), "probvae": __version__}
    files[SETTINGS] = (json.dumps({**settings, "found": result.lines}, indent=2) + "\n").encode()
    _write(output, files)
    if not quiet:
        for line in result.lines:
            click.echo(line)
        if len(result.picture.values.shape) - 2 not in PANELS:
            click.echo(f"rows of numbers have no picture: see {TABLE}")
    names = [name for name in files if not name.startswith(IMAGES)]
    more = f" and {len(files) - len(names):,} pictures in {IMAGES}" if images else ""
    click.echo(f"written to {output}: {', '.join(names)}{more}")


# ---- content ---------------------------------------------------------------------------------------


def _npz(result: Result) -> bytes:
    arrays: dict[str, Any] = {**result.samples._asdict(), **result.arrays}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _pictures(run: Run, result: Result) -> dict[str, bytes]:
    """Return the picture, and the animation of a path."""
    picture = result.picture
    if picture.values.ndim - 2 not in PANELS:
        return {}
    values = _scaled(picture.values, picture.values, run)
    figure = grid(values, rows=picture.rows, columns=picture.columns, title=picture.title)
    files = {GRID: figures.to_png(figure)}
    if picture.frames is not None:
        shown = _scaled(picture.frames, picture.values, run)
        limits = float(np.nanmin(shown)), float(np.nanmax(shown))
        frames = [
            figures.to_png(grid(f, columns=picture.frame_columns, limits=limits, cell=FRAME_CELL))
            for f in shown
        ]
        files[ANIMATION] = figures.to_gif(frames + frames[-2:0:-1])  # there and back
    return files


def _scaled(x: np.ndarray, of: np.ndarray, run: Run) -> np.ndarray:
    """Bring images of counts or classes to 0 .. 1, counts by the highest in `of`; leave all else."""
    a = run.architecture
    if len(a.event_shape) != 3:
        return x
    return x / likelihood_of(a).white(of)


def _single_images(run: Run, o: Options, result: Result) -> dict[str, bytes]:
    """Return every picture by its place along the axes: images/step_0_pair_2.png."""
    values = result.samples.mean if pixels(run, o) == "mean" else result.samples.x
    values = _scaled(values, values, run)
    files = {}
    for place in np.ndindex(values.shape[: len(result.axes)]):
        widths = [len(str(n - 1)) for n in values.shape]
        words = [f"{axis}_{i:0{width}d}" for axis, i, width in zip(result.axes, place, widths, strict=False)]
        files[f"{IMAGES}/{'_'.join(words)}.png"] = image_bytes(values[place])
    return files


def _table(run: Run, o: Options, result: Result) -> dict[str, bytes]:
    """Return samples.csv of vectors, a row each, or of series, a row for each time."""
    shape = run.architecture.event_shape
    if len(shape) == 3:
        return {}
    values = result.samples.mean if pixels(run, o) == "mean" else result.samples.x
    columns, rows = _series(values, result) if len(shape) == 2 else _vectors(run, values, result)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return {TABLE: text.getvalue().encode()}


def _series(values: np.ndarray, result: Result) -> tuple[list[str], Iterator[list[Any]]]:
    channels = [f"channel_{i}" for i in range(values.shape[-1])]
    rows = ([*place, *values[place].tolist()] for place in np.ndindex(values.shape[:-1]))
    return [*result.axes, "time", *channels], rows


def _vectors(run: Run, values: np.ndarray, result: Result) -> tuple[list[str], Iterator[list[Any]]]:
    """Return the columns of a table in the units of its file; vectors as they are."""
    flat = values.reshape(-1, values.shape[-1])
    columns = {f"x_{i}": flat[:, i] for i in range(flat.shape[1])}
    if run.units is not None:
        columns = in_units(run.units, flat)
    cells = zip(*(column.tolist() for column in columns.values()), strict=True)
    rows = (
        [*place, *row] for place, row in zip(np.ndindex(values.shape[: len(result.axes)]), cells, strict=True)
    )
    return [*result.axes, *columns], rows


# ---- files -----------------------------------------------------------------------------------------


def _refuse_unless_free(folder: Path, *, overwrite: bool) -> None:
    try:
        if folder.exists() and any(folder.iterdir()):
            if (folder / writing.CONFIG).exists():
                raise InputError(f"{folder} is a run folder: choose another --output.")
            if not overwrite:
                raise InputError(f"{folder} is in use: add --overwrite, or choose another --output.")
    except OSError as error:
        raise InputError(f"The output folder {folder} cannot be used: {error.strerror}.") from None


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Write all files into a folder, after the files of earlier samples there are gone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
        for name in (SAMPLES, TABLE, GRID, ANIMATION, SETTINGS):
            (folder / name).unlink(missing_ok=True)
        for axis in ("draw", "step", "dimension"):
            for path in (folder / IMAGES).glob(f"{axis}_*.png"):
                path.unlink()
        if any(name.startswith(IMAGES) for name in files):
            (folder / IMAGES).mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"The output folder {folder} cannot be used: {error.strerror}.") from None
    for name, content in files.items():
        writing.write_atomic(folder / name, functools.partial(_put, content))


def _put(content: bytes, file: IO[bytes]) -> None:
    file.write(content)
