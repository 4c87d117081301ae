"""Untrained models of tables."""

from probvae.config.architecture import Architecture
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
