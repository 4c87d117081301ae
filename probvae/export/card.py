"""The model card: Markdown with metadata in YAML, as model hubs expect it."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.environment import versions
from probvae.errors import InputError
from probvae.export import data_card
from probvae.export.functions import mean_name
from probvae.export.markdown import code, table, text
from probvae.likelihoods import likelihood_of
from probvae.models import saving
from probvae.models.vae import VAE
from probvae.posteriors import POSTERIORS
from probvae.priors import PRIORS
from probvae.runs import files
from probvae.runs.folder import COMMANDS, EVALUATION, METRICS

CARD = "model_card.md"
LICENSE = "unknown"
RUN_METRICS = {"test_elbo": "ELBO", "test_log_likelihood": "log p(x|z)", "test_kl": "KL"}
ALWAYS = (  # settings of a training that are shown even with their default values
    *(*Training.MAIN, "binarize", "num_samples", "schedule", "warmup_steps", "parts", "precision"),
    *("alpha", "free_bits", "mmd_weight"),
)
HEADLINES = ("exact", "iwae", "elbo", "test_elbo")  # rows that the metadata contain too


class Row(NamedTuple):
    """A line of the evaluation table; unknown errors are None."""

    key: str
    name: str
    mean: float
    standard_error: float | None
    monte_carlo_error: float | None
    unit: str
    note: str


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The origin of a model: its training, its evaluation and its license.

    Attributes:
      name: Name of the model.
      training: Configuration of the training.
      data: Description of the data, `data` of the run's metrics.json.
      versions: Versions of the packages that trained the model.
      commands: Commands that made the model, as they were typed.
      rows: Lines of the evaluation table.
      conditions: Conditions of the evaluation, such as the number of images.
      license: License of the model.
    """

    name: str
    training: Training | None = None
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    commands: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    conditions: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    license: str = "unknown"


def provenance(folder: Path, license: str) -> Provenance:
    """Read the origin of a model from a run folder, or from one that `probvae.save` wrote."""
    if not license or len(license) > 100 or not all(c.isalnum() or c in "-.+" for c in license):
        raise InputError(f"A license must be an identifier such as mit or cc-by-4.0; got {license!r}.")
    paths = (folder / METRICS, folder / EVALUATION / METRICS)
    metrics, evaluation = (files.read_object(path) if path.exists() else {} for path in paths)
    commands = files.read_commands(folder / COMMANDS) if (folder / COMMANDS).exists() else []
    results = files.EvaluationResults(evaluation, {})
    rows = [row for key, value in results.results.items() if (row := _row(key, value))]
    conditions = results.conditions if rows else {}
    if not rows:
        trained = {key: files.part(metrics, key, dict) for key in RUN_METRICS}
        named = {key: {"name": RUN_METRICS[key], "unit": "nats", **value} for key, value in trained.items()}
        rows = [row for key, value in named.items() if (row := _row(key, value))]
    return Provenance(
        name=folder.resolve().name,
        training=saving.read_config(folder).training,
        data=files.part(metrics, "data", dict),
        versions=files.part(metrics, "versions", dict),
        commands=tuple(command["command"] for command in commands),
        rows=tuple(rows),
        conditions=conditions,
        license=license,
    )


def _row(key: str, value: dict[str, Any]) -> Row | None:
    mean, error, drawn = (files.number(value, k) for k in ("mean", "standard_error", "monte_carlo_error"))
    name, unit, note = (str(value.get(k) or "") for k in ("name", "unit", "note"))
    return None if mean is None else Row(key, name or key, mean, error, drawn, unit, note)


def render(vae: VAE, origin: Provenance, files: Sequence[str], *, label: str | None = None) -> str:
    """Return the text of a model card, from the names of the exported files and that of the class, if any."""
    sections = [
        _metadata(vae, origin),
        f"# {text(origin.name)}",
        _summary(vae, origin, label),
        "## Architecture",
        _architecture(vae),
        "## Data",
        data_card.describe(vae),
        "## Training",
        _training(origin),
        "## Evaluation",
        _evaluation(vae, origin),
        "## Intended use and limits",
        _limits(vae, origin, label),
        "## How to load",
        _loading(vae, files),
        "## Versions",
        _versions(origin),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


# ---- sections --------------------------------------------------------------------------------------


def _metadata(vae: VAE, origin: Provenance) -> str:
    architecture = vae.architecture
    tags = ["variational-autoencoder", "vae", "generative-model", "tensorflow-probability", "probvae"]
    if architecture:
        tags += [f"{getattr(architecture, part)}-{part}" for part in ("likelihood", "posterior", "prior")]
    fields: dict[str, Any] = {"license": origin.license, "library_name": "probvae", "tags": tags}
    task = "density-estimation"
    if architecture is not None and len(architecture.event_shape) == 3:
        fields["pipeline_tag"] = task = "unconditional-image-generation"
    if (data := _data_name(origin)) != "":
        fields["datasets"] = [data]
    rows = [row for key in HEADLINES for row in origin.rows if row.key == key]
    if rows:
        fields["metrics"] = [row.key for row in rows]
    lines = [f"{key}: {json.dumps(value)}" for key, value in fields.items()]  # JSON is YAML
    return "\n".join(["---", *lines, *_model_index(origin, rows, task), "---"])


def _model_index(origin: Provenance, rows: list[Row], task: str) -> list[str]:
    if not rows:
        return []
    data = _data_name(origin) or "unknown"
    metrics = [{"type": row.key, "name": f"{row.name} ({row.unit})", "value": row.mean} for row in rows]
    result = {"task": {"type": task}, "dataset": {"type": data, "name": data}, "metrics": metrics}
    return [f"model-index: {json.dumps([{'name': origin.name, 'results': [result]}])}"]


def _data_name(origin: Provenance) -> str:
    """Return the name of the data, without the folders of a file."""
    name = origin.data.get("name") or (origin.training.data if origin.training else "")
    return str(name).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def _summary(vae: VAE, origin: Provenance, label: str | None) -> str:
    data = _data_name(origin)
    size = f"x of shape {list(vae.event_shape)} and z of {vae.latent_dim} dimensions"
    words = f"A variational autoencoder, {size}{f', trained on {text(data)}' if data else ''}."
    return words if label is None else f"{words} It is the model of class {text(label)} of a conditional one."


def _architecture(vae: VAE) -> str:
    count = sum(int(v.shape.num_elements()) for v in vae.trainable_variables)
    architecture = vae.architecture
    rows = [("networks", "built by their author")]
    if architecture is not None:
        rows = _settings(architecture, idle=_idle_in_architecture(architecture))
    return table(("", ""), [*rows, ("trained numbers", f"{count:,}")])


def _settings(config: Any, *, idle: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return the fields of a configuration with their values, without idle and empty ones."""
    values = {f.name: config.chosen(f.name) for f in dataclasses.fields(config)}
    empty = [name for name, value in values.items() if isinstance(value, tuple | str | bool) and not value]
    return [
        (name, code(", ".join(map(str, value)) if isinstance(value, tuple) else value))
        for name, value in values.items()
        if name not in (*idle, *empty)
    ]


def _idle_in_architecture(architecture: Architecture) -> list[str]:
    used = {
        "filters": "conv" in architecture.network,
        "units": "mlp" in architecture.network or architecture.is_hierarchy,
        "activation": architecture.network != "gated_mlp" or architecture.is_hierarchy,
        "components": PRIORS[architecture.prior].has_components,
        "classes": likelihood_of(architecture).has_classes,
        "context_dim": architecture.is_conditional,
    }
    return [name for name, is_used in used.items() if not is_used]


def _idle_in_training(training: Training) -> list[str]:
    """Return the options that the objective does not have, and minor settings with default values."""
    hidden = [f for f in dataclasses.fields(training) if f.name not in ALWAYS]
    return [*training.idle_options(), *(f.name for f in hidden if getattr(training, f.name) == f.default)]


def _training(origin: Provenance) -> str:
    if origin.training is None:
        return "How the model was trained was not recorded."
    shown = dataclasses.replace(origin.training, data=_data_name(origin) or "unknown")
    parts = [table(("", ""), _settings(shown, idle=_idle_in_training(shown)))]
    data = {k: v for k, v in origin.data.items() if isinstance(v, str | int | float) and k != "name"}
    if data:
        parts.append("The data:\n\n" + table(("", ""), [(text(k), code(v)) for k, v in data.items()]))
    if origin.commands:
        lines = "\n".join("    " + " ".join(command.split()) for command in origin.commands)
        parts.append(f"The commands:\n\n{lines}")
    return "\n\n".join(parts)


def _evaluation(vae: VAE, origin: Provenance) -> str:
    if not origin.rows:
        return "The model has not been evaluated."
    rows = [
        (
            text(row.name),
            f"{row.mean:.4g}" if abs(row.mean) < 1 else f"{row.mean:.2f}",
            *("" if v is None else f"{v:.2g}" for v in (row.standard_error, row.monte_carlo_error)),
            text(row.unit),
            text(row.note),
        )
        for row in origin.rows
    ]
    conditions = [
        f"{text(k)} {code(v)}" for k, v in origin.conditions.items() if isinstance(v, str | int | float)
    ]
    words = f"\n\nConditions: {', '.join(conditions)}." if conditions else ""
    coded = "The table is that of the training, whose log p(x) is that of coded x, in nats."
    has_units = vae.schema is not None and vae.schema.has_units
    return (
        "Standard error: of the mean over examples; another test set would differ so much. Monte Carlo "
        "error: other draws of z would.\n\n"
        + table(("", "mean", "standard error", "Monte Carlo error", "unit", "note"), rows)
        + words
        + f"\n\n{coded if has_units and not origin.conditions else data_card.density(vae)}"
    )


def _limits(vae: VAE, origin: Provenance, label: str | None) -> str:
    architecture, data = vae.architecture, _data_name(origin) or "its training data"
    points = [
        f"For research and teaching: to draw from, compress, compare or score data like {text(data)}. It "
        "knows nothing of other data.",
        "Its draws repeat the training data, their errors and biases included, and may come close to single "
        "examples.",
        "The ELBO and the importance-weighted bound are lower bounds on log p(x) in expectation, and noisy "
        "ones. A high log p(x) alone does not tell that x belongs to the data: other data may have a higher "
        "one.",
        *_about_x(vae),
    ]
    if label is not None:
        points.append(f"log p(x) is that of x given class {text(label)}.")
    if architecture is not None and (
        architecture.is_hierarchy or not POSTERIORS[architecture.posterior].exact_moments
    ):
        points.append(
            "`loc` and `scale` of `encode` are Monte Carlo estimates with draws that are always the same."
        )
    return "\n".join(f"- {point}" for point in points)


def _about_x(vae: VAE) -> list[str]:
    """Return sentences on the values of x, where these are all that a user has."""
    architecture = vae.architecture
    if architecture is None or data_card.has_units(vae):
        return []
    x = f"x must be as in training: {likelihood_of(architecture).kind.support}"
    points = [x + (", NaN where a value is missing." if architecture.missing else ".")]
    if architecture.columns:
        kinds = ", ".join(code(kind) for kind in architecture.columns)
        points.append(f"x is a row of a table as the model sees it, its columns of the kinds {kinds}.")
    return points


def _loading(vae: VAE, files: Sequence[str]) -> str:
    name, shape = mean_name(vae), [None, *vae.event_shape]
    parts = []
    if "saved_model" in files:
        lines = "\n".join(data_card.loading(vae, name))
        parts.append(f"TensorFlow alone (`saved_model`):\n\n```python\n{lines}\n```")
        parts.append(data_card.signatures(vae))
    others = [file for file in files if file.endswith(".onnx")]
    if others:
        z, decoded = [None, vae.latent_dim], ", ".join(data_card.decoded(vae, name))
        tensors = {"encoder": f"x {shape} -> loc, scale", "decoder": f"z {z} -> {decoded}"}
        lines = "\n".join(f"- `{file}`: {tensors[file.split('.')[0]]}" for file in others)
        parts.append(lines.replace("None", "N"))
    if vae.schema is not None:
        parts += ["### Coded x", data_card.apply(vae)]
    return "\n\n".join(part for part in parts if part)


def _versions(origin: Provenance) -> str:
    now = versions()
    names = list(dict.fromkeys([*now, *origin.versions]))
    rows = [(text(n), text(origin.versions.get(n, "")), text(now.get(n, ""))) for n in names]
    return table(("", "trained with", "exported with"), rows)
