"""Draw a census table: the quality of drawn rows, and of a classifier that learns from them (docs/tables.md).

    python docs/examples/tables/synthesis.py adult.csv
    python docs/examples/tables/synthesis.py adult.csv --peers     # CTGAN's TVAE and CTGAN too
    python docs/examples/tables/synthesis.py adult.csv --quick     # a moment only

80% of the rows, chosen with seed 0, are all that models and classifiers see. Each draw has as many rows. The
quality is the score of SDMetrics, from 0 to 1: the mean of *shapes*, how columns agree with the real rows,
and *pairs*, how pairs of columns do. F1 is the macro F1 of the income of the other 20%, predicted by a
histogram gradient boosting of scikit-learn. The spread is the standard deviation over draws.
`pip install '.[tables]'` installs SDMetrics and the peers.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OrdinalEncoder

import probvae

NUMBERS = ["age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"]
LABEL = "income"
# Whole numbers that crowd at single values, such as 40 hours, are levels.
KINDS = {
    **dict.fromkeys(
        ["age", "education-num", "hours-per-week", "capital-gain", "capital-loss"], "categorical"
    ),
    "fnlwgt": "lognormal",
}
SETTINGS = [
    *("--na", "NA", "--recipe", "tuned", "--hide", "0", "--beta", "0.5"),  # "?" is a level
    *("--latent-dim", "16", "--units", "256,256", "--batch-size", "256", "--epochs", "60"),
    *("--column-kinds", ",".join(f"{name}={kind}" for name, kind in KINDS.items())),
]


def halves(path: pathlib.Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the 80% for models and classifiers, and the 20% that no model sees."""
    table = pd.read_csv(path, skipinitialspace=True)
    known, test = train_test_split(table, test_size=0.2, random_state=0)
    return known.reset_index(drop=True), test


def macro_f1(rows: pd.DataFrame, test: pd.DataFrame) -> float:
    """Train a classifier on rows, and return its macro F1 on the test rows."""
    words = [name for name in rows.columns if name not in [*NUMBERS, LABEL]]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan).fit(rows[words])

    def inputs(table: pd.DataFrame) -> pd.DataFrame:
        return pd.concat(
            [table[NUMBERS], pd.DataFrame(encoder.transform(table[words]), table.index, words)], axis=1
        )

    classifier = HistGradientBoostingClassifier(categorical_features=words, random_state=0)
    classifier.fit(inputs(rows), rows[LABEL])
    return float(f1_score(test[LABEL], classifier.predict(inputs(test)), average="macro"))


def quality(real: pd.DataFrame, drawn: pd.DataFrame) -> tuple[float, float, float]:
    """Return the quality by SDMetrics and its two parts, shapes and pairs."""
    from sdmetrics.reports.single_table import QualityReport

    types = {name: "numerical" if name in NUMBERS else "categorical" for name in real.columns}
    report = QualityReport()
    columns = {name: {"sdtype": kind} for name, kind in types.items()}
    report.generate(real, drawn, {"columns": columns}, verbose=False)
    return report.get_score(), *report.get_properties()["Score"]


# ---- models ----------------------------------------------------------------------------------------


def of_run(known: pd.DataFrame, further: list[str]) -> Callable[[int, int], pd.DataFrame]:
    """Train by the command, and return a function from a number of rows and a seed to drawn rows."""
    folder = pathlib.Path(tempfile.mkdtemp())
    known.to_csv(folder / "known.csv", index=False)
    train = pathlib.Path(sys.executable).with_name("probvae-train")
    command = [str(train), "--data", str(folder / "known.csv"), "--output", str(folder / "run")]
    subprocess.run([*command, *SETTINGS, *further], check=True, stdout=subprocess.DEVNULL)
    run = probvae.open_run(folder / "run")
    return lambda n, seed: run.sample(n, seed=seed)


def of_peer(name: str, known: pd.DataFrame) -> Callable[[int, int], pd.DataFrame]:
    """Train a model of the package ctgan with its defaults."""
    import ctgan
    import torch

    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  (CTGAN draws from this generator)
    model = getattr(ctgan, name)()
    model.fit(known, [column for column in known.columns if column not in NUMBERS])

    def draw(n: int, seed: int) -> pd.DataFrame:
        model.set_random_state(seed)
        return model.sample(n)

    return draw


def measure(name: str, train: Callable[[], Any], known: pd.DataFrame, test: pd.DataFrame, draws: int) -> None:
    """Print the row of a model in the table."""
    started = time.monotonic()
    draw = train()
    minutes = (time.monotonic() - started) / 60
    scores = []
    for seed in range(draws):
        rows = draw(len(known), seed)[list(known.columns)].astype(known.dtypes)
        scores.append([*quality(known, rows), macro_f1(rows, test)])
    mean, spread = np.mean(scores, axis=0), np.std(scores, axis=0, ddof=min(1, draws - 1))
    cells = " | ".join(f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, spread, strict=True))
    print(f"| {name} | {cells} | {minutes:.1f} |", flush=True)


def main() -> None:
    """Print the rows of the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=pathlib.Path, help="the adult table as CTGAN's examples have it")
    parser.add_argument("--draws", type=int, default=5, help="seeds of draws")
    parser.add_argument("--peers", action="store_true", help="train CTGAN's TVAE and CTGAN")
    parser.add_argument("--quick", action="store_true", help="one epoch, one draw")
    parser.add_argument("--set", default="", help="further options of probvae-train")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # constant columns in draws of little trained models
    known, test = halves(options.table)
    print("| | quality | shapes | pairs | F1 | minutes of training |\n|---|---|---|---|---|---|")
    print(f"| real rows | | | | {macro_f1(known, test):.3f} | |", flush=True)
    further = options.set.split() + (["--epochs", "1"] if options.quick else [])
    models: dict[str, Callable[[], Any]] = {"probvae": lambda: of_run(known, further)}
    if options.peers:
        models |= {name: lambda name=name: of_peer(name, known) for name in ("TVAE", "CTGAN")}
    for name, train in models.items():
        measure(name, train, known, test, 1 if options.quick else options.draws)


if __name__ == "__main__":
    main()
