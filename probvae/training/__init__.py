"""Compiled training loop, with its state, optimizer, devices and trackers."""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "non_finite": ["NonFiniteError"],
        "optimizer": ["SCHEDULES"],
        "state": ["Row", "State"],
        "strategies": ["STRATEGIES"],
        "trainer": ["Trainer", "fit"],
    },
)

if TYPE_CHECKING:
    from probvae.training.non_finite import NonFiniteError as NonFiniteError
    from probvae.training.optimizer import SCHEDULES as SCHEDULES
    from probvae.training.state import Row as Row
    from probvae.training.state import State as State
    from probvae.training.strategies import STRATEGIES as STRATEGIES
    from probvae.training.trainer import Trainer as Trainer
    from probvae.training.trainer import fit as fit
