"""From what a run folder holds to a page of HTML that needs nothing else."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from probvae.environment import __version__
from probvae.errors import InputError
from probvae.files.writing import write_text
from probvae.runs.files import RunFiles, read_run
from probvae.runs.folder import REPORT
from probvae.runs.reports import findings, tables

MARK = b'<meta name="generator" content="probvae-report">'  # by which a page is known for ours
MOST_RUNS = 8  # side by side: as many as there are colours


def write_report(folder: Path) -> Path:
    """Write report.html into a run folder.

    Raises:
      InputError: as `read_run`.
      OSError: it cannot be written.
    """
    write_text(folder / REPORT, run_page(read_run(folder)))
    return folder / REPORT


def write_comparison(folders: Sequence[Path], output: Path) -> None:
    """Write a page that compares runs.

    Raises:
      InputError: as `read_run`; not from two to `MOST_RUNS` runs; `output` is a file of somebody else.
      OSError: it cannot be written.
    """
    if not 2 <= len(folders) <= MOST_RUNS:
        raise InputError(f"A comparison is of 2 to {MOST_RUNS} runs; got {len(folders)}.")
    if output.exists() and not (output.is_file() and _is_ours(output)):
        raise InputError(f"{output} exists and is no report: choose another --output.")
    if not output.parent.is_dir():
        raise InputError(f"There is no folder {output.parent}: make it, or choose another --output.")
    write_text(output, comparison_page([read_run(folder) for folder in folders]))


def run_page(run: RunFiles) -> str:
    """Return the report of a run; the same files give the same text."""
    variance = findings.latent_variance(run)
    names, rows = tables.history(run)
    return _render(
        "run.html",
        run=run,
        title=run.name,
        headline=tables.headline(run),
        findings=findings.findings(run),
        charts=tables.learning_curves([run]),
        dimensions=tables.dimensions(variance, findings.ACTIVE),
        originals=_original(run),
        slider=tables.slider([run]),
        latent=tables.pictures(run.pictures),
        evaluation=run.evaluation and tables.evaluation_rows(run.evaluation),
        evaluation_pictures=tables.pictures(run.evaluation.pictures) if run.evaluation else [],
        settings={
            "Architecture": tables.settings(run.architecture),
            "Training": tables.settings(run.training),
        },
        history_names=names,
        history_rows=rows,
    )


def comparison_page(runs: Sequence[RunFiles]) -> str:
    """Return a page of runs side by side; runs of the same name are numbered."""
    for i, run in enumerate(runs):
        if sum(other.name == run.name for other in runs) > 1:
            run.name = f"{run.folder.resolve().parent.name}/{run.name} ({i + 1})"
    return _render(
        "comparison.html",
        title=f"{len(runs)} runs compared",
        runs=runs,
        headlines=[tables.headline(run) for run in runs],
        rows=_side_by_side(runs),
        pairs=tables.pairs(runs),
        findings=[findings.findings(run) for run in runs],
        charts=tables.learning_curves(runs),
        slider=tables.slider(runs),
        latent=[(run.name, tables.pictures(run.pictures)) for run in runs],
        differences=tables.differences(runs),
    )


def _side_by_side(runs: Sequence[RunFiles]) -> list[tuple[str, list[str]]]:
    """Return the numbers of the headline by name, with each run's value."""
    found = [{name: value for name, value, _ in tables.headline(run)} for run in runs]
    names = list(dict.fromkeys(name for values in found for name in values))
    return [(name, [values.get(name, "–") for values in found]) for name in names]


def _original(run: RunFiles) -> tables.Picture | None:
    png = run.pictures.get("originals")
    return (png and tables.picture(png, "The test images that are reconstructed")) or None


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return MARK in file.read(1000)


def _render(template: str, **values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("probvae.runs.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    folder = files("probvae.runs.reports") / "templates"
    style, script = (Markup((folder / name).read_text("utf-8")) for name in ("style.css", "slider.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template(template)
    return page.render(
        style=style, script=script, digest=digest, mark=Markup(MARK.decode()), version=__version__, **values
    )
