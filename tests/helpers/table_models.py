"""Untrained models of tables."""

import numpy as np

from probvae.config.architecture import Architecture
from probvae.data.tables.table_files import whole_frame
from probvae.models.building import build


def table_model(schema, units=(4,)):
    """A model of a table with missing cells, of two latent dimensions."""
    architecture = Architecture(
        event_shape=schema.event_shape,
        likelihood="mixed",
        network="mlp",
        units=units,
        columns=schema.likelihoods,
        missing=True,
    )
    return build(architecture, schema=schema)


def model_of_frame(frame, kinds, spread):
    """A model of a DataFrame whose columns depend on z, with weights far from those of the start."""
    _, schema = whole_frame(frame, kinds=kinds, missing=True)
    vae = table_model(schema)
    rng = np.random.default_rng(1)
    for v in vae.decoder.trainable_variables:
        v.assign(v + spread * rng.standard_normal(v.shape))
    return vae
