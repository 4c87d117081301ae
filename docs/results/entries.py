"""The rows of docs/results.md and of README's table: how each is trained, evaluated and measured.

Each row is an entry of `ENTRIES`. Its commands are those that a user would type; `reproduce.py` adds the
seed, the folder and the place of the data.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tfp_vae
from measures import Evaluation, Measure, results

SMALL = "--data digits --epochs 1 --warmup-steps 0"


@dataclass(frozen=True)
class Entry:
    """A row of a table.

    Attributes:
      table: Name of the table.
      row: Text of its first column.
      train: Options of probvae-train, without --seed and --output.
      evaluate: Options of probvae-evaluate, one text for each evaluation of the run.
      measure: Function from these evaluations to the measures by name.
      kind: Rows whose deviation over seeds is pooled.
      seeds: Seeds of the training.
      published: Value of the literature, with its source; empty for none.
      quick: Options that make a small version of the training.
      quick_evaluate: Options that make a small version of the evaluations.
      program: Name of the program that takes the options of `train`.
      made: Function `(words, seed, folder) -> measures and minutes` of another program than probvae-train.
    """

    table: str
    row: str
    train: str
    evaluate: tuple[str, ...]
    measure: Callable[[Sequence[Evaluation]], Mapping[str, Measure]]
    kind: str
    seeds: tuple[int, ...] = (0,)
    published: str = ""
    quick: str = f"{SMALL} --filters 4,8"
    quick_evaluate: str = "--num-samples 20 --limit 50"
    program: str = "probvae-train"
    made: Callable[[Sequence[str], int, Path], dict[str, Any]] | None = None


# Two parts of a batch on any machine, so that the numbers do not depend on its cores.
DYNAMIC = "--data mnist --binarize dynamic --parts 2"
BOUND = ("--num-samples 5000 --stages bounds",)
LIKELIHOOD = partial(results, keys=("iwae", "elbo"))
SMALL_NETWORK = f"{SMALL} --units 16 --latent-dim 4"
BURDA = "Burda et al. 2016, arXiv:1509.00519"
RAINFORTH = "Rainforth et al. 2018, arXiv:1802.04537"

PERCEPTRON = f"{DYNAMIC} --network mlp --units 200,200 --activation tanh --latent-dim 50"
RECIPE = "--optimizer muon --batch-size 500 --learning-rate 1e-2 --schedule cosine --warmup-steps 500"


def perceptron(row: str, options: str, **fields: object) -> Entry:
    """Return an entry of Burda's networks."""
    return Entry(
        "perceptrons",
        row,
        f"{PERCEPTRON} {RECIPE} {options}",
        BOUND,
        LIKELIHOOD,
        kind="perceptrons",
        quick=SMALL_NETWORK,
        **fields,  # type: ignore[arg-type]
    )


def tfp(row: str, beta: int, published: str = "") -> Entry:
    """Return an entry of the networks of TensorFlow Probability's notebook."""
    return Entry(
        "tfp",
        row,
        f"--beta {beta} --data mnist",
        (),
        LIKELIHOOD,
        kind="tfp",
        published=published,
        quick="--data digits --epochs 1 --depth 4 --num-samples 20 --limit 50",
        program="tfp_vae.made",
        made=tfp_vae.made,
    )


def gated(row: str, options: str) -> Entry:
    """Return an entry of gated perceptrons."""
    return Entry(
        "gated",
        row,
        f"{DYNAMIC} --network gated_mlp --units 300,300 --latent-dim 40 {RECIPE} --epochs 300 "
        f"--beta-warmup linear --beta-warmup-steps 6000 {options}".strip(),
        BOUND,
        LIKELIHOOD,
        kind="gated",
        quick=f"{SMALL_NETWORK} --beta-warmup-steps 5",
    )


def tutorial(row: str, options: str, published: str = "") -> Entry:
    """Return an entry of the tutorial's own model."""
    return Entry(
        "tutorial",
        row,
        f"--data mnist --parts 2 {options}".strip(),
        ("--train-images 0 --stages exact,gaps",),
        partial(results, keys=("elbo", "exact", "test_approximation_gap", "test_amortization_gap")),
        kind="tutorial",
        seeds=(0, 1, 2, 3, 4),
        published=published,
        quick_evaluate="--num-samples 20 --limit 50 --gap-images 2 --tolerance 0.5",
    )


def shipped(row: str, train: str) -> Entry:
    """Return an entry of a model that comes with the package."""
    return Entry(
        "pretrained",
        row,
        train,
        ("--num-samples 1000 --limit 2000 --stages bounds",),
        LIKELIHOOD,
        kind=row,
    )


SMALL_MODEL = "--data mnist --parts 2 --latent-dim 8 --recipe tuned --epochs 20"
K64 = "--epochs 100 --batch-size 100"
ENTRIES = {
    "tutorial": tutorial("tutorial's recipe", "", published="ELBO -156.81, TensorFlow's tutorial"),
    "tutorial-tuned": tutorial("`--recipe tuned`", "--recipe tuned"),
    "perceptron-elbo": perceptron(
        "ELBO", "--analytic-kl --epochs 1000", seeds=(0, 1, 2), published=f"86.76, {BURDA}"
    ),
    "perceptron-iwae-5": perceptron(
        "IWAE, k = 5", "--objective iwae --num-samples 5 --epochs 500", published=f"85.54, {BURDA}"
    ),
    "perceptron-iwae-50": perceptron(
        "IWAE, k = 50",
        "--objective iwae --num-samples 50 --epochs 300 --batch-size 100",
        published=f"84.78, {BURDA}",
    ),
    "perceptron-iwae-64": perceptron("IWAE, k = 64", f"--objective iwae --num-samples 64 {K64}"),
    "perceptron-ciwae-64": perceptron(
        "CIWAE, k = 64, beta = 0.05",
        f"--objective iwae --num-samples 64 --beta 0.05 {K64}",
        published=f"84.57, {RAINFORTH}",
    ),
    "perceptron-miwae-8-8": perceptron(
        "MIWAE, 8 groups of 8",
        f"--objective iwae --num-samples 8 --groups 8 {K64}",
        published=f"84.97, {RAINFORTH}",
    ),
    "perceptron-piwae-8-8": perceptron(
        "PIWAE, 8 groups of 8",
        f"--objective piwae --num-samples 8 --groups 8 {K64}",
        published=f"84.46, {RAINFORTH}",
    ),
    "gated-standard": gated("standard normal prior", ""),
    "gated-vamp": gated("VampPrior, 500 pseudo-inputs", "--prior vamp --components 500"),
    "tfp-twice": tfp("KL counted twice, as in the notebook", 2, published="loss 119.48, the notebook"),
    "tfp-once": tfp("ELBO", 1),
    "sphere": Entry(
        "sphere",
        "z on the sphere in 11 dimensions",
        f"{DYNAMIC} --network mlp --units 256,128 --latent-dim 11 --posterior von_mises_fisher "
        f"--prior uniform_sphere {RECIPE} --epochs 300",
        BOUND,
        LIKELIHOOD,
        kind="sphere",
        seeds=(0, 1, 2),
        published="93.16 ± 0.31, Davidson et al. 2018, arXiv:1804.00891",
        quick=SMALL_NETWORK,
    ),
    "mnist-vamp": shipped("`mnist-vamp`", f"{SMALL_MODEL} --prior vamp --components 50"),
    "mnist-flow": shipped("`mnist-flow`", f"{SMALL_MODEL} --prior realnvp"),
    "digits-classes": shipped(
        "`digits-classes`", "--data digits --labels condition --parts 2 --recipe tuned --epochs 30"
    ),
    "adult": shipped("`adult`", "--data adult.csv --parts 2 --recipe tuned --epochs 30 --latent-dim 8"),
}


def kin(name: str) -> list[str]:
    """Return the names of the entries of the same kind."""
    return [other for other, entry in ENTRIES.items() if entry.kind == ENTRIES[name].kind]
