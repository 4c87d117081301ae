"""Impute tables with half of the cells taken out, beside the imputers of scikit-learn: docs/tables.md.

    python docs/examples/tables/imputation.py miwae                    # breast cancer, z-scores
    python docs/examples/tables/imputation.py ../shared/data/imputation/wine ../shared/data/imputation/breast
    python docs/examples/tables/imputation.py miwae --quick

A folder holds data.csv, data_types.csv and masks Missing50_k.csv, as in the repository of HI-VAE (Nazabal et
al. 2020, arXiv:1807.03653).
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer

import probvae

KINDS = {"cat": "categorical", "ordinal": "ordinal", "count": "ordinal"}


def peers(forest: bool) -> dict[str, Callable[[], Any]]:
    """The imputers of scikit-learn with their own defaults."""
    made: dict[str, Callable[[], Any]] = {
        "IterativeImputer, ridge": lambda: IterativeImputer(random_state=0),
        "KNNImputer": KNNImputer,
    }
    if forest:
        trees = RandomForestRegressor(random_state=0, n_jobs=-1)
        made["IterativeImputer, random forest"] = lambda: IterativeImputer(trees, random_state=0)
    return made


def rows(name: str, scores: dict[str, list[float]], started: float) -> None:
    """Print the mean of each method and its standard deviation over masks or seeds."""
    for method, values in scores.items():
        spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
        print(f"| {name} | {method} | {np.mean(values):.4f}{spread} | {len(values)} |", flush=True)
    print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


# ---- the task of MIWAE's notebook ------------------------------------------------------------------


def miwae(options: argparse.Namespace) -> None:
    """Mean squared error of missing z-scores: one mask, several seeds of the model."""
    started, x = time.monotonic(), load_breast_cancer().data
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    n, p = x.shape
    np.random.seed(1234)  # noqa: NPY002  (the mask of the notebook)
    gone = np.zeros(n * p, bool)
    gone[np.random.choice(n * p, n * p // 2, replace=False)] = True  # noqa: NPY002
    gone = gone.reshape(n, p)
    seen = np.where(gone, np.nan, x)
    scores: dict[str, list[float]] = {}

    held = []

    def score(method: str, imputer: Any) -> None:
        error = float(np.mean((imputer.fit_transform(seen) - x)[gone] ** 2))
        scores.setdefault(method, []).append(error)

    for seed in range(options.seeds):
        imputer = probvae.VAEImputer(random_state=seed, **options.settings)
        score("VAEImputer", imputer)
        low, high = imputer.intervals(seen, 0.9)
        held.append(np.mean(((low <= x) & (x <= high))[gone]))
    for method, make in peers(options.forest).items():
        score(method, make())
    rows("breast cancer of scikit-learn, mean squared error", scores, started)
    print(f"90% intervals hold {np.mean(held):.1%} of cells")


# ---- the tables of HI-VAE --------------------------------------------------------------------------


def table(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The values of a table, and the types of its columns."""
    values = pd.read_csv(folder / "data.csv", header=None)
    values.columns = [f"c{i:02d}" for i in range(values.shape[1])]
    types = pd.read_csv(folder / "data_types.csv", lineterminator=None, skipinitialspace=True)
    return values, types


def masks(folder: Path, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """The cells that are taken out, bool [n, D], by file."""
    for path in sorted(folder.glob("Missing50_*.csv")):
        cells = pd.read_csv(path, header=None).to_numpy(int) - 1
        gone = np.zeros(shape, bool)
        gone[cells[:, 0], cells[:, 1]] = True
        yield gone


def error(values: pd.DataFrame, filled: pd.DataFrame, types: pd.DataFrame, gone: np.ndarray) -> float:
    """Mean over columns: RMSE / range, error rate of categories, |difference| / (levels - 1) of ordinals."""
    parts = []
    for i, name in enumerate(values.columns):
        truth, own = values[name].to_numpy(float), filled[name].to_numpy(float)
        cells = gone[:, i] & ~np.isnan(truth)
        difference, kind = (own - truth)[cells], types["type"][i]
        if kind == "cat":
            parts.append(np.mean(np.rint(difference) != 0))
        elif kind == "ordinal":
            parts.append(np.mean(np.abs(np.rint(own)[cells] - truth[cells])) / (types["nclass"][i] - 1))
        else:
            parts.append(np.sqrt(np.mean(difference**2)) / np.ptp(truth[~np.isnan(truth)]))
    return float(np.mean(parts))


def coverage(
    values: pd.DataFrame, seen: pd.DataFrame, imputer: Any, types: pd.DataFrame, gone: Any
) -> list[Any]:
    """Share of cells within their 90% intervals, continuous and discrete ones, and size of the latter.

    Categories have the smallest set of levels with a probability of 90%.
    """
    low, high = imputer.intervals(seen, 0.9)
    held: dict[bool, list[np.ndarray]] = {True: [], False: []}
    sizes: list[np.ndarray] = []
    for i, name in enumerate(values.columns):
        truth = values[name].to_numpy(float)
        cells = gone[:, i] & ~np.isnan(truth)
        truth, kind = truth[cells], types["type"][i]
        if kind == "cat":
            frame = imputer.predict_proba(seen, name)
            levels, p = frame.columns.to_numpy(float), frame.to_numpy()[cells]
            order = np.argsort(-p, axis=1)
            p = np.take_along_axis(p, order, axis=1)
            chosen = np.cumsum(p, axis=1) - p < 0.9  # p of the more probable levels
            held[True].append(np.any(chosen & (levels[order] == truth[:, np.newaxis]), axis=1))
            sizes.append(chosen.sum(axis=1))
            continue
        ends = [end[name].to_numpy(float)[cells] for end in (low, high)]
        discrete = kind in ("ordinal", "count")
        held[discrete].append((ends[0] <= truth) & (truth <= ends[1]))
        sizes += [ends[1] - ends[0] + 1] if discrete else []
    shares = [np.mean(np.concatenate(part)) if part else np.nan for part in (held[False], held[True])]
    return [*shares, np.mean(np.concatenate(sizes)) if sizes else np.nan]


def hi_vae(folder: Path, options: argparse.Namespace) -> None:
    """Errors of all masks of a folder."""
    started, (values, types) = time.monotonic(), table(folder)
    scores: dict[str, list[float]] = {}
    shares = []
    columns = {
        name: KINDS[kind] for name, kind in zip(values.columns, types["type"], strict=True) if kind in KINDS
    }
    for gone in list(masks(folder, values.shape))[: options.seeds]:
        seen = values.mask(gone)
        for name in columns:
            seen[name] = seen[name].astype("Int64")
        imputer = probvae.VAEImputer(columns=columns, random_state=0, **options.settings).fit(seen)
        filled = imputer.transform(seen)
        scores.setdefault("VAEImputer", []).append(error(values, filled, types, gone))
        shares.append(coverage(values, seen, imputer, types, gone))
        for method, make in peers(options.forest).items():
            numbers = values.mask(gone).astype(float)
            other = pd.DataFrame(make().fit_transform(numbers), columns=values.columns)
            scores.setdefault(method, []).append(error(values, other, types, gone))
    rows(f"{folder.name}, mean error of the columns", scores, started)
    continuous, discrete, size = np.mean(shares, axis=0)
    text = f"{continuous:.1%} of continuous cells, {discrete:.1%} of discrete ones"
    print(f"90% intervals hold {text}, with {size:.2f} values")


def main() -> None:
    """Print the rows of the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tasks", nargs="+", help="miwae, or folders")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of the model, or masks")
    parser.add_argument("--forest", action="store_true", help="a random forest too, which takes long")
    parser.add_argument("--quick", action="store_true", help="a few steps of training")
    options = parser.parse_args()
    options.settings = {"epochs": 3, "num_draws": 100} if options.quick else {}
    warnings.simplefilter("ignore")  # convergence of the peers; few effective draws of some rows
    print("| table | method | mean ± deviation | runs |\n|---|---|---|---|")
    for task in options.tasks:
        if task == "miwae":
            miwae(options)
        else:
            hi_vae(Path(task), options)


if __name__ == "__main__":
    main()
