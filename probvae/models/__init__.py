"""The VAE and its variants: their networks, building, saving and loading."""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "building": ["build", "conv_vae"],
        "conditional": ["ConditionalVAE", "JoinedLikelihood", "observed_contexts"],
        "encoding": ["Codes", "encode"],
        "m2": ["M2VAE"],
        "networks.registry": ["NETWORKS", "Network", "network"],
        "saving": ["load", "save"],
        "vae": ["VAE"],
    },
)

if TYPE_CHECKING:
    from probvae.models.building import build as build
    from probvae.models.building import conv_vae as conv_vae
    from probvae.models.conditional import ConditionalVAE as ConditionalVAE
    from probvae.models.conditional import JoinedLikelihood as JoinedLikelihood
    from probvae.models.conditional import observed_contexts as observed_contexts
    from probvae.models.encoding import Codes as Codes
    from probvae.models.encoding import encode as encode
    from probvae.models.m2 import M2VAE as M2VAE
    from probvae.models.networks.registry import NETWORKS as NETWORKS
    from probvae.models.networks.registry import Network as Network
    from probvae.models.networks.registry import network as network
    from probvae.models.saving import load as load
    from probvae.models.saving import save as save
    from probvae.models.vae import VAE as VAE
