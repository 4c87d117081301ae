"""The trained models that come with the package: their names, their loading, and copies as run folders.

No TensorFlow before a model is loaded.
"""

import filecmp
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from probvae.errors import InputError
from probvae.files.outputs import usable
from probvae.files.writing import WEIGHTS

if TYPE_CHECKING:
    from probvae.models.vae import VAE

SHIPPED = Path(__file__).with_name("shipped")  # a folder for each model, with the files of its run
RUNS = Path("runs")  # folder of the copies, below the current one
EXAMPLES = "examples.npz"  # the first test examples, x of the model

PRETRAINED = {
    "mnist-tutorial": "the tutorial's model of MNIST, two latent dimensions, the tuned recipe",
    "mnist-vamp": "MNIST, eight latent dimensions, VampPrior of 50 pseudo-inputs",
    "digits-classes": "the digits of scikit-learn, given their class",
    "adult": "the census table Adult: numbers and categories, any columns given any others",
}


def pretrained(name: str) -> "VAE":
    """Load a trained model that comes with the package.

    Args:
      name: Name of the model, a key of `probvae.runs.PRETRAINED`.

    Returns:
      Model, with its schema. `probvae.open_run(name)` opens its run, with configuration and metrics.

    Raises:
      InputError: There is no such model.

    >>> probvae.pretrained("mnist-tutorial").latent_dim  # doctest: +SKIP
    2
    """
    from probvae.arguments import choice
    from probvae.models.saving import load

    return load(SHIPPED / choice("name", name, PRETRAINED))


def located(folder: Path) -> Path:
    """Return a run folder, or for the name of a model of the package its copy, runs/NAME.

    Args:
      folder: Path of a folder, or the name of a model; a folder of this name comes first.

    Raises:
      InputError: runs/NAME is another run, or cannot be written.
    """
    name = str(folder)
    if name not in PRETRAINED or folder.exists():
        return folder
    from probvae.runs.folder import EVALUATION  # needs NumPy, which --help does without

    copy = RUNS / name
    if not copy.exists():
        with usable(copy):
            RUNS.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=RUNS) as part:
                kept = shutil.ignore_patterns(EVALUATION)  # so that an evaluation is the user's own
                shutil.copytree(SHIPPED / name, Path(part) / name, ignore=kept).rename(copy)
    weights = copy / WEIGHTS
    if not weights.exists() or not filecmp.cmp(weights, SHIPPED / name / WEIGHTS, shallow=False):
        raise InputError(
            f"{copy} is another run than the model {name} that comes with probvae: give the path of the run, "
            "or move it away."
        )
    return copy
