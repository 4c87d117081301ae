"""Models for use without probvae: SavedModel, ONNX, and a model card."""

from probvae.export.folder import FORMATS, export_model, export_run

__all__ = ["FORMATS", "export_model", "export_run"]
