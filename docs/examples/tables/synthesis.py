"""Draw a census table: the quality of drawn rows, and of a classifier that learns from them (docs/tables.md).

    python docs/examples/tables/synthesis.py adult.csv
    python docs/examples/tables/synthesis.py adult.csv --models probvae TVAE CTGAN    # its peers, too
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
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OrdinalEncoder

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
    """Train by the command, and return a function from a number of rows and a seed to drawn rows.

    TensorFlow stays out of this process: PyTorch, which the peers need, does not work beside it everywhere.
    """
    folder, commands = pathlib.Path(tempfile.mkdtemp()), pathlib.Path(sys.executable).parent
    known.to_csv(folder / "known.csv", index=False)

    def call(name: str, *words: object) -> None:
        command = [str(commands / name), *map(str, words)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    data = ["--data", folder / "known.csv", "--output", folder / "run"]
    call("probvae-train", *data, *SETTINGS, *further)

    def draw(n: int, seed: int) -> pd.DataFrame:
        output = folder / f"draws-{seed}"
        call("probvae-sample", folder / "run", "--num", n, "--seed", seed, "--output", output)
        return pd.read_csv(output / "samples.csv")

    return draw


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
    names = ["probvae", "TVAE", "CTGAN"]
    parser.add_argument("--models", nargs="+", choices=names, default=names[:1], help="models to measure")
    parser.add_argument("--quick", action="store_true", help="one epoch, one draw")
    parser.add_argument("--set", default="", help="further options of probvae-train")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # constant columns in draws of little trained models
    known, test = halves(options.table)
    print("| | quality | shapes | pairs | F1 | minutes of training |\n|---|---|---|---|---|---|")
    print(f"| real rows | | | | {macro_f1(known, test):.3f} | |", flush=True)
    further = options.set.split() + (["--epochs", "1"] if options.quick else [])
    for name in options.models:
        own = name == "probvae"
        train = partial(of_run, known, further) if own else partial(of_peer, name, known)
        measure(name, train, known, test, 1 if options.quick else options.draws)


if __name__ == "__main__":
    main()
