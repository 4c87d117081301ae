"""The models that come with the package: their files, their printed ELBO, and their names as run folders."""

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats
from statistics_helpers import ALPHA

import probvae
from probvae.cli.sample import main as sample
from probvae.errors import InputError
from probvae.files import npz
from probvae.runs.collection import EXAMPLES, PRETRAINED, SHIPPED, located

LARGEST = 4_000_000  # bytes of all models


def test_the_folders_are_the_names_and_small():
    assert {path.name for path in SHIPPED.iterdir()} == set(PRETRAINED)
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*")) < LARGEST
    for name in PRETRAINED:
        text = (SHIPPED / name / "model_card.md").read_text()
        assert f'probvae.pretrained("{name}")' in text and "## Evaluation" in text
        for file in (SHIPPED / name).rglob("*.json"):
            assert "/" not in (data := probvae.open_run(SHIPPED / name).training.data), data
            assert "/tmp/" not in file.read_text() and "/home/" not in file.read_text()


@pytest.mark.parametrize("name", PRETRAINED)
def test_every_model_meets_its_printed_elbo(name):
    """On its first test examples, z-test at `ALPHA`; with a kernel of the decoder halved, not."""
    vae, run = probvae.pretrained(name), probvae.open_run(SHIPPED / name)
    x = npz.read_arrays(SHIPPED / name / EXAMPLES)["x"].astype(np.float32)
    printed = run.evaluation.arrays["elbo"][: len(x)]
    error = run.evaluation.arrays["elbo_monte_carlo_error"][: len(x)]
    assert len(x) == 100 and np.all(error > 0)
    assert run.evaluation.results["elbo"]["mean"] == pytest.approx(
        run.evaluation.arrays["elbo"].mean(dtype=np.float64), rel=1e-6
    )

    slope = vae.schema.log_slope(x) if vae.schema.has_units else 0.0  # to a density in units of the data

    def p_value():
        found = probvae.elbo(vae, x, num_samples=50, seed=5).numpy() + slope
        scale = error * np.sqrt(1 + 1000 / 50)  # errors of differences between 50 and 1,000 draws
        return 2 * stats.norm.sf(abs(np.sum(found - printed)) / np.linalg.norm(scale))

    assert p_value() > ALPHA
    last = [variable for variable in vae.decoder.trainable_variables if "kernel" in variable.name][-1]
    last.assign(last / 2)
    assert p_value() < ALPHA


def test_a_name_stands_for_a_run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(sample, ["digits-classes", "--class", "3", "--quiet"])
    assert result.exit_code == 0, result.output
    copy = tmp_path / "runs" / "digits-classes"
    assert list(copy.glob("samples*")) and not list((tmp_path / "runs").glob("tmp*"))
    assert probvae.open_run("digits-classes").folder.resolve() == copy
    (tmp_path / "digits-classes").mkdir()
    assert located(tmp_path / "digits-classes") == tmp_path / "digits-classes"
    with pytest.raises(InputError, match="digits-classes"):
        probvae.open_run("digits-classes")  # the folder of this name comes first, and holds no run


def test_another_run_in_the_place_of_the_copy_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "runs" / "adult"
    copy.mkdir(parents=True)
    (copy / "weights.npz").write_bytes(b"other")
    with pytest.raises(InputError, match="runs/adult is another run than the model adult"):
        probvae.open_run("adult")
    assert [path.name for path in copy.iterdir()] == ["weights.npz"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "runs").write_text("a file")
    result = CliRunner().invoke(sample, ["adult"])
    assert result.exit_code == 2 and "cannot be used" in result.output and "Traceback" not in result.output


@pytest.mark.parametrize("name", ["mnist", "", 3, None])
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match="name must be one of mnist-tutorial, mnist-vamp"):
        probvae.pretrained(name)
