"""The configuration of a run, `Architecture` and `Training`: checks and JSON, without TensorFlow."""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "architecture": ["Architecture"],
        "choices": ["CHOICES", "RECIPES"],
        "json_file": ["from_json", "to_json"],
        "training": ["Every", "Training"],
    },
)

if TYPE_CHECKING:
    from probvae.config.architecture import Architecture as Architecture
    from probvae.config.choices import CHOICES as CHOICES
    from probvae.config.choices import RECIPES as RECIPES
    from probvae.config.json_file import from_json as from_json
    from probvae.config.json_file import to_json as to_json
    from probvae.config.training import Every as Every
    from probvae.config.training import Training as Training
