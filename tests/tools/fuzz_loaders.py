"""What the fuzzer loads: valid files of every kind, and how each kind is loaded."""

import io
import random
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import spoil


class Trap:
    """An object whose unpickling is noticed."""

    sprung = False

    def __reduce__(self) -> Any:
        return _spring, ()


def _spring() -> None:
    Trap.sprung = True


class Loader(NamedTuple):
    """What is fuzzed.

    Attributes:
      seeds: () -> valid files, as bytes.
      mutators: functions of `mutations`.
      name: of the file.
      load: (path, random.Random) -> anything.
      share: of the cases asked for; less where one takes long.
    """

    seeds: Callable[[], list[bytes]]
    mutators: list[Callable[[bytes, random.Random], bytes]]
    name: str
    load: Callable[[Path, random.Random], object]
    share: float = 1.0


# ---- valid files ---------------------------------------------------------------------------------


def saved(write: Callable[..., object], *arguments: Any, **options: Any) -> bytes:
    """Return what a function writes into a file."""
    file = io.BytesIO()
    write(file, *arguments, **options)
    return file.getvalue()


def arrays() -> list[np.ndarray]:
    """Arrays of the kinds that are data, and some that are none."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, [12, 5, 4]).astype(np.uint8)
    holes = rng.normal(size=[12, 6])
    holes[3, 2] = np.nan
    trap = np.array([Trap()] * 12, object)
    return [x, x / 255, np.asfortranarray(x), x > 99, holes, rng.normal(size=[12, 6, 2]).astype(">f4"), trap]


def npz_seeds() -> list[bytes]:
    """Archives of arrays."""
    x, grey, fortran, binary, holes, _, trap = arrays()
    y = np.arange(12) % 3
    return [
        saved(np.savez, x_train=x, x_test=x[:3], y_train=y, y_test=y[:3]),
        saved(np.savez_compressed, x=grey, y=y),
        saved(np.savez_compressed, x_train=fortran, x_test=fortran[:4], x_validation=fortran[:2]),
        saved(np.savez, x=holes, names=np.array(["a", "bc"])),
        saved(np.savez, x=binary, y=trap),
    ]


def csv_seeds() -> list[bytes]:
    """Tables as text."""
    rng = random.Random(0)
    rows = [
        f"{rng.gauss(0, 1):.3f},{rng.choice('xyz')},{rng.randrange(3)},{rng.random() < 0.5}"
        for _ in range(30)
    ]
    plain = "a,b,c,d\n" + "\n".join(rows) + "\n"
    quoted = 'a;"b ""quoted""; ä";c\n' + "".join(f'{i};"{i % 2}\n";{i / 7}\n' for i in range(20))
    holes = "a,b\r\n" + "".join(f"{i if i % 3 else ''},{'NA' if i % 4 else 2.5}\r\n" for i in range(20))
    typed = "day;time;yes;sum;id\n" + "".join(
        f"2020-02-{1 + i % 28:02d};2020-01-01T{i:02d}:00:00.5+01:00;{i % 2 == 0};1.{i:03d},5;{i % 3:03d}\n"
        for i in range(20)
    )
    plains = [text.encode() for text in (plain, quoted, typed, plain[8:].replace(",", "\t"))]
    return [*plains, holes.encode("utf-8-sig"), holes.encode("utf-16")]


def parquet_seeds() -> list[bytes]:
    """Tables of pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = 40
    table = pa.table(
        {
            "number": np.arange(n) * 0.5,
            "text": [f"level {i % 3}" for i in range(n)],
            "hole": [None if i % 5 == 0 else i for i in range(n)],
            "bool": [i % 2 == 0 for i in range(n)],
            "coded": pa.array(["a", "b"] * (n // 2)).dictionary_encode(),
            "day": pa.array(range(n), pa.date32()),
            "time": pa.array([None, *range(1, n)], pa.timestamp("ns", "Europe/Berlin")),
        }
    )
    ways: list[dict[str, Any]] = [
        {},
        {"compression": "none", "use_dictionary": False},
        {"compression": "zstd"},
    ]
    ways += [{**way, "store_schema": False} for way in ways]
    ways.append(
        {"compression": "none", "row_group_size": 7, "data_page_version": "2.0", "store_schema": False}
    )
    return [saved(lambda file, t=table, w=way: pq.write_table(t, file, **w)) for way in ways]


def image_seeds() -> list[bytes]:
    """Images in many formats."""
    from PIL import Image

    rng = np.random.default_rng(0)
    color = Image.fromarray(rng.integers(0, 256, [9, 8, 3]).astype(np.uint8))
    grey, clear = color.convert("L"), color.convert("RGBA")
    deep = Image.fromarray(rng.integers(0, 2**16, [9, 8]).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    moving = {"save_all": True, "append_images": [grey] * 5}
    ways: list[tuple[Any, str, dict[str, Any]]] = [(image, "PNG", {}) for image in (color, grey, clear, deep)]
    ways += [
        (color.convert("P"), "PNG", {"transparency": 3}),
        (color, "JPEG", {"exif": exif}),
        (color, "BMP", {}),
    ]
    ways += [
        (grey, "GIF", moving),
        (color, "WEBP", moving),
        (grey, "TIFF", moving),
        (deep, "TIFF", {}),
        (grey, "PPM", {}),
    ]
    ways += [
        (color, "TIFF", {"compression": "tiff_lzw"}),
        (color, "ICO", {"sizes": [(8, 8)]}),
        (color, "TGA", {}),
    ]
    return [saved(image.save, form, **options) for image, form, options in ways]


def config_seeds() -> list[bytes]:
    """Configurations; the last is that of `tiny_model`."""
    from probvae.config.architecture import Architecture
    from probvae.config.json_file import to_json
    from probvae.config.training import Training

    table = Architecture(
        (3,), likelihood="mixed", network="mlp", columns=("normal", "categorical:4", "poisson")
    )
    chosen = Training(objective="iwae", num_samples=5, image_size=(8, 8), column_kinds=("a=normal",))
    ladder = Architecture(
        (6,), network="mlp", likelihood="normal", latent_dim=3, latent_layers=(1, 2), units=(4,)
    )
    texts = [to_json(table, chosen), to_json(ladder), to_json(None, chosen), to_json(TINY(), Training())]
    return [text.encode() for text in texts]


def TINY() -> Any:  # noqa: N802
    """Return the architecture of the model whose weights are loaded."""
    from probvae.config.architecture import Architecture

    return Architecture((8, 8, 1), filters=(3, 4))


def tiny_model() -> Any:
    """Return that model, built once."""
    from probvae.models.building import build

    if not _MODELS:
        _MODELS.append(build(TINY()))
    return _MODELS[0]


_MODELS: list[Any] = []


def weight_seeds() -> list[bytes]:
    """Weights of that model, as saved and compressed."""
    from probvae.files import npz
    from probvae.models import saving

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.npz"
        saving.save_weights(tiny_model(), path)
        found = npz.read_arrays(path)
        return [path.read_bytes(), saved(np.savez_compressed, **found)]


# ---- loaders -------------------------------------------------------------------------------------


def load_data(path: Path, rng: random.Random) -> None:
    """Load data with some options, and read all their values."""
    from probvae.data import loading
    from probvae.data.dataset import Options

    options: dict[str, Any] = {"missing": rng.random() < 0.8}
    if path.suffix in (".npz", ".npy"):
        options["kind"] = rng.choice(["auto", "auto", "vector", "series", "image"])
    if path.suffix == ".csv":
        options |= {"delimiter": rng.choice(["", "", ";"]), "decimal": rng.choice(["auto", "auto", ",", "."])}
    data = loading.read(str(path), Options(**options))
    data.fingerprint()
    if data.schema.is_table:
        loading.read(str(path), Options(**options, schema=data.schema))


def load_images(path: Path, rng: random.Random) -> None:
    """Load a folder of a good image and a spoiled one."""
    from probvae.data import loading

    good = path.parent / "good.png"
    if not good.exists():
        for name in ("good.png", "too.png"):
            (path.parent / name).write_bytes(image_seeds()[1])
    loading.load(
        str(path.parent), image_size=rng.choice([8, None]), color=rng.choice(["auto", "grey"])
    ).fingerprint()


def load_weights(path: Path, rng: random.Random) -> None:
    """Load weights into the tiny model."""
    from probvae.models import saving

    saving.load_weights(tiny_model(), path)


def load_config(path: Path, rng: random.Random) -> None:
    """Read a configuration."""
    from probvae.models import saving

    saving.read_config(path.parent)


def load_run(path: Path, rng: random.Random) -> None:
    """Load a run whose config.json or weights.npz is spoiled: a file that begins with PK is the latter."""
    import tf_keras

    import probvae

    spoiled = path.read_bytes()
    archive = spoiled[:2] == b"PK"
    (path.parent / "config.json").write_bytes(config_seeds()[-1] if archive else spoiled)
    (path.parent / "weights.npz").write_bytes(spoiled if archive else weight_seeds()[0])
    probvae.load(path.parent)
    tf_keras.backend.clear_session()


def small_numbers(content: bytes, rng: random.Random) -> bytes:
    """Replace a number by one of a model that is built quickly."""
    found = [*re.finditer(rb"\d+", content)]
    chosen = rng.choice(found)
    return content[: chosen.start()] + str(rng.randrange(40)).encode() + content[chosen.end() :]


def run_mutation(content: bytes, rng: random.Random) -> bytes:
    """Spoil either file of a run."""
    if content[:2] == b"PK":
        return rng.choice(spoil.ARCHIVE)(content, rng)
    return rng.choice([small_numbers, small_numbers, spoil.word, spoil.flip, spoil.line])(content, rng)


LOADERS = {
    "data .npz": Loader(npz_seeds, spoil.ARCHIVE, "a.npz", load_data),
    "data .npy": Loader(
        lambda: [saved(np.save, a, allow_pickle=True) for a in arrays()], spoil.ARRAY, "a.npy", load_data
    ),
    "data .csv": Loader(csv_seeds, spoil.TEXT, "a.csv", load_data),
    "data .parquet": Loader(parquet_seeds, spoil.BINARY, "a.parquet", load_data),
    "folder of images": Loader(image_seeds, spoil.IMAGE, "spoiled.png", load_images),
    "config.json": Loader(config_seeds, spoil.JSON, "config.json", load_config),
    "weights.npz": Loader(weight_seeds, spoil.ARCHIVE, "weights.npz", load_weights),
    "run folder": Loader(
        lambda: [config_seeds()[-1], *weight_seeds()], [run_mutation], "spoiled", load_run, 0.2
    ),
}
