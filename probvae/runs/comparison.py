"""The evaluations of two runs, compared example by example. No TensorFlow."""

import os
from typing import Any, NamedTuple

from probvae.errors import InputError
from probvae.evaluation.estimates import Difference, paired_difference, refuse_unless_comparable
from probvae.runs.files import EvaluationResults
from probvae.runs.run import Run


class Comparison(NamedTuple):
    """The difference of two evaluations over the same examples.

    Attributes:
      method: Name of the estimate that is compared, exact or iwae.
      difference: Mean of first minus second, with its interval.
      num_examples: Number of examples.
    """

    method: str
    difference: Difference
    num_examples: int


def compare_evaluations(
    first: EvaluationResults, second: EvaluationResults, *, force: bool = False
) -> Comparison:
    """Compare the best estimate of log p(x) that two evaluations have in common.

    Args:
      first: Evaluation of one run.
      second: Evaluation of another run on the same examples.
      force: Whether evaluations under other conditions are compared too, on the examples that both have.

    Raises:
      InputError: no common estimate; other conditions.
    """
    common = first.arrays.keys() & second.arrays.keys()
    method = "exact" if "exact" in common else "iwae"
    if method not in common:
        raise InputError("Both evaluations must hold a bound for each example.")
    a, b = first.arrays[method], second.arrays[method]
    if force:
        n = min(len(a), len(b))  # fewer where either was stopped
        a, b = a[:n], b[:n]
    else:
        refuse_other_conditions(first.conditions, second.conditions, method)
    return Comparison(method, paired_difference(a, b), len(a))


def refuse_other_conditions(first: dict[str, Any], second: dict[str, Any], method: str) -> None:
    """Refuse to compare estimates of a method that were made under other conditions.

    Raises:
      InputError: a condition differs.
    """
    shared = {"method": method} if method == "iwae" else {"method": method, "num_samples": None}
    refuse_unless_comparable({**first, **shared}, {**second, **shared})


def read_comparable(folder: str | os.PathLike[str]) -> EvaluationResults:
    """Read the evaluation of a run, to compare another one with it.

    Raises:
      InputError: there is none, it is damaged, was stopped early, or is of other weights than the run's.
    """
    run = Run(folder)
    again = f"run probvae-evaluate {folder} first"
    if run.evaluation is None:
        raise InputError(f"{folder} holds no evaluation to compare with: {again}.")
    if run.is_evaluation_stale or "iwae" not in run.evaluation.arrays:
        stale, early = "is of other weights than the run has now", "was stopped before its first result"
        why = stale if run.is_evaluation_stale else early
        raise InputError(f"The evaluation in {folder} {why}: {again}, with --overwrite.")
    return run.evaluation
