"""Reports of runs as HTML pages, each in one file."""

import base64
import hashlib
import os
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from probvae.display import example_noun
from probvae.environment import __version__
from probvae.errors import InputError
from probvae.files.writing import write_text
from probvae.runs.folder import REPORT
from probvae.runs.reports import column_sections, findings, tables
from probvae.runs.run import Run
from probvae.runs.table_files import table_of

MARK = b'<meta name="generator" content="probvae-report">'  # mark of a page of probvae
MOST_RUNS = 8  # largest number of runs in a comparison, the number of colours


def report(*runs: Run | str | os.PathLike[str], output: str | os.PathLike[str] = "comparison.html") -> Path:
    """Write the report.html of each run and, of several runs, a page that compares them.

    Args:
      *runs: Runs, or their folders.
      output: Path of the comparison; an existing report is replaced.

    Returns:
      Path of the comparison or, for one run, of its report.

    Raises:
      InputError: A run cannot be read or is given twice, there are more than `MOST_RUNS` runs, or `output` is
        a file of another kind.
      OSError: A page cannot be written.
    """
    folders = [Path(run) for run in runs]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("A run is given twice: give different runs to compare.")
    if len(folders) != 1:
        write_comparison(folders, Path(output))
    reports = [write_report(folder) for folder in folders]
    return reports[0] if len(folders) == 1 else Path(output)


def read_run(folder: Path) -> Run:
    """Open a run and read all files of its report; `problems` lists the damaged ones."""
    run = Run(folder, lenient=True)
    run.read_all(tables.picture_names(run))
    table_of(run)
    return run


def write_report(folder: Path) -> Path:
    """Write report.html into a run folder.

    Raises:
      InputError: The folder is not a run folder, or its config.json is damaged.
      OSError: The report cannot be written.
    """
    write_text(folder / REPORT, run_page(read_run(folder)))
    return folder / REPORT


def renew_report(folder: Path, warn: Callable[[str], None]) -> None:
    """Write report.html into a run folder; an error becomes a warning."""
    try:
        write_report(folder)
    except Exception as error:  # a report must not end a run
        reason = " ".join(str(error).split()) or type(error).__name__
        warn(f"no report was written: {reason}")


def write_comparison(folders: Sequence[Path], output: Path) -> None:
    """Write a page that compares runs.

    Raises:
      InputError: A run cannot be read, there are not 2 to `MOST_RUNS` runs, or `output` is a file of another
        kind.
      OSError: The page cannot be written.
    """
    if not 2 <= len(folders) <= MOST_RUNS:
        raise InputError(f"A comparison is of 2 to {MOST_RUNS} runs; got {len(folders)}.")
    if output.exists() and not (output.is_file() and _is_ours(output)):
        raise InputError(f"{output} exists and is no report: choose another --output.")
    if not output.parent.is_dir():
        raise InputError(f"There is no folder {output.parent}: make it, or choose another --output.")
    write_text(output, comparison_page([read_run(folder) for folder in folders]))


def run_page(run: Run) -> str:
    """Return the HTML of the report of a run; the same files give the same text."""
    variance = findings.latent_variance(run)
    names, rows = tables.history(run)
    png, table = run.picture(tables.ORIGINALS), table_of(run)
    has_images = example_noun(run.architecture.event_shape) == "image"
    is_table = bool(run.architecture.columns)
    return _render(
        "run.html",
        run=run,
        title=run.name,
        headline=tables.headline(run),
        findings=findings.findings_of(run),
        charts=tables.learning_curves([run]),
        dimensions=tables.dimensions(variance),
        originals=tables.picture(png, "The test examples that are reconstructed") if png else None,
        slider=tables.slider([run]),
        is_table=is_table,
        columns=column_sections.columns_of(table),
        no_imputation=column_sections.note_of_imputation(run.architecture, table),
        latent=tables.pictures(run, tables.CAPTIONS),
        evaluation=run.evaluation and tables.evaluation_rows(run.evaluation),
        evaluation_pictures=tables.pictures(run, tables.EVALUATION_CAPTIONS) if run.evaluation else [],
        settings={
            "Architecture": tables.settings(run.architecture, has_images=has_images),
            "Training": tables.settings(run.training, has_images=has_images),
            **({"Columns": tables.columns(run.saved_schema)} if run.saved_schema else {}),
        },
        history_names=names,
        history_rows=rows,
    )


def comparison_page(runs: Sequence[Run]) -> str:
    """Return the HTML of a comparison; runs of the same name are numbered."""
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
        findings=[findings.findings_of(run) for run in runs],
        charts=tables.learning_curves(runs),
        slider=tables.slider(runs),
        latent=[(run.name, tables.pictures(run, tables.CAPTIONS)) for run in runs],
        differences=tables.differences(runs),
    )


def _side_by_side(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return the names of the headline, with units that differ between tables, and values in all runs."""
    headlines = [
        {name + "".join(remark.partition(", in the units")[1:]): value for name, value, remark in headline}
        for headline in map(tables.headline, runs)
    ]
    names = dict.fromkeys(name for values in headlines for name in values)
    return [(name, [values.get(name, "–") for values in headlines]) for name in names]


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
