"""The samples of a run, as files in a folder."""

import dataclasses
import io
import os
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from probvae import figures
from probvae.arguments import flag
from probvae.environment import __version__
from probvae.errors import InputError, with_fields
from probvae.figures.panels import PANELS, grid, image_bytes
from probvae.files import outputs, strict_json, writing
from probvae.likelihoods import likelihood_of
from probvae.runs.known_data import differences
from probvae.runs.run import Run, as_run
from probvae.runs.sample_modes import MODES, Result, pixels
from probvae.runs.sample_options import SampleOptions
from probvae.sampling.draws import Samples

SAMPLES, TABLE, SETTINGS = "samples.npz", "samples.csv", "settings.json"
GRID, ANIMATION, IMAGES = "grid.png", "animation.gif", "images"
IMAGE_PATTERNS = [f"{IMAGES}/{axis}_*.png" for axis in ("draw", "step", "dimension")]
WRITTEN = (SAMPLES, TABLE, SETTINGS, GRID, ANIMATION, *IMAGE_PATTERNS)
FRAME_CELL = 140  # approximate size of an image in an animation, pixels


class SampleFiles(NamedTuple):
    """Samples with their files.

    Attributes:
      folder: Folder of the files.
      names: Names of the files in it.
      samples: Arrays z, mean, x and log-densities.
      lines: Remarks on the samples.
    """

    folder: Path
    names: list[str]
    samples: Samples
    lines: list[str]


def sample(
    run: Run | str | os.PathLike[str],
    mode: str = "prior",
    *,
    output: str | os.PathLike[str] | None = None,
    images: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> SampleFiles:
    """Generate samples from the model of a run, and write them.

    Args:
      run: Run, or its folder.
      mode: Mode of `probvae-sample`: prior, classes, reconstructions, interpolation or traversal.
      output: Folder to write; RUN/samples/MODE unless given.
      images: Whether each picture is also written to a .png file.
      overwrite: Whether existing samples are replaced.
      **options: Fields of `probvae.runs.sample_options.SampleOptions`.

    Raises:
      InputError: The folder holds no run, an option is wrong or unused by the mode, `output` is in use, or
        the data cannot be read.
    """
    flag("images", images)
    chosen = with_fields(SampleOptions, options, "sample")
    chosen.refuse_unless_used(mode)
    run = as_run(run, chosen.data)
    folder = run.folder / "samples" / mode if output is None else Path(output)
    outputs.refuse_folder_in_use(folder, overwrite=overwrite)
    if images and len(run.architecture.event_shape) != 3:
        raise InputError("--images is for models of images: leave it out.")
    result = MODES[mode](run, chosen)
    if chosen.data is not None and (others := differences(run, run.examples)):
        result.lines.append(f"{run.examples.name} is NOT the data that the run was trained on: {others}")
    if run.schema is None:
        remark = "in the coding of the model: the run keeps no schema, and the data file of its table is gone"
        result.lines.append(f"values are {remark}")
    columns = {} if len(run.architecture.event_shape) == 3 else _values(run, chosen, result)
    files = {SAMPLES: _npz(run, columns, result), **_table(run, columns, result), **_pictures(run, result)}
    if images:
        files |= _single_images(run, chosen, result)
    settings = {"run": str(run.folder), "mode": mode, **dataclasses.asdict(chosen), "probvae": __version__}
    files[SETTINGS] = strict_json.text({**settings, "found": result.lines}).encode()
    outputs.clear_folder(folder, WRITTEN)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        writing.write_bytes(folder / name, content)
    return SampleFiles(folder, list(files), result.samples, result.lines)


# ---- content ---------------------------------------------------------------------------------------


def _npz(run: Run, columns: dict[str, np.ndarray], result: Result) -> bytes:
    arrays: dict[str, Any] = {**result.samples._asdict(), **result.arrays}
    if run.schema is not None and run.schema.is_table:  # in place of the codes, columns in their units
        for name in ("x", "mean", "stddev", "mode"):
            arrays.pop(name)
        parts = {"column": columns}
        parts |= {"data": run.schema.decode(arrays.pop("data"))} if "data" in arrays else {}
        arrays |= {f"{part}/{k}": _plain(v) for part, values in parts.items() for k, v in values.items()}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _plain(values: np.ndarray) -> np.ndarray:
    """Return values without Python objects, which .npz files would pickle: as texts, "" where missing."""
    if values.dtype != object:
        return values
    return np.array(["" if value is None else str(value) for value in values.ravel()]).reshape(values.shape)


def _pictures(run: Run, result: Result) -> dict[str, bytes]:
    """Return the files of the picture and, for a path, of the animation."""
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
            figures.to_png(grid(frame, columns=picture.frame_columns, limits=limits, cell=FRAME_CELL))
            for frame in shown
        ]
        files[ANIMATION] = figures.to_gif(frames + frames[-2:0:-1])  # forwards and backwards
    return files


def _scaled(x: np.ndarray, reference: np.ndarray, run: Run) -> np.ndarray:
    """Scale images of counts or classes to 0 .. 1, counts by the highest of `reference`."""
    architecture = run.architecture
    if len(architecture.event_shape) != 3:
        return x
    return x / likelihood_of(architecture).white(reference)


def _single_images(run: Run, options: SampleOptions, result: Result) -> dict[str, bytes]:
    """Return the files of single images, named by their indices: images/step_0_pair_2.png."""
    values = result.samples.mean if pixels(run, options) == "mean" else result.samples.x
    values = _scaled(values, values, run)
    files = {}
    for place in np.ndindex(values.shape[: len(result.axes)]):
        widths = [len(str(n - 1)) for n in values.shape]
        words = [f"{axis}_{i:0{width}d}" for axis, i, width in zip(result.axes, place, widths, strict=False)]
        files[f"{IMAGES}/{'_'.join(words)}.png"] = image_bytes(values[place])
    return files


def _table(run: Run, columns: dict[str, np.ndarray], result: Result) -> dict[str, bytes]:
    """Return the file samples.csv, with a row for each vector, or for each time of a series."""
    if not columns:
        return {}
    axes = [*result.axes, "time"] if len(run.architecture.event_shape) == 2 else list(result.axes)
    places = next(iter(columns.values())).shape
    cells = zip(*(column.reshape(-1).tolist() for column in columns.values()), strict=True)

    def rows() -> Iterator[list[Any]]:
        for place, row in zip(np.ndindex(places), cells, strict=True):
            yield [
                run.class_name(i) if axis == "class" else i for axis, i in zip(axes, place, strict=True)
            ] + ["" if cell is None else cell for cell in row]

    names = [_free_name(axis, columns) for axis in axes]
    return {TABLE: writing.csv_text([*names, *columns], rows()).encode()}


def _free_name(name: str, taken: Container[str]) -> str:
    """Return a name that no column of the data has.

    >>> _free_name("draw", {"draw"}), _free_name("class", {"draw"})
    ('draw_', 'class')
    """
    return _free_name(f"{name}_", taken) if name in taken else name


def _values(run: Run, options: SampleOptions, result: Result) -> dict[str, np.ndarray]:
    """Return the values of samples by column: those of a table in the units of its data."""
    samples, schema = result.samples, run.schema
    center = pixels(run, options) == "mean"
    if schema is not None and schema.is_table:
        if center:
            return schema.centers(samples.mean, samples.stddev, samples.mode)
        return schema.decode(samples.x)
    values = samples.mean if center else samples.x
    name = "channel" if len(run.architecture.event_shape) == 2 else "x"
    return {f"{name}_{i}": values[..., i] for i in range(values.shape[-1])}
