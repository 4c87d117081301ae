"""The base of estimators with a fitted model."""

import contextlib
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from probvae.config.architecture import Architecture
from probvae.data.schema import Schema
from probvae.errors import InputError
from probvae.models.building import build
from probvae.models.vae import VAE
from probvae.sklearn.rows import RowModel
from probvae.sklearn.validation import plain
from probvae.training import shared
from probvae.training.state import assign


class FittedModel(BaseEstimator):
    """An estimator with the weights of a model.

    It computes by compiled models that all estimators of an architecture share, which take its weights for
    the time of a call. A model of its own is made for the caller alone, who may change it.
    """

    architecture_: Architecture
    schema_: Schema | None
    weights_: list[np.ndarray]
    score_num_samples: int
    _live: VAE | None = None  # `vae_`, once it has been asked for

    @property
    def vae_(self) -> VAE:
        """Fitted `probvae.VAE` of coded rows, x = (X - loc_) / scale_ for arrays."""
        check_is_fitted(self, "architecture_")
        live = self._live
        if live is None:
            live = self._live = build(self.architecture_, schema=self.schema_)
            assign(live.variables, self.weights_)
        return live

    def _model(self) -> contextlib.AbstractContextManager[RowModel]:
        """Give a compiled model with the weights of this estimator, or of its `vae_` if there is one."""
        draws = self._score_draws()
        return self.borrowed((RowModel, draws), lambda vae: RowModel(vae, draws))

    def borrowed(self, what: Hashable, make: Callable[[VAE], Any]) -> contextlib.AbstractContextManager[Any]:
        """Give something compiled with these weights, see `training.shared.borrowed`."""
        weights = self.weights_ if self._live is None else [v.numpy() for v in self._live.variables]
        return shared.borrowed(self.architecture_, weights, what, make)

    def _score_draws(self) -> int:
        draws = plain(self.score_num_samples)
        if type(draws) is not int or draws < 1:
            raise InputError(f"score_num_samples must be an integer of 1 or more; got {draws!r}.")
        return draws

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the model in TensorFlow, for pickles."""
        return {name: value for name, value in super().__getstate__().items() if name != "_live"}
