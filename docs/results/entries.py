"""The rows of docs/results.md and of README's table: how each is trained, evaluated and measured.

Each row is an entry of `ENTRIES`. Its commands are those that a user would type; `reproduce.py` adds the
seed, the folder and the place of the data.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from measures import Evaluation, Measure, results


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
    """

    table: str
    row: str
    train: str
    evaluate: tuple[str, ...]
    measure: Callable[[Sequence[Evaluation]], Mapping[str, Measure]]
    kind: str
    seeds: tuple[int, ...] = (0,)
    published: str = ""
    quick: str = "--data digits --epochs 1 --warmup-steps 0"
    quick_evaluate: str = "--num-samples 20 --limit 50"


# Two parts of a batch on any machine, so that the numbers do not depend on its cores.
DYNAMIC = "--data mnist --binarize dynamic --parts 2"
ALONE = "--train-images 0 --gap-images 0 --ais-images 0"
BOUND = (f"--num-samples 5000 {ALONE}",)
LIKELIHOOD = partial(results, keys=("iwae", "elbo"))
SMALL = "--data digits --epochs 1 --warmup-steps 0"
SMALL_NETWORK = f"{SMALL} --units 16 --latent-dim 3 --num-samples 2"
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


def tutorial(row: str, options: str) -> Entry:
    """Return an entry of the tutorial's own model."""
    return Entry(
        "tutorial",
        row,
        f"--data mnist --parts 2 {options}".strip(),
        ("--train-images 0 --ais-images 0",),
        partial(results, keys=("elbo", "exact", "test_approximation_gap", "test_amortization_gap")),
        kind="tutorial",
        seeds=(0, 1, 2, 3, 4),
        quick_evaluate="--num-samples 20 --limit 50 --gap-images 2 --tolerance 0.1",
    )


ENTRIES = {
    "tutorial": tutorial("tutorial's recipe", ""),
    "tutorial-tuned": tutorial("`--recipe tuned`", "--recipe tuned"),
    "perceptron-elbo": perceptron(
        "ELBO", "--analytic-kl --epochs 1000", seeds=(0, 1, 2), published=f"86.76, {BURDA}"
    ),
    "perceptron-iwae-5": perceptron(
        "IWAE, k = 5", "--objective iwae --num-samples 5 --epochs 500", published=f"85.54, {BURDA}"
    ),
    "perceptron-iwae-50": perceptron(
        "IWAE, k = 50", "--objective iwae --num-samples 50 --epochs 100", published=f"84.78, {BURDA}"
    ),
}


def kin(name: str) -> list[str]:
    """Return the names of the entries of the same kind."""
    return [other for other, entry in ENTRIES.items() if entry.kind == ENTRIES[name].kind]
