"""A run: its folder, and all that is done with it. Reading a run loads no TensorFlow."""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "evaluation": ["evaluate"],
        "reports.page": ["write_comparison", "write_report"],
        "run": ["Run", "open_run"],
        "samples": ["sample"],
        "training": ["resume"],
    },
)

if TYPE_CHECKING:
    from probvae.runs.evaluation import evaluate as evaluate
    from probvae.runs.reports.page import write_comparison as write_comparison
    from probvae.runs.reports.page import write_report as write_report
    from probvae.runs.run import Run as Run
    from probvae.runs.run import open_run as open_run
    from probvae.runs.samples import sample as sample
    from probvae.runs.training import resume as resume
