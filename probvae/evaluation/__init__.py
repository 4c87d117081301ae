"""The evaluation of a model on data: estimates with their errors, checks, outlier scores, stage by stage."""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "aggregation": ["AggregatePosterior", "aggregate_posterior"],
        "checks": ["Check", "LabelAccuracy", "label_accuracy", "predictive_check"],
        "estimates": ["Difference", "MeanEstimate", "mean_estimate", "paired_difference"],
        "latents": [
            "ActiveUnits",
            "KLPerDimension",
            "RateDistortion",
            "active_units",
            "bits_per_dimension",
            "kl_per_dimension",
            "posterior_moments",
            "rate_distortion",
        ],
        "outliers": ["auroc", "compressed_size", "save_scores", "scores"],
        "stages": ["STAGES", "run_stages"],
        "state": ["Evaluation", "Line"],
    },
)

if TYPE_CHECKING:
    from probvae.evaluation.aggregation import AggregatePosterior as AggregatePosterior
    from probvae.evaluation.aggregation import aggregate_posterior as aggregate_posterior
    from probvae.evaluation.checks import Check as Check
    from probvae.evaluation.checks import LabelAccuracy as LabelAccuracy
    from probvae.evaluation.checks import label_accuracy as label_accuracy
    from probvae.evaluation.checks import predictive_check as predictive_check
    from probvae.evaluation.estimates import Difference as Difference
    from probvae.evaluation.estimates import MeanEstimate as MeanEstimate
    from probvae.evaluation.estimates import mean_estimate as mean_estimate
    from probvae.evaluation.estimates import paired_difference as paired_difference
    from probvae.evaluation.latents import ActiveUnits as ActiveUnits
    from probvae.evaluation.latents import KLPerDimension as KLPerDimension
    from probvae.evaluation.latents import RateDistortion as RateDistortion
    from probvae.evaluation.latents import active_units as active_units
    from probvae.evaluation.latents import bits_per_dimension as bits_per_dimension
    from probvae.evaluation.latents import kl_per_dimension as kl_per_dimension
    from probvae.evaluation.latents import posterior_moments as posterior_moments
    from probvae.evaluation.latents import rate_distortion as rate_distortion
    from probvae.evaluation.outliers import auroc as auroc
    from probvae.evaluation.outliers import compressed_size as compressed_size
    from probvae.evaluation.outliers import save_scores as save_scores
    from probvae.evaluation.outliers import scores as scores
    from probvae.evaluation.stages import STAGES as STAGES
    from probvae.evaluation.stages import run_stages as run_stages
    from probvae.evaluation.state import Evaluation as Evaluation
    from probvae.evaluation.state import Line as Line
