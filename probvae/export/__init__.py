"""Export of models for use without probvae: SavedModel, ONNX, a web page, and a model card."""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "folder": ["FORMATS", "export_model", "export_run"],
        "web.explorer": ["Explorer", "explore"],
    },
)

if TYPE_CHECKING:
    from probvae.export.folder import FORMATS as FORMATS
    from probvae.export.folder import export_model as export_model
    from probvae.export.folder import export_run as export_run
    from probvae.export.web.explorer import Explorer as Explorer
    from probvae.export.web.explorer import explore as explore
