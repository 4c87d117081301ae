"""Data by name or by path: their checks, their splits, their binarization, their labels."""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "arrays": ["Rows"],
        "binarization": ["BINARIZATIONS", "Binarization", "Prepared", "prepare"],
        "dataset": ["DataSet"],
        "folders": ["skipped_sentence"],
        "images": ["CROPS"],
        "labels": ["forget_labels", "join_prepared", "join_rows", "one_hot"],
        "loading": ["READERS", "load"],
        "sources": ["SOURCES"],
        "splits": ["HELD_OUT"],
        "streams": ["from_tf_dataset"],
        "tables.table_files": ["in_units"],
    },
)

if TYPE_CHECKING:
    from probvae.data.arrays import Rows as Rows
    from probvae.data.binarization import BINARIZATIONS as BINARIZATIONS
    from probvae.data.binarization import Binarization as Binarization
    from probvae.data.binarization import Prepared as Prepared
    from probvae.data.binarization import prepare as prepare
    from probvae.data.dataset import DataSet as DataSet
    from probvae.data.folders import skipped_sentence as skipped_sentence
    from probvae.data.images import CROPS as CROPS
    from probvae.data.labels import forget_labels as forget_labels
    from probvae.data.labels import join_prepared as join_prepared
    from probvae.data.labels import join_rows as join_rows
    from probvae.data.labels import one_hot as one_hot
    from probvae.data.loading import READERS as READERS
    from probvae.data.loading import load as load
    from probvae.data.sources import SOURCES as SOURCES
    from probvae.data.splits import HELD_OUT as HELD_OUT
    from probvae.data.streams import from_tf_dataset as from_tf_dataset
    from probvae.data.tables.table_files import in_units as in_units
