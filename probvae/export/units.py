"""The signatures of an exported model: its functions in the units of the data, and on coded x."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from probvae.export.checks import Check, masked
from probvae.export.functions import CHECKS, FUNCTIONS, mean_name, whole
from probvae.export.image_values import Images
from probvae.export.table_values import Table
from probvae.export.values import Outputs, Values
from probvae.models.vae import VAE
from probvae.seeds import as_seed, fold_in

CODED = "_x"  # end of the names of signatures that take and give coded x
BINARIZATION = 1  # stream of the seed of a binarization
# Kinds of examples whose values differ from x, or have a range; of others, x are the values.
VALUES: dict[str, Callable[..., Values]] = {"image": Images, "table": Table}


def values_of(vae: VAE) -> Values | None:
    """Return what the main signatures of a model take and give; None for x itself."""
    make = None if vae.schema is None else VALUES.get(vae.schema.kind)
    return None if make is None else make(vae.schema)


def signatures(vae: VAE, values: Values | None) -> dict[str, Any]:
    """Return the functions of an export by their names, those of `FUNCTIONS` with and without `CODED`.

    Without `CODED` they take and give values in the units of the data, where `values` says what these are.
    All that take rows give `problem` [B]: what is wrong with each row, "" for nothing.
    """
    coded = {name: function(vae) for name, function in FUNCTIONS.items()}
    coded |= {name: _with_problem(coded[name], check(vae)) for name, check in CHECKS.items()}
    if values is None:
        return coded
    main = {name: in_units(coded[name], values, mean_name(vae)) for name, in_units in IN_UNITS.items()}
    return main | {f"{name}{CODED}": function for name, function in coded.items()}


def _with_problem(function: Any, check: Check) -> Any:
    """Return a function of rows that says what is wrong with each."""

    @tf.function(input_signature=function.input_signature, autograph=False)
    def with_problem(rows: tf.Tensor, *others: tf.Tensor) -> Outputs:
        return {**function(rows, *others), "problem": tf.where(check.rows(rows), "", check.expected)}

    return with_problem


def _where_right(problem: tf.Tensor, outputs: Outputs) -> Outputs:
    """Return outputs [B, ...] without values for the examples with a problem, and the problems.

    These are those of the values or, if these have none, the `problem` of the outputs.
    """
    problem = tf.where(problem == "", outputs["problem"], problem)
    return {**masked(problem == "", {k: v for k, v in outputs.items() if k != "problem"}), "problem": problem}


def _encode(coded: Any, values: Values, mean: str) -> Any:
    """Return a function from values to `loc` and `scale` [B, L] of q(z|x)."""

    @tf.function(input_signature=[values.specs], autograph=False)
    def encode(cells: dict[str, tf.Tensor]) -> Outputs:
        x, problem, _ = values.encode(cells, fold_in(0, BINARIZATION))
        return _where_right(problem, coded(x))

    return encode


def _decode(coded: Any, values: Values, mean: str) -> Any:
    """Return a function from z [B, L] to the central values of p(x|z)."""

    @tf.function(input_signature=coded.input_signature, autograph=False)
    def decode(z: tf.Tensor) -> Outputs:
        decoded = coded(z)
        centers = values.centers({**decoded, "mean": decoded[mean]})
        return _where_right(decoded["problem"], {**centers, "problem": decoded["problem"]})

    return decode


def _log_prob(coded: Any, values: Values, mean: str) -> Any:
    """Return a function from (values, num_samples, seed) to `elbo` and `iwae` [B], float64, in nats.

    They are bounds on the log-density of the values in the units of the data.
    """

    @tf.function(input_signature=[values.specs, whole("num_samples"), whole("seed")], autograph=False)
    def log_prob(cells: dict[str, tf.Tensor], num_samples: tf.Tensor, seed: tf.Tensor) -> Outputs:
        x, problem, log_slope = values.encode(cells, fold_in(as_seed(seed), BINARIZATION))
        bounds = coded(x, num_samples, seed)
        return _where_right(
            problem,
            {name: tf.cast(bounds[name], tf.float64) + log_slope for name in ("elbo", "iwae")}
            | {"problem": bounds["problem"]},
        )

    return log_prob


def _sample(coded: Any, values: Values, mean: str) -> Any:
    """Return a function from (number, seed) to z ~ p(z) [N, L] and the values of x ~ p(x|z)."""

    @tf.function(input_signature=coded.input_signature, autograph=False)
    def sample(number: tf.Tensor, seed: tf.Tensor) -> Outputs:
        drawn = coded(number, seed)
        return {"z": drawn["z"], **values.decode(drawn["x"])}

    return sample


IN_UNITS: dict[str, Callable[[Any, Values, str], Any]] = {
    "encode": _encode,
    "decode": _decode,
    "log_prob": _log_prob,
    "sample": _sample,
}
