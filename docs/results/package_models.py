"""Put trained runs of reproduce.py into the package, as the models that `probvae.pretrained` loads.

    python docs/results/package_models.py runs/results

Of each run the model, its schema, its metrics, its evaluation and a model card are kept, and the first test
examples, on which a test meets the printed ELBO.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from probvae.data import from_config
from probvae.data.dataset import DataSet
from probvae.export import card
from probvae.runs import open_run
from probvae.runs.collection import EXAMPLES, PRETRAINED, SHIPPED

ENTRY = {"mnist-tutorial": "tutorial-tuned"}  # entries of other names than their models
DATA = {"mnist.npz": "mnist"}  # names of data in place of their paths
COPIED = ("config.json", "schema.json", "weights.npz", "metrics.json", "history.csv", "commands.json")
NUMBER = 100  # number of test examples, and of training examples
LICENSE = "mit"


def package(name: str, source: Path) -> None:
    """Write the folder of a model from that of a run."""
    folder = SHIPPED / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "evaluation").mkdir(parents=True)
    for file in COPIED:
        shutil.copy(source / file, folder / file)
    for file in ("metrics.json", "per_example.npz"):
        shutil.copy(source / "evaluation-0" / file, folder / "evaluation" / file)
    run = open_run(source)
    path = run.training.data
    data = DATA.get(Path(path).name, Path(path).name)
    for file in ("config.json", "commands.json", "metrics.json", "evaluation/metrics.json"):
        text = (folder / file).read_text().replace(path, data).replace(str(source), name)
        for old, new in DATA.items():
            text = text.replace(f'"{old}"', f'"{new}"')
        json.loads(text)
        (folder / file).write_text(text)
    test = from_config.prepare(run.examples, run.training, run.architecture).test[:NUMBER].astype(np.float32)
    np.savez_compressed(folder / EXAMPLES, x=test)
    write_few_examples(run.examples, folder)
    shipped = open_run(folder)
    origin = card.provenance(folder, LICENSE)
    loading = f'## How to load\n\n```python\nvae = probvae.pretrained("{name}")\n```'
    text = card.render(shipped.model, origin, ()).replace("## How to load", loading)
    (folder / card.CARD).write_text(text)


def write_few_examples(data: DataSet, folder: Path) -> None:
    """Write the values of the first training and test examples, for use where the data cannot be read."""
    if data.schema.is_table:
        rows = data.schema.decode(np.asarray(data.test[:NUMBER]))
        pd.DataFrame(rows).to_csv(folder / "few_examples.csv", index=False)
        return
    arrays = {
        "x_train": data.train,
        "y_train": data.train_labels,
        "x_test": data.test,
        "y_test": data.test_labels,
    }
    few = {name: np.asarray(array[:NUMBER]) for name, array in arrays.items()}
    np.savez_compressed(folder / "few_examples.npz", **few)


def main(runs: Path) -> None:
    """Package all models."""
    for name in PRETRAINED:
        package(name, runs / f"{ENTRY.get(name, name)}-0")
    size = sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file())
    print(f"{len(PRETRAINED)} models, {size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
