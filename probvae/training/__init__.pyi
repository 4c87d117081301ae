from .non_finite import NonFiniteError as NonFiniteError
from .optimizer import SCHEDULES as SCHEDULES
from .state import Row as Row
from .state import State as State
from .strategies import STRATEGIES as STRATEGIES
from .trainer import Trainer as Trainer
from .trainer import fit as fit
