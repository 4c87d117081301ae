"""The modes of probvae-sample, which make samples, a picture and remarks from a run and its options."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from probvae.data.conditions import parse
from probvae.errors import InputError
from probvae.evaluation.latents import posterior_moments
from probvae.runs.run import Run
from probvae.runs.sample_options import SampleOptions
from probvae.sampling import samplers
from probvae.sampling.conditional_draws import sample_given
from probvae.sampling.draws import Samples, decode, posterior_draws, posterior_predictive, prior_draws
from probvae.sampling.paths import interpolate, traverse
from probvae.seeds import fold_in

SHOWN = 144  # largest number of draws in a picture
FRAMES = 25  # number of points of a path in an animation
MOST_VALUES = 2**30  # largest number of values of all draws x, and of their means
TEST_EXAMPLES = 1000  # number of test examples for the spread of z and the closeness of a sampler


class Picture(NamedTuple):
    """Panels [R, C, *E], titles of their rows and columns, and frames [F, R', C', *E] of an animation."""

    values: np.ndarray
    title: str
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    frames: np.ndarray | None = None
    frame_columns: Sequence[str] = ()


class Result(NamedTuple):
    """The result of a mode."""

    samples: Samples  # arrays of samples.npz
    axes: tuple[str, ...]  # names of the axes of the samples before L or E
    picture: Picture  # picture of the samples
    lines: list[str]  # lines to print
    arrays: Mapping[str, np.ndarray] = MappingProxyType({})  # other arrays of samples.npz


# ---- modes -----------------------------------------------------------------------------------------


def prior(run: Run, options: SampleOptions) -> Result:
    """Draw z from the prior, or from a distribution that is fitted to the aggregate posterior."""
    if options.given:
        return _given(run, options)
    vae, num = run.model_of(options.label), options.num or 64
    temperature = 1.0 if options.temperature is None else options.temperature
    fitted, lines, arrays = None, [], {}
    _refuse_too_many(run, num)
    if options.sampler in samplers.SAMPLERS:
        x = run.train_examples(options.train_images or 10_000, options.label)
        fitted = samplers.fit_sampler(
            vae, x, kind=options.sampler, components=options.components or 0, seed=fold_in(options.seed, 1)
        )
        test = run.of_class(options.label).x[:TEST_EXAMPLES]
        lines = _closeness_lines(
            options.sampler, fitted, samplers.closeness(vae, fitted, test, seed=fold_in(options.seed, 2))
        )
    samples = prior_draws(vae, num, temperature=temperature, sampler=fitted, seed=options.seed)
    if fitted is not None:
        arrays["log_sampler"] = fitted.log_prob(samples.z).numpy()
    name = "prior" if fitted is None else options.sampler
    title = f"{_kind_of_values(run, options)}, z from the {name}" + (
        "" if options.label is None else f", class {run.class_name(options.label)}"
    )
    title += "" if temperature == 1 else f", temperature {temperature:g}"
    picture = Picture(_in_rows(_chosen(samples, options, run)), title)
    return Result(samples, ("draw",), picture, [*lines, _summary("log p(z)", samples.log_prior)], arrays)


def _given(run: Run, options: SampleOptions) -> Result:
    """Draw rows given conditions on columns."""
    vae, num = run.model_of(options.label), options.num or 64
    _refuse_too_many(run, num)
    if run.schema is None or not run.schema.is_table:
        raise InputError("--given is for models of tables, whose columns have names: leave it out.")
    drawn = sample_given(vae, parse(run.schema, options.given), num, seed=fold_in(options.seed, 3))
    samples = decode(vae, drawn.z, rows=drawn.x, seed=options.seed)._replace(x=drawn.x)
    lines = [
        f"given {', '.join(options.given)}",
        f"log-probability of the conditions {drawn.log_probability:.3f} ± {drawn.standard_error:.3f} nats, "
        f"effective sample size {drawn.effective_sample_size:,.0f} for {num:,} rows",
    ]
    return Result(samples, ("draw",), Picture(samples.x, "Draws given conditions"), lines)


def _closeness_lines(kind: str, fitted: Any, distance: samplers.Closeness) -> list[str]:
    name = "a flow"
    if kind == "mixture":
        name = f"a mixture of {fitted.mixture_distribution.logits.shape[-1]} normals"
    return [
        f"fitted {name} to q(z|x) of the training set",
        f"mean log-density at z ~ q(z|x) of the test set: {distance.sampler:.3f} nats; of the prior "
        f"{distance.prior:.3f}; difference {distance.gain:+.3f} ± {distance.error:.3f}",
    ]


def classes(run: Run, options: SampleOptions) -> Result:
    """Draw z from the prior, and decode each z under every class."""
    number = run.architecture.num_classes
    if not number:
        run.model_of(0)  # raises the error that there are no classes
    temperature = 1.0 if options.temperature is None else options.temperature
    _refuse_too_many(run, number * (options.num or 8))
    first = prior_draws(run.model_of(0), options.num or 8, temperature=temperature, seed=options.seed)
    parts = [decode(run.model_of(k), first.z, seed=fold_in(options.seed, k)) for k in range(number)]
    samples = _stack(parts, axis=1)  # [N, C]
    columns = [run.class_name(k) for k in range(number)]
    picture = Picture(
        _chosen(samples, options, run)[:12],
        f"{_kind_of_values(run, options)}, one z in each row, under each class",
        columns=columns,
    )
    return Result(samples, ("draw", "class"), picture, [_summary("log p(z)", first.log_prior)])


def reconstructions(run: Run, options: SampleOptions) -> Result:
    """Draw z ~ q(z|x) for test examples, and decode z."""
    num, draws = min(options.num or 8, len(run.test.x)), options.draws or 6
    _refuse_too_many(run, num * draws)
    x = np.asarray(run.test.x[:num], np.float32)
    labels = np.array([-1 if (k := run.label_of(i)) is None else k for i in range(num)])
    groups = [(int(k), np.flatnonzero(labels == k)) for k in np.unique(labels)]
    parts = [
        posterior_predictive(
            run.model_of(None if k < 0 else k), x[rows], num_draws=draws, seed=fold_in(options.seed, k + 1)
        )
        for k, rows in groups
    ]
    order = np.argsort(np.concatenate([rows for _, rows in groups]))
    joined = _join(parts, lambda arrays: np.concatenate(arrays, axis=1)[:, order])
    samples = Samples(**joined)
    shown = np.moveaxis(_chosen(samples, options, run), 0, 1)[:12]  # [N, S, *E]
    values = np.concatenate([x[:12, np.newaxis], shown], axis=1)
    title = f"Test examples, and {_kind_of_values(run, options, capital=False)} at {draws} draws z ~ q(z|x)"
    columns = ["test", *[""] * draws]
    coded = " of x as the model has it" if run.schema is not None and run.schema.has_units else ""
    lines = [_summary(f"log p(x|z){coded}", np.asarray(samples.log_likelihood).mean(axis=0))]
    picture = Picture(values, title, [str(i) for i in range(len(values))], columns)
    return Result(samples, ("draw", "example"), picture, lines, {"data": x})


def interpolation(run: Run, options: SampleOptions) -> Result:
    """Decode paths between the means of q(z|x) of pairs of test examples."""
    if options.start is None or options.end is None:
        num = min(options.num or 6, len(run.test.x) // 2)
        pairs = [(2 * i, 2 * i + 1) for i in range(num)]
    elif options.num is not None:
        raise InputError("--num is a number of pairs: leave it out where --from and --to name one.")
    else:
        pairs = [(options.start, options.end)]
    _refuse_too_many(run, len(pairs) * (options.steps or 9))
    ends = [[run.encode(i) for i in pair] for pair in pairs]

    def paths(steps: int) -> Samples:
        parts = [
            interpolate(
                run.model_of(run.label_of(pair[0], options.label)),
                *z,
                steps=steps,
                path=options.path or "spherical",
                seed=fold_in(options.seed, i),
            )
            for i, (pair, z) in enumerate(zip(pairs, ends, strict=True))
        ]
        return _stack(parts, axis=1)

    samples, steps = paths(options.steps or 9), options.steps or 9
    x = np.stack([run.test.x[list(pair)] for pair in pairs]).astype(np.float32)  # [P, 2, *E]
    inner = np.moveaxis(_chosen(samples, options, run), 0, 1)
    values = np.concatenate([x[:, :1], inner, x[:, 1:]], axis=1)[:12]
    columns = ["test", *(f"{t:.2f}" for t in np.linspace(0, 1, steps)), "test"]
    frames = _chosen(paths(FRAMES), options, run)[:, np.newaxis, :12]
    title = f"{_kind_of_values(run, options)} along {options.path or 'spherical'} paths between test examples"
    rows = [f"{i} to {j}" for i, j in pairs]
    picture = Picture(values, title, rows[:12], columns, frames, rows[:12])
    lines = [_summary("log p(z) along the paths", samples.log_prior)]
    return Result(samples, ("step", "pair"), picture, lines, {"pairs": np.array(pairs)})


def traversal(run: Run, options: SampleOptions) -> Result:
    """Change one coordinate of z at a time, from the mean of q(z|x) of a test example."""
    index, steps = options.image or 0, options.steps or 9
    _refuse_too_many(run, steps * (len(options.dimension) or min(10, run.architecture.latent_dim)))
    z = run.encode(index)
    label = run.label_of(index)
    vae, encoder = run.model_of(run.label_of(index, options.label)), run.model_of(label)
    x = run.of_class(label).x[:TEST_EXAMPLES]
    variances = posterior_moments(encoder, x).mean.var(axis=0)
    dimensions = list(dict.fromkeys(options.dimension)) or list(np.argsort(-variances)[:10])
    drawn = posterior_draws(encoder, x, seed=fold_in(options.seed, -1))[0]  # below 0: no dimension's seed
    low, high = np.quantile(drawn, [0.01, 0.99], axis=0)

    def traversals(steps: int) -> Samples:
        if max(dimensions) >= vae.latent_dim:
            traverse(vae, z, dimension=max(dimensions), values=np.zeros(1))  # raises the error
        values = [np.linspace(low[d], high[d], steps) for d in dimensions]
        parts = [
            traverse(vae, z, dimension=int(d), values=v, seed=fold_in(options.seed, int(d)))
            for d, v in zip(dimensions, values, strict=True)
        ]
        return _stack(parts, axis=0)

    samples = traversals(steps)
    rows = [f"z[{d}] {low[d]:+.1f} to {high[d]:+.1f}" for d in dimensions]
    frames = np.moveaxis(_chosen(traversals(FRAMES), options, run), 1, 0)[:, np.newaxis, :12]
    title = f"{_kind_of_values(run, options)}, one coordinate of z changed, from test example {index}"
    names = [f"z[{d}]" for d in dimensions]
    picture = Picture(_chosen(samples, options, run)[:20], title, rows[:20], (), frames, names[:12])
    lines = [f"z[{d}]: variance of its posterior means {variances[d]:.3f}" for d in dimensions]
    arrays = {"dimensions": np.array(dimensions), "variances": variances[dimensions]}
    return Result(samples, ("dimension", "step"), picture, lines, arrays)


MODES: dict[str, Callable[[Run, SampleOptions], Result]] = {
    "prior": prior,
    "classes": classes,
    "reconstructions": reconstructions,
    "interpolation": interpolation,
    "traversal": traversal,
}


# ---- helpers ---------------------------------------------------------------------------------------


def _refuse_too_many(run: Run, count: int) -> None:
    values = math.prod(run.architecture.event_shape)
    if count * values > MOST_VALUES:
        raise InputError(
            f"{count:,} samples of {values:,} values each are more than the memory should hold: at most "
            f"{MOST_VALUES // values:,} at once; more in several calls with different --seed."
        )


def _stack(parts: Sequence[Samples], axis: int) -> Samples:
    """Stack samples of equal shapes along a new axis."""
    return Samples(**_join(parts, lambda arrays: np.stack(arrays, axis=axis)))


def _join(parts: Sequence[Samples], join: Callable[[list[np.ndarray]], np.ndarray]) -> dict[str, Any]:
    """Join the arrays of samples of equal shapes, by name; those that they do not have are left out."""
    names = [name for name, array in parts[0]._asdict().items() if array is not None]
    return {name: join([getattr(part, name) for part in parts]) for name in names}


def pixels(run: Run, options: SampleOptions) -> str:
    """Return the kind of values to show: "mean", or "draw" for rows of a table, whose mean is not a row."""
    return options.pixels or ("draw" if len(run.architecture.event_shape) == 1 else "mean")


def _kind_of_values(run: Run, options: SampleOptions, capital: bool = True) -> str:
    words = "means of p(x|z)" if pixels(run, options) == "mean" else "draws x ~ p(x|z)"
    return words[0].upper() + words[1:] if capital else words


def _chosen(samples: Samples, options: SampleOptions, run: Run) -> np.ndarray:
    return samples.mean if pixels(run, options) == "mean" else samples.x


def _in_rows(values: np.ndarray) -> np.ndarray:
    """Arrange [N, *E] in a nearly square grid [R, C, *E], whose last row is padded with nan."""
    values = values[:SHOWN]
    columns = min(len(values), max(8, math.ceil(math.sqrt(len(values)))))
    rows = math.ceil(len(values) / columns)
    full = np.full((rows * columns, *values.shape[1:]), np.nan, np.float32)
    full[: len(values)] = values
    return full.reshape(rows, columns, *values.shape[1:])


def _summary(name: str, values: np.ndarray) -> str:
    return f"{name}: mean {values.mean():.2f} nats, from {values.min():.2f} to {values.max():.2f}"
