import numpy as np
import pytest
from PIL import Image

from probvae import InputError, data
from probvae.data import arrays, images

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, [20, 6, 5]).astype(np.uint8)
COLOR = RNG.integers(0, 256, [20, 6, 5, 3]).astype(np.uint8)


def save(folder, pictures, names="{:02}.png"):
    for i, picture in enumerate(pictures):
        path = folder / names.format(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return str(folder)


def joined(d):
    return np.concatenate([np.asarray(d.train), np.asarray(d.test)])


def in_order(x):
    return x[np.lexsort(x.reshape(len(x), -1).T)]


@pytest.mark.parametrize("in_memory", [0, 2**20])
@pytest.mark.parametrize("pictures", [GREY, COLOR], ids=["grey", "color"])
def test_there_and_back(pictures, in_memory, tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "IN_MEMORY", in_memory)
    monkeypatch.setattr("probvae.data.folders.AT_ONCE", 3)
    d = data.load(save(tmp_path / "pictures", pictures))
    assert d.name == "pictures" and d.levels == 255 and d.train_labels is None and d.skipped == ()
    assert d.train.dtype == np.uint8 and (len(d.train), len(d.test)) == (18, 2)
    np.testing.assert_array_equal(in_order(joined(d)), in_order(pictures.reshape(20, 6, 5, -1)))
    assert d.fingerprint() == data.load(str(tmp_path / "pictures")).fingerprint()


@pytest.mark.parametrize("ending", ["png", "bmp", "gif", "tif", "webp", "ppm", "jpg"])
def test_formats(ending, tmp_path):
    smooth = np.linspace(0, 255, 16 * 16).astype(np.uint8).reshape(1, 16, 16).repeat(4, axis=0)
    d = data.load(save(tmp_path, smooth, "{}." + ending), color="grey")
    assert d.train.shape == (3, 16, 16, 1) and np.abs(d.train[0, ..., 0].astype(int) - smooth[0]).max() < 12


def test_subfolders_are_classes(tmp_path):
    for name, part in (("cats", GREY[:7]), ("Dogs", GREY[7:12]), ("ants/red", GREY[12:])):
        save(tmp_path / name, part)
    d = data.load(str(tmp_path), validation=0.3)
    assert d.label_names == ("Dogs", "ants", "cats")
    labels = np.concatenate([d.train_labels, d.test_labels, d.validation_labels])
    x = np.concatenate([joined(d), d.validation])
    truth = {GREY[i].tobytes(): 2 if i < 7 else 0 if i < 12 else 1 for i in range(20)}
    assert [truth[image.tobytes()] for image in x] == labels.tolist()
    save(tmp_path, GREY[:1], "loose.png")
    assert data.load(str(tmp_path)).train_labels is None


def test_subfolders_may_be_the_sets(tmp_path):
    for part, n in (("train", 6), ("test", 3), ("validation", 2)):
        for kind in ("a", "b"):
            save(tmp_path / part / kind, GREY[:n])
    d = data.load(str(tmp_path))
    assert (len(d.train), len(d.test), len(d.validation)) == (12, 6, 4)
    assert d.test_labels.tolist() == [0, 0, 0, 1, 1, 1] and d.label_names == ("a", "b")
    np.testing.assert_array_equal(d.train[:6, ..., 0], GREY[:6])


# ---- sizes and colours ---------------------------------------------------------------------------


def test_images_of_several_sizes_need_one(tmp_path):
    save(tmp_path, [GREY[0], GREY[0][:4]])
    refuse(tmp_path, r"2 different sizes, 4x5 to 6x5 .*--image-size 64")
    d = data.load(str(tmp_path), image_size=3)
    assert joined(d).shape == (2, 3, 3, 1)


def test_crops(tmp_path):
    """A wide picture, white but for a black middle: what is left of the white."""
    wide = np.full([8, 24], 255, np.uint8)
    wide[:, 8:16] = 0
    save(tmp_path, [wide] * 2)
    found = {}
    for crop in images.CROPS:
        d = data.load(str(tmp_path), image_size=(8, 8), crop=crop)
        assert d.event_shape == (8, 8, 1)
        found[crop] = d.train[0, ..., 0]
    assert found["center"][:, 1:-1].max() < 10
    assert found["none"][:, 0].min() > 240 and found["none"][:, 4].max() < 40
    assert found["pad"][0].max() == 0 and found["pad"][4, 0] > 240
    refuse(tmp_path, "crop must be one of center, none, pad; got 'left'", crop="left")


@pytest.mark.parametrize(("color", "channels"), [("auto", 3), ("rgb", 3), ("grey", 1)])
def test_colors(color, channels, tmp_path):
    save(tmp_path, [GREY[0], COLOR[0]])
    assert data.load(str(tmp_path), color=color).event_shape == (6, 5, channels)


def test_odd_modes(tmp_path):
    x = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    save(tmp_path / "deep", [x, x])
    np.testing.assert_array_equal(data.load(str(tmp_path / "deep")).train[0, ..., 0], x // 257)
    clear = np.zeros([8, 8, 4], np.uint8)
    clear[:4] = 255, 0, 0, 255
    save(tmp_path / "clear", [clear, clear])
    d = data.load(str(tmp_path / "clear"))
    assert d.train[0, 0, 0].tolist() == [255, 0, 0] and d.train[0, 7, 7].tolist() == [255, 255, 255]
    bits = (GREY[:2] > 127) * np.uint8(255)
    for i, bit in enumerate(bits):
        (tmp_path / "bits").mkdir(exist_ok=True)
        Image.fromarray(bit).convert("1").save(tmp_path / "bits" / f"{i}.png")
    assert data.load(str(tmp_path / "bits")).levels == 255
    assert set(np.unique(joined(data.load(str(tmp_path / "bits"))))) == {0, 255}


def test_a_picture_on_its_side_is_turned(tmp_path):
    turned = Image.fromarray(GREY[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(2):
        turned.save(tmp_path / f"{i}.png", exif=exif)
    d = data.load(str(tmp_path))
    np.testing.assert_array_equal(d.train[0, ..., 0], np.rot90(GREY[0], -1))


# ---- files that cannot be read -------------------------------------------------------------------


def refuse(path, message, **options):
    with pytest.raises(InputError, match=message) as caught:
        data.load(str(path), **options)
    assert "\n" not in str(caught.value)


def test_unreadable_files_are_left_out_by_name(tmp_path):
    save(tmp_path / "a", GREY[:9])
    save(tmp_path / "b", GREY[9:])
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "a" / "empty.png").touch()
    (tmp_path / ".hidden.png").write_text("no picture")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    whole = (tmp_path / "b" / "00.png").read_bytes()
    (tmp_path / "b" / "00.png").write_bytes(whole[:-30])  # its header can be read, not its pixels
    d = data.load(str(tmp_path))
    assert d.skipped == ("a/empty.png", "b/00.png", "gone.png", "notes.txt")
    assert len(joined(d)) == 19
    labels = np.concatenate([d.train_labels, d.test_labels])
    truth = {GREY[i].tobytes(): int(i >= 9) for i in range(20)}
    assert [truth[image.tobytes()] for image in joined(d)] == labels.tolist()
    assert data.skipped_sentence(d) == (
        f"4 files of {tmp_path.name} were left out, because they cannot be read as images: a/empty.png, "
        "b/00.png, gone.png and 1 more."
    )
    assert data.skipped_sentence(data.load("digits")) == ""


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    save(tmp_path, GREY)
    bomb = np.zeros([200, 200], np.uint8)
    Image.fromarray(bomb).save(tmp_path / "bomb.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 10_000)
    assert data.load(str(tmp_path)).skipped == ("bomb.png",)
    monkeypatch.undo()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30_000)
    assert data.load(str(tmp_path)).skipped == ("bomb.png",)


def test_folders_without_pictures(tmp_path):
    refuse(tmp_path, "must hold images that can be read; it is empty")
    for name in "abcde":
        (tmp_path / name).write_text(name)
    refuse(tmp_path, "none of its files can be: a, b, c and 2 more")
    save(tmp_path / "one", GREY[:1])
    refuse(tmp_path / "one", "two examples or more; it holds 1")
    content = (tmp_path / "one" / "00.png").read_bytes()
    (tmp_path / "one" / "00.png").write_bytes(content[:-30])
    refuse(tmp_path / "one", "none of its files can be: 00.png")


def test_options_that_do_not_fit(tmp_path):
    save(tmp_path, GREY)
    refuse(tmp_path, "label is for tables", label="y")
    refuse(tmp_path, "missing is for arrays and tables", missing=True)
    refuse(tmp_path, "must be vectors", kind="vector")
