"""Runs: training, evaluation, samples and reports in one folder. Reading a run loads no TensorFlow.

>>> from probvae import runs
>>> run = runs.train({"latent_dim": 3}, {"epochs": 5}, data="digits", output="runs/digits")  # doctest: +SKIP
>>> run = runs.resume("runs/digits", epochs=10)  # doctest: +SKIP
>>> runs.evaluate(run, num_samples=1000).results["exact"]["mean"]  # doctest: +SKIP
>>> runs.sample(run, "interpolation").samples.mean  # doctest: +SKIP
>>> runs.report("runs/digits", "runs/other")  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "comparison": ["Comparison", "compare_evaluations"],
        "evaluation": ["evaluate"],
        "files": ["EvaluationResults"],
        "job": ["Job", "RunOptions"],
        "observer": ["Observer"],
        "reports.page": ["report", "write_comparison", "write_report"],
        "run": ["Run", "open_run"],
        "sample_options": ["SampleOptions"],
        "samples": ["SampleFiles", "sample"],
        "training": ["resume", "train"],
    },
)

if TYPE_CHECKING:
    from probvae.runs.comparison import Comparison as Comparison
    from probvae.runs.comparison import compare_evaluations as compare_evaluations
    from probvae.runs.evaluation import evaluate as evaluate
    from probvae.runs.files import EvaluationResults as EvaluationResults
    from probvae.runs.job import Job as Job
    from probvae.runs.job import RunOptions as RunOptions
    from probvae.runs.observer import Observer as Observer
    from probvae.runs.reports.page import report as report
    from probvae.runs.reports.page import write_comparison as write_comparison
    from probvae.runs.reports.page import write_report as write_report
    from probvae.runs.run import Run as Run
    from probvae.runs.run import open_run as open_run
    from probvae.runs.sample_options import SampleOptions as SampleOptions
    from probvae.runs.samples import SampleFiles as SampleFiles
    from probvae.runs.samples import sample as sample
    from probvae.runs.training import resume as resume
    from probvae.runs.training import train as train
