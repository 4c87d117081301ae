"""The explorer: a web page of a run, collected and written."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from probvae.arguments import flag
from probvae.errors import InputError
from probvae.export.web.content import describe, refuse_unless_served
from probvae.export.web.page import to_html
from probvae.files import writing
from probvae.runs.observer import Observer
from probvae.runs.run import Run, as_run

PAGE = "explorer.html"


class Explorer(NamedTuple):
    """The page that was written.

    Attributes:
      path: Path of the page.
      method: Name of the estimate of log p(x).
      log_prob: Mean of log p(x) over the images of the page, nats.
    """

    path: Path
    method: str
    log_prob: float


def explore(
    run: Run | str | os.PathLike[str],
    *,
    points: int = 500,
    log_prob: str = "auto",
    num_samples: int = 100,
    data: str | None = None,
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    observer: Observer | None = None,
) -> Explorer:
    """Write a web page in which a trained model decodes under the pointer.

    Args:
      run: Run, or its folder.
      points: Number of test images to show, the first ones.
      log_prob: Estimate of their log p(x): exact, iwae, or auto, which is exact for one or two dimensions.
      num_samples: Number of draws of z for each image of iwae.
      data: Name or path of other data than the run was trained on.
      seed: Seed of the draws.
      output: Page to write; RUN/explorer.html unless given.
      overwrite: Whether an existing page is replaced.
      observer: Receiver of the progress.

    Raises:
      InputError: There is no run, its data cannot be read, the page cannot be written, or a browser cannot
        run the model.
    """
    run, observer = as_run(run, data), observer or Observer()
    path = run.folder / PAGE if output is None else Path(output)
    _refuse_unless_free(path, overwrite=overwrite)
    refuse_unless_served(run.architecture)
    x, labels = run.test
    observer.begin(f"{len(x[:points]):,} test images of {run.examples.name}")
    content = describe(
        run.model,
        x[:points],
        None if labels is None else labels[:points],
        title=run.name,
        data=Path(run.examples.name).name,
        threshold=run.training.binarize != "none",
        label_names=tuple(run.examples.label_names),
        method=log_prob,
        num_samples=num_samples,
        seed=seed,
        on_progress=observer.progress,
    )
    observer.close()
    writing.write_text(path, to_html(content))
    known = [value for value in content["points"]["log_prob"] if value is not None]
    return Explorer(path, content["log_prob"]["name"], float(np.mean(known)))


def _refuse_unless_free(path: Path, *, overwrite: bool) -> None:
    flag("overwrite", overwrite)
    if path.is_dir():
        raise InputError(f"{path} is a folder: give --output a file's name, such as {path / PAGE}.")
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--output must be the name of a page, ending in .html; got {path.name!r}.")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already: add --overwrite, or choose another --output.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent}: make it, or choose another --output.")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"The folder {path.parent} cannot be written to: choose another --output.")
