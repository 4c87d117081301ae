import io

import numpy as np
import pytest
from PIL import Image

from probvae import figures
from probvae.config.architecture import Architecture
from probvae.figures.posterior import posterior_contours
from probvae.models.building import build


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(figures.to_png(figure))).convert("RGB"))


def test_tile_places_every_image():
    images = np.arange(5)[:, None, None, None] / 10 * np.ones([5, 2, 3, 1])
    picture = figures.tile(images, 3, gap=1)
    assert picture.shape == (5, 11, 1)
    assert picture[0, 0, 0] == 0 and picture[0, 4, 0] == 0.1 and picture[3, 4, 0] == 0.4
    assert picture[3, 8, 0] == 1  # an empty place is white


@pytest.mark.parametrize("channels", [1, 3, 2])
def test_image_grid_shows_dark_and_bright(channels):
    images = np.zeros([16, 8, 8, channels])
    images[3] = 1.0
    picture = pixels(figures.image_grid(images, title="title"))
    assert picture.min() == 0 and picture.max() == 255
    assert 0.5 < np.mean(picture < 10) < 0.95


def test_latent_manifold_asks_for_the_tutorials_quantiles():
    asked = []

    def mean(z):
        asked.append(z)
        return np.full([len(z), 4, 4, 1], 0.5)

    pixels(figures.latent_manifold(mean, n=5))
    z = asked[0].reshape(5, 5, 2)
    np.testing.assert_allclose(z[0, [0, -1], 0], [-1.644854, 1.644854], rtol=1e-5)  # 5% and 95%
    np.testing.assert_allclose(z[[0, -1], 0, 1], [1.644854, -1.644854], rtol=1e-5)
    np.testing.assert_allclose(z[2, 2], [0, 0], atol=1e-7)


@pytest.mark.parametrize("labels", [None, np.arange(50) % 10, np.arange(50) % 17, np.arange(50)])
def test_latent_means(labels):
    loc = np.random.default_rng(0).standard_normal([50, 2])
    picture = pixels(figures.latent_means(loc, labels))
    saturation = picture.max(axis=-1).astype(int) - picture.min(axis=-1)
    assert (saturation > 40).sum() > 200


def test_learning_curves_draw_every_panel():
    figure = figures.learning_curves({"A": [3.0, 2.0], "B": [1.0, 1.5]}, [1, 2])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["A (nats)", "B (nats)"]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [3, 2])
    pixels(figure)


def test_gif_has_every_frame():
    frames = [figures.to_png(figures.image_grid(np.full([4, 2, 2, 1], v))) for v in (0.0, 0.5, 1.0)]
    gif = Image.open(io.BytesIO(figures.to_gif(frames)))
    assert gif.n_frames == 3 and gif.info["loop"] == 0


def test_latent_circle_goes_around_once():
    asked = []

    def mean(z):
        asked.append(z)
        return np.full([len(z), 4, 4, 1], 0.5)

    pixels(figures.latent_circle(mean, n=8))
    np.testing.assert_allclose(asked[0][[0, 2, 4]], [[1, 0], [0, 1], [-1, 0]], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(asked[0], axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(("shape", "network"), [((3,), "mlp"), ((1,), "mlp"), ((6, 1), "conv1d")])
def test_contours_of_vectors_and_series_have_no_picture_of_x(shape, network):
    sizes = {"units": (4,)} if network == "mlp" else {"filters": (2,)}
    vae = build(Architecture(event_shape=shape, likelihood="normal", network=network, **sizes))
    x = np.random.default_rng(0).standard_normal([2, *shape]).astype(np.float32)
    figure = posterior_contours(vae, x, points=20)
    assert len(figure.axes) == 2 and not any(axes.images for axes in figure.axes)


def test_names_are_drawn_as_they_are():
    """Dollars begin no formula, and a name without letters in the font becomes the number of its column."""
    figure = figures.example_grid(np.zeros([3, 3]), names=("$x_{$", "a" * 40, "\uac00\uac01"))
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert names == ["$x_{$", "a" * 15 + "\u2026", "column 3"]
    pixels(figure)
    pixels(
        figures.latent_means(np.random.default_rng(0).standard_normal([4, 2]), np.array(["$x_{$", "b"] * 2))
    )
