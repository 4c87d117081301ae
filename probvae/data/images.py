"""Single images: decoding any format that Pillow reads, resizing and cropping.

Each entry of `CROPS` is a function `(image, (width, height)) -> image` of that size.
"""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from probvae.data.arrays import Array, chunks, gather
from probvae.errors import InputError

MAX_PIXELS = 2**26  # pixels of a file, at most: larger ones may be decompression bombs
LARGE = 2**24  # pixels above which images are decoded one at a time, whatever the number of threads
PROGRAMS = ("EPS",)  # formats that are programs, which Pillow hands to Ghostscript to run
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
BICUBIC = Image.Resampling.BICUBIC

Crop = Callable[[Image.Image, tuple[int, int]], Image.Image]

# center: the largest centred part of the right shape; none: the whole image, stretched;
# pad: the whole image with black bars.
CROPS: dict[str, Crop] = {
    "center": lambda image, size: ImageOps.fit(image, size, BICUBIC),
    "none": lambda image, size: image.resize(size, BICUBIC),
    "pad": lambda image, size: ImageOps.pad(image, size, BICUBIC),
}


def find_crop(name: str) -> Crop:
    """Return an entry of `CROPS`.

    Raises:
      InputError: There is no such entry.
    """
    if name not in CROPS:
        raise InputError(f"crop must be one of {', '.join(CROPS)}; got {name!r}.")
    return CROPS[name]


class Header(NamedTuple):
    """The header of an image file: its size (height, width) when upright, and whether it has colours."""

    size: tuple[int, int]
    color: bool


@contextmanager
def reading() -> Iterator[None]:
    """Turn decompression bombs into errors, and silence the warnings of Pillow about odd files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read_header(path: Path) -> Header | None:
    """Read the header of an image file; None if it is no image or too large. Use in `reading`."""
    try:
        with _open(path) as image:
            if image.mode == "F":
                return None
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # orientation on its side
            size = (image.width, image.height) if turned else (image.height, image.width)
            return Header(size, image.mode not in GREY_MODES and not _is_grey_palette(image))
    except Exception:  # Pillow's decoders raise many kinds on damaged files
        return None


def _is_grey_palette(image: Image.Image) -> bool:
    """Return whether an image has a palette all of whose colours are grey."""
    palette = image.getpalette() if image.mode == "P" else None
    if not palette:
        return False
    red, green, blue = np.reshape(palette[: len(palette) // 3 * 3], [-1, 3]).T
    return bool(np.all(red == green) and np.all(green == blue))


def read_image(path: Path, size: tuple[int, int], crop: Crop, *, color: bool) -> np.ndarray | None:
    """Decode the first frame of an image file.

    The image is turned upright by its EXIF orientation and laid on white if transparent. Use in `reading`.

    Args:
      path: Path of the file.
      size: Size (height, width) to resize to.
      crop: Crop, a value of `CROPS`.
      color: Whether to return RGB in place of grey.

    Returns:
      Image [H, W, C], uint8; None if the file cannot be read.
    """
    try:
        with _open(path) as image, _ONE_LARGE if image.width * image.height > LARGE else nullcontext():
            image.load()
            upright = ImageOps.exif_transpose(image)
            flat = _as_mode(upright, "RGB" if color else "L")
            if (flat.height, flat.width) != size:
                flat = crop(flat, (size[1], size[0]))
            return np.asarray(flat).reshape(*size, 3 if color else 1)
    except Exception:  # Pillow's decoders raise many kinds on damaged files
        return None


_ONE_LARGE = threading.Lock()


def _open(path: Path) -> Image.Image:
    """Open a regular file as an image; a pipe, even behind a link, would block for ever."""
    if not path.is_file():
        raise ValueError("no regular file")
    image = Image.open(path)
    if image.format in PROGRAMS or image.width * image.height > MAX_PIXELS:
        image.close()
        raise ValueError("a program, or too large")
    return image


def _as_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("not 16-bit")
        image = Image.fromarray(np.uint8(values // 257))
    if "A" in image.getbands() or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert(mode)


def resize(x: Array, levels: int, size: tuple[int, int], crop: str) -> tuple[Array, int]:
    """Resize an array of images, channel by channel.

    Args:
      x: Images [N, H, W, C], uint8 or float32 in [0, 1].
      levels: Value of x that stands for 1.
      size: Size (height, width).
      crop: Name of the crop, a key of `CROPS`.

    Returns:
      Images [N, height, width, C] of the same type, and their levels: binary images become grey.
    """
    how = find_crop(crop)
    if x.shape[1:3] == size:
        return x, levels
    factor = 255 if x.dtype == np.uint8 and levels == 1 else 1

    def one(channel: np.ndarray) -> np.ndarray:
        resized = np.asarray(how(Image.fromarray(channel), (size[1], size[0])))
        return resized if x.dtype == np.uint8 else np.clip(resized, 0, 1)

    parts = (
        np.stack(
            [
                np.stack([one(c) for c in np.moveaxis(image * x.dtype.type(factor), -1, 0)], -1)
                for image in chunk
            ]
        )
        for chunk in chunks(x)
    )
    return gather(parts), levels * factor
