"""Outliers in tables: the area under the ROC curve of `VAEOutlier` and other detectors, and false alarms.

    python docs/examples/tables/outliers.py --folder FOLDER   # .mat files with X and y, as in ODDS
    python docs/examples/tables/outliers.py           # classes of scikit-learn's tables, one made rare
    python docs/examples/tables/outliers.py --alarms  # p-values below 0.05 of usual rows, too
    python docs/examples/tables/outliers.py --quick   # a moment only

A split trains on 60% of the rows, outliers among them, without their labels, and measures on the other 40%;
columns are standardized by the training rows. PyOD's detectors are measured too, where it is installed
(`pip install '.[tables]'`), its VAE with `--vae`. The spread is the standard error over splits of the mean
over tables. Alarms are usual test rows with a p-value below 0.05, of a detector that is trained on all
training rows, and of one that is trained on the usual ones only.
"""

# %%
import argparse
import ast
import importlib
import pathlib
import time
import warnings

import numpy as np
from scipy.io import loadmat
from sklearn.datasets import load_digits, load_wine
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import probvae

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--folder", type=pathlib.Path, help="Folder of .mat files.")
parser.add_argument("--splits", type=int, default=3, help="Number of splits of each table.")
parser.add_argument(
    "--rows", type=int, default=0, help="Rows of a table at most, drawn at random; 0 for all."
)
parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="Parameters of VAEOutlier.")
parser.add_argument("--alarms", action="store_true", help="Measure false alarms.")
parser.add_argument("--vae", action="store_true", help="Measure PyOD's VAE, which needs PyTorch.")
parser.add_argument("--quick", action="store_true", help="Two small tables, one split, two epochs.")
options = parser.parse_args()
warnings.filterwarnings("ignore", module="pyod")
SETTINGS = {name: ast.literal_eval(value) for name, value in (pair.split("=", 1) for pair in options.set)}
if options.quick:
    SETTINGS |= {"epochs": 2, "members": 2}


# %%
def of_folder(folder: pathlib.Path) -> dict:
    """Return the tables of a folder of .mat files by name, each a pair of rows and labels."""
    tables = {}
    for path in sorted(folder.glob("*.mat")):
        content = loadmat(path)
        tables[path.stem] = content["X"].astype(float), content["y"].ravel().astype(int)
    return tables


def of_classes() -> dict:
    """Return tables of scikit-learn with one class made rare, a tenth as many rows as the others have."""
    tables = {}
    for name, load, picks in (("wine", load_wine, (0, 1, 2)), ("digits", load_digits, (1, 4, 7, 8))):
        x, y = load(return_X_y=True)
        for rare in picks:
            others = np.flatnonzero(y != rare)
            few = np.random.default_rng(rare).permutation(np.flatnonzero(y == rare))[: len(others) // 10]
            rows = np.concatenate([others, few])
            tables[f"{name} {rare}"] = x[rows].astype(float), (y[rows] == rare).astype(int)
    return tables


def peers(seed: int) -> dict:
    """Return other detectors with their defaults, as functions from training and test rows to scores."""

    def forest(train, test):
        return -IsolationForest(random_state=seed).fit(train).score_samples(test)

    def of_pyod(kind, **settings):
        # PCA's scores are infinite where columns are constant in training and not later.
        return lambda train, test: np.nan_to_num(kind(**settings).fit(train).decision_function(test))

    made = {"IsolationForest": forest}
    try:
        for name in ("ECOD", "KNN", "PCA"):
            made[f"PyOD {name}"] = of_pyod(
                getattr(importlib.import_module(f"pyod.models.{name.lower()}"), name)
            )
    except ImportError:
        return made
    if options.vae:
        vae = importlib.import_module("pyod.models.vae").VAE
        made["PyOD VAE"] = of_pyod(vae, random_state=seed, verbose=0)
    return made


# %%
tables = of_folder(options.folder) if options.folder else of_classes()
if options.quick:
    tables, options.splits, options.rows = dict(list(tables.items())[:2]), 1, 200
areas: dict[str, np.ndarray] = {}  # [splits, tables], NaN where not measured yet
alarms: dict[str, list[np.ndarray]] = {"all rows": [], "usual rows": []}
for seed in range(options.splits):
    for place, (table, (x, y)) in enumerate(tables.items()):
        start = time.perf_counter()
        if options.rows and len(x) > options.rows:
            x, _, y, _ = train_test_split(x, y, train_size=options.rows, stratify=y, random_state=0)
        train, test, known, truth = train_test_split(x, y, train_size=0.6, stratify=y, random_state=seed)
        scaler = StandardScaler().fit(train)
        train, test = scaler.transform(train), scaler.transform(test)
        detector = probvae.VAEOutlier(random_state=seed, **SETTINGS).fit(train)
        scores = {"VAEOutlier": -detector.score_samples(test)}
        scores |= {name: detect(train, test) for name, detect in peers(seed).items()}
        line = f"split {seed}  {table:12} {x.shape[0]:5} x {x.shape[1]:<3}"
        for name, values in scores.items():
            area = roc_auc_score(truth, values)
            areas.setdefault(name, np.full([options.splits, len(tables)], np.nan))[seed, place] = area
            line += f"  {name} {area:.3f}"
        if options.alarms:
            usual = test[truth == 0]
            alarms["all rows"].append(detector.p_values(usual) < 0.05)
            detector.fit(train[known == 0])
            alarms["usual rows"].append(detector.p_values(usual) < 0.05)
        print(f"{line}  ({time.perf_counter() - start:.0f} s)", flush=True)

# %%
for name, values in areas.items():
    means = values.mean(axis=1)  # over the tables
    error = means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else np.nan
    print(f"{name:16} mean AUROC {means.mean():.3f} ± {error:.3f} over {len(tables)} tables")
    print("   ", "  ".join(f"{t} {v:.3f}" for t, v in zip(tables, values.mean(axis=0), strict=True)))
for name, parts in alarms.items():
    if parts:
        pooled = np.concatenate(parts)
        print(f"alarms of a detector of {name}: {pooled.mean():.1%} of {len(pooled):,} usual rows")
