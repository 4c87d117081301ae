"""Folders of images: any format that Pillow reads, subfolders as classes, unreadable files by name."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from probvae.data.arrays import gather
from probvae.data.dataset import DataSet, Options
from probvae.data.images import find_crop, read_header, read_image, reading
from probvae.data.splits import PARTS, assemble
from probvae.errors import InputError, one_line

AT_ONCE = 256  # files decoded at a time, at most
AT_ONCE_BYTES = 2**28  # bytes of the images decoded at a time, at most


def folder(path: Path, options: Options) -> DataSet:
    """Read a folder of images, and its subfolders, in the order of their names.

    Args:
      path: Path of the folder. Subfolders "train", "test" (and "validation") are the sets; otherwise a tenth
        is held out. If all images of a set lie in subfolders, these are classes, and the labels are their
        numbers in the order of the names. Hidden files, links to folders and anything but regular files are
        ignored.
      options: `image_size`, `crop` and `color` ("rgb", "grey", or "auto": RGB if any image has colours).

    Returns:
      `DataSet` of 8-bit images. Its `skipped` names the files that cannot be read as images.

    Raises:
      InputError: There are no images, or images of several sizes and no `image_size`.
    """
    options.refuse(path.name, "arrays and tables", "missing")
    name = path.resolve().name
    try:
        files = _files(path)
    except OSError as error:
        raise InputError(f"The folder {path} cannot be read: {error.strerror}.") from None
    roots = _roots(path)
    files = [file for file in files if any(root in file.parents for root in roots.values())]
    with reading(), ThreadPoolExecutor() as pool:
        headers = dict(zip(files, pool.map(read_header, files), strict=True))
        readable = {file: header for file, header in headers.items() if header is not None}
        if not readable:
            raise _without_images(path, _names(files, path))
        sizes = {header.size for header in readable.values()}
        if options.image_size is None and len(sizes) > 1:
            smallest, largest = (f"{h}x{w}" for h, w in (min(sizes), max(sizes)))
            raise InputError(
                f"The images of {path} have {len(sizes):,} different sizes, {smallest} to {largest} (height "
                "x width): give the size to bring them to, such as --image-size 64."
            )
        size = options.image_size or min(sizes)
        colors = {"auto": any(h.color for h in readable.values()), "rgb": True, "grey": False}
        crop, color = find_crop(options.crop), colors[options.color]
        kept: list[Path] = []

        def decoded(chosen: list[Path]) -> Iterator[np.ndarray]:
            at_once = max(1, min(AT_ONCE, AT_ONCE_BYTES // (size[0] * size[1] * (3 if color else 1))))
            for start in range(0, len(chosen), at_once):
                some = chosen[start : start + at_once]
                images = list(pool.map(lambda file: read_image(file, size, crop, color=color), some))
                kept.extend(file for file, image in zip(some, images, strict=True) if image is not None)
                good = [image for image in images if image is not None]
                yield np.stack(good) if good else np.empty([0, *size, 3 if color else 1], np.uint8)

        arrays, classes = {}, {}
        for part, root in roots.items():
            chosen = [file for file in readable if root in file.parents]
            if chosen:
                arrays[f"x_{part}" if part else "x"] = gather(decoded(chosen))
                classes[part] = [_class(file, root) for file in kept if root in file.parents]
    known = () if options.schema is None else options.schema.classes
    labels, label_names = _labels(classes, least=1 if known else 2)
    read = set(kept)
    skipped = _names([file for file in files if file not in read], path)
    if not kept:
        raise _without_images(path, skipped)
    return assemble(name, {**arrays, **labels}, options, levels=255, label_names=label_names, skipped=skipped)


def skipped_sentence(data: DataSet) -> str:
    """Return a sentence on the files that were left out; empty if there are none.

    >>> skipped_sentence(DataSet("a", *[np.zeros([2, 3, 3, 1])] * 2, None, None, 1, skipped=("b.txt",)))
    '1 file of a was left out, because it cannot be read as an image: b.txt.'
    """
    n = len(data.skipped)
    if n == 0:
        return ""
    were, they, kind = ("was", "it", "an image") if n == 1 else ("were", "they", "images")
    return one_line(
        f"{n:,} file{'' if n == 1 else 's'} of {data.name} {were} left out, because {they} cannot be read as "
        f"{kind}: {first_names(data.skipped)}."
    )


def first_names(names: tuple[str, ...], count: int = 3) -> str:
    """Return the first few names, joined, and the number of the others."""
    more = f" and {len(names) - count:,} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _without_images(path: Path, names: tuple[str, ...]) -> InputError:
    what = f"none of its files can be: {first_names(names)}" if names else "it is empty"
    return InputError(f"{path} must hold images that can be read; {what}.")


def _files(path: Path) -> list[Path]:
    """Return all files under a folder that are not hidden, sorted."""
    files = []

    def fail(error: OSError) -> None:
        raise error

    for root, folders, names in os.walk(path, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(root) / name for name in names if not name.startswith(".")]
    return sorted(file for file in files if file.is_file() or file.is_symlink())


def _roots(path: Path) -> dict[str, Path]:
    """Return the folder of each set, or the whole folder under the name ''."""
    roots = {part: path / part for part in PARTS if (path / part).is_dir()}
    return roots if {"train", "test"} <= set(roots) else {"": path}


def _names(files: list[Path], path: Path) -> tuple[str, ...]:
    return tuple(str(file.relative_to(path)) for file in files)


def _class(file: Path, root: Path) -> str | None:
    """Return the name of the subfolder of a file; None for a file in the root itself."""
    parts = file.relative_to(root).parts
    return parts[0] if len(parts) > 1 else None


def _labels(
    classes: dict[str, list[str | None]], *, least: int
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Number the classes; there are no labels if an image lies in no subfolder, or there are few classes."""
    distinct = {name for part in classes.values() for name in part}
    if len(distinct) < least or None in distinct:
        return {}, ()
    names = tuple(sorted(name for name in distinct if name is not None))
    number = {name: i for i, name in enumerate(names)}
    return {
        f"y_{part}" if part else "y": np.array([number[name or ""] for name in members], np.int64)
        for part, members in classes.items()
    }, names
