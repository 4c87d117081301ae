"""The Python code of README.md and of the pages in docs runs, in the order in which it stands."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from marked_cases import cases
from table_models import table_model
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

import probvae
from probvae.data.binarization import prepare
from probvae.data.dataset import DataSet
from probvae.export.folder import export_run

ROOT = Path(__file__).parents[2]


def blocks(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), flags=re.DOTALL)


# Everything with Python in it. docs/ko has the code of its sources (test_translation.py).
PAGES = [
    "README.md",
    *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md") if "```python" in p.read_text()),
]
SMALL = {"500": "4", "200": "4", "[:100]": "[:10]"}


SLOW = ["docs/tutorial.md", "docs/export.md", "docs/guide.md", "docs/data.md", "docs/evaluation.md"]
SLOW += ["README.md", "docs/choices.md", "docs/reliability.md", "docs/tables.md"]  # docs/index.md is quick
LONG = {"docs/extending.md": "test_code_in_documents_runs[README.md]"}


@pytest.mark.filterwarnings("ignore:.*effective sample size")  # one epoch in place of many
@pytest.mark.parametrize("name", cases(PAGES, slow=SLOW, long=LONG))
def test_code_in_documents_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    images = np.float32(np.random.default_rng(0).random([8, 28, 28, 1]) > 0.5)
    probvae.save(probvae.conv_vae(filters=(2, 2)), "runs/mine", probvae.Training(data="digits"))
    Path("runs/mine/history.csv").write_text("epoch,test_elbo,test_log_likelihood,test_kl\n1,-3,-2,1\n")
    patients("patients.csv")
    monkeypatch.setattr(tf_keras.Model, "fit", quietly(tf_keras.Model.fit))
    names = {"probvae": probvae, "tf": tf, "tf_keras": tf_keras, "tfd": tfd, "tfpl": tfpl}
    names |= {"x_train": images, "x_test": images[:4], "batches": [images[:4], images[4:]]}
    names |= {"vae": probvae.conv_vae(filters=(2, 2)), "x": images[:5]}
    if name == "docs/export.md":
        export_run("runs/patients", "runs/patients/export", ["savedmodel"])
    training = probvae.Training(data="mine", epochs=1, batch_size=4)
    names |= {
        "num_samples": 3,
        "seed": (0, 1),
        "prepared": prepare(DataSet("mine", images, images[:4], None, None, 1)),
        "training": training,
    }
    found = blocks(name)
    assert found
    for code in found:
        small = re.sub(r"\bepochs=\d+", "epochs=1", code)
        small = re.sub(r"\b500\b|\b200\b|\[:100\]", lambda m: SMALL[m[0]], small)
        exec(compile(small, name, "exec"), names)  # our own documents
    assert isinstance(names["vae"], probvae.VAE)


def test_every_page_with_python_is_run():
    assert {"docs/guide.md", "docs/tutorial.md", "docs/extending.md", "docs/export.md"} <= set(PAGES)
    for path in ROOT.glob("docs/*.md"):
        for language, code in re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
            looks_like_python = re.search(r"^(import|from) \w", code, re.MULTILINE)
            assert language == ("python" if looks_like_python else language) or language == "bash", code


def patients(path):
    """A table with empty cells, and a model of it."""
    rng = np.random.default_rng(0)
    rows = [f"{170 + 10 * h:.1f},{'' if h > 1 else 70 + 10 * h:},{h > 0}" for h in rng.standard_normal(40)]
    Path(path).write_text("\n".join(["height,weight,tall", *rows]) + "\n")
    schema = probvae.data.load(path, missing=True).schema
    probvae.save(table_model(schema, units=(8,)), "runs/patients", probvae.Training(data="patients.csv"))


def quietly(fit):
    return lambda self, *args, **kwargs: fit(self, *args, **{**kwargs, "verbose": 0})


@pytest.mark.parametrize(
    "name",
    ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))],
)
def test_links_lead_somewhere(name):
    path = ROOT / name
    links = re.findall(r"\]\(([^)#]+)", path.read_text())
    for link in links:
        assert link.startswith("http") or (path.parent / link).exists(), link
