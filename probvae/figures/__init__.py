"""Figures from arrays and distributions, drawn with matplotlib."""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "curves": ["bound_against_samples", "gap_histogram", "learning_curves"],
        "images": ["example_grid", "image_grid", "show", "tile", "to_gif", "to_png"],
        "latent": ["encode", "latent_circle", "latent_manifold", "latent_means", "projection", "traversals"],
        "panels": ["grid"],
        "posterior": ["posterior_contours"],
        "theme": ["style"],
    },
)

if TYPE_CHECKING:
    from probvae.figures.curves import bound_against_samples as bound_against_samples
    from probvae.figures.curves import gap_histogram as gap_histogram
    from probvae.figures.curves import learning_curves as learning_curves
    from probvae.figures.images import example_grid as example_grid
    from probvae.figures.images import image_grid as image_grid
    from probvae.figures.images import show as show
    from probvae.figures.images import tile as tile
    from probvae.figures.images import to_gif as to_gif
    from probvae.figures.images import to_png as to_png
    from probvae.figures.latent import encode as encode
    from probvae.figures.latent import latent_circle as latent_circle
    from probvae.figures.latent import latent_manifold as latent_manifold
    from probvae.figures.latent import latent_means as latent_means
    from probvae.figures.latent import projection as projection
    from probvae.figures.latent import traversals as traversals
    from probvae.figures.panels import grid as grid
    from probvae.figures.posterior import posterior_contours as posterior_contours
    from probvae.figures.theme import style as style
