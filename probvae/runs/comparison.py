"""Comparison of the evaluations of two runs, example by example. No TensorFlow."""

import os
from typing import Any, NamedTuple

from probvae.errors import InputError
from probvae.evaluation.estimates import Difference, paired_difference, refuse_unless_comparable
from probvae.runs.files import EvaluationResults
from probvae.runs.run import Run


class Comparison(NamedTuple):
    """The difference of two evaluations over the same examples.

    Attributes:
      method: Name of the estimate, exact or iwae.
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
      force: Whether evaluations under different conditions are compared, on the examples that both have.

    Raises:
      InputError: The evaluations have no estimate in common, or their conditions differ.
    """
    if not isinstance(force, bool):
        raise InputError(f"force must be True or False; got {force!r}.")
    common = first.arrays.keys() & second.arrays.keys()
    method = "exact" if "exact" in common else "iwae"
    if method not in common:
        raise InputError("Both evaluations must hold a bound for each example.")
    values, others = first.arrays[method], second.arrays[method]
    if force:
        n = min(len(values), len(others))  # an evaluation that was stopped has fewer
        values, others = values[:n], others[:n]
    else:
        refuse_other_conditions(first.conditions, second.conditions, method)
    return Comparison(method, paired_difference(values, others), len(values))


def refuse_other_conditions(first: dict[str, Any], second: dict[str, Any], method: str) -> None:
    """Refuse to compare estimates by a method under different conditions."""
    shared = {"method": method} if method == "iwae" else {"method": method, "num_samples": None}
    refuse_unless_comparable({**first, **shared}, {**second, **shared})


def read_comparable(folder: str | os.PathLike[str]) -> EvaluationResults:
    """Read the evaluation of a run, to compare another one with it.

    One that is absent, damaged, stopped too early or of other weights than the run's is refused.
    """
    run = Run(folder)
    again = f"run probvae-evaluate {folder} first"
    if run.evaluation is None:
        raise InputError(f"{folder} holds no evaluation to compare with: {again}.")
    if run.is_evaluation_stale or "iwae" not in run.evaluation.arrays:
        stale, early = "is of other weights than the run has now", "was stopped before its first result"
        reason = stale if run.is_evaluation_stale else early
        raise InputError(f"The evaluation in {folder} {reason}: {again}, with --overwrite.")
    return run.evaluation
