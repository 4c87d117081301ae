"""The examples in docs/examples run, on real data, and write the picture that they promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from marked_cases import cases
from PIL import Image

FOLDER = Path(__file__).parents[2] / "docs" / "examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py"))
# What an example must print, whatever the numbers.
SAYS = {
    "anomaly_detection": r"area under the ROC curve: 0\.\d+ ± 0\.\d+",
    "colour_images": r"ELBO: \d\.\d\d ± \d\.\d\d bits per dimension",
    "conditional_generation": r"recognizes \d+% of the real test digits",
    "imputation": r"root mean squared error of the missing pixels: 0\.\d+",
    "mixed_table": r"linear regression +off by \d+\.\d",
}


def run(name, folder, *arguments):
    """Run an example as a user does, in a folder of its own, without a display."""
    environment = {**os.environ, "MPLBACKEND": "Agg", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-W", "error::RuntimeWarning", str(FOLDER / f"{name}.py"), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_every_example_is_listed():
    assert EXAMPLES == sorted(SAYS)
    text = (FOLDER / "README.md").read_text()
    assert set(re.findall(r"\((\w+)\.py\)", text)) == set(EXAMPLES)


LONG = dict.fromkeys(("conditional_generation", "mixed_table"), "test_an_example_runs[imputation]")
LONG["colour_images"] = "test_colour_images_takes_a_file"


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(EXAMPLES, long=LONG))
def test_an_example_runs(name, tmp_path):
    said = run(name, tmp_path, "--quick")
    assert re.search(SAYS[name], said), said
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.png"]
    picture = np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"))
    assert min(picture.shape) > 150 and picture.std() > 10


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_reads_as_cells(name):
    text = (FOLDER / f"{name}.py").read_text()
    assert text.count("# %%") >= 5 and text.startswith('"""') and len(text.splitlines()) < 150
    assert "fetch_" not in text  # no download


@pytest.mark.slow
def test_colour_images_takes_a_file(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", x=rng.integers(0, 256, [80, 32, 32, 3]).astype(np.uint8))
    said = run("colour_images", tmp_path, "mine.npz", "--quick")
    assert said.startswith("mine.npz: 72 training and 8 test images")
