"""probvae-export: what it writes computes what the model computes, without probvae; and its card."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from alone import ALONE
from click.testing import CliRunner
from marked_cases import cases
from test_combinations import COLUMNS, TINY, data_for

import probvae
from probvae import Architecture, InputError, Training
from probvae.cli.export import FORMATS as COMMAND_FORMATS
from probvae.cli.export import main
from probvae.export import card, functions
from probvae.export.folder import FORMATS, export_model, export_run
from probvae.likelihoods import LIKELIHOODS
from probvae.models import building
from probvae.models.networks.registry import NETWORKS
from probvae.objectives import memory
from probvae.posteriors import POSTERIORS
from probvae.priors import PRIORS

CHOICES = [  # every posterior, prior, likelihood and network, several at a time
    {"posterior": "tril"},
    {"likelihood": "mixed"},
    {"network": "conv"},
    {"posterior": "low_rank", "prior": "mixture", "likelihood": "continuous_bernoulli"},
    {"posterior": "mixture", "prior": "maf", "likelihood": "normal_fixed", "network": "conv1d"},
    {"posterior": "iaf", "prior": "realnvp", "likelihood": "normal_shared", "network": "gated_mlp"},
    {"prior": "spline", "likelihood": "logistic_mixture"},
    {"latent_layers": (1, 2), "likelihood": "poisson"},
    {"likelihood": "discretized_logistic", "network": "residual_conv"},
    {"likelihood": "normal", "missing": True},
    {"likelihood": "negative_binomial"},
    {"likelihood": "categorical"},
    {"posterior": "spline", "prior": "vamp"},
    {"posterior": "von_mises_fisher", "prior": "uniform_sphere"},
]
QUICK = CHOICES[:3]
CASES = [
    pytest.param(c, id="-".join(map(str, c.values())), marks=[] if c in QUICK else pytest.mark.slow)
    for c in CHOICES
]
RANDOM = ("iaf", "spline")  # posteriors whose moments are Monte Carlo estimates
NOT_IN_ONNX = (*RANDOM, "von_mises_fisher")


def tiny(**choices):
    """An untrained model with weights that matter, its data and latents."""
    network, likelihood = choices.get("network", "mlp"), choices.get("likelihood", "bernoulli")
    shape = {2: (8, 2), 3: (8, 8, 1)}[(NETWORKS[network].event_ranks or (3,))[0]]
    shape = (len(COLUMNS),) if likelihood == "mixed" else shape
    fields = {**TINY, **choices}
    if likelihood in ("mixed", "categorical"):
        fields |= {"columns": COLUMNS} if likelihood == "mixed" else {"classes": 5}
    vae = building.build(Architecture(shape, **fields), seed=1)
    rng = np.random.default_rng(2)
    for variable in vae.trainable_variables:
        variable.assign_add(0.1 * rng.standard_normal(variable.shape))
    x = data_for(likelihood, shape).numpy()
    if fields.get("missing"):
        x[rng.random(x.shape) < 0.3] = np.nan
    z = vae.prior.sample(6, seed=(0, 3)).numpy()
    return vae, x, z


def expected(vae, x, z):
    """What the encoder and the decoder give, from the distributions of the model."""
    q = vae.posterior(x)
    name = "probabilities" if vae.architecture.likelihood == "bernoulli" else "mean"
    return {"loc": q.mean().numpy(), "scale": q.stddev().numpy()}, {name: vae.likelihood(z).mean().numpy()}


def assert_same(found, truth):
    assert set(found) == set(truth)
    for name, value in truth.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-5, atol=2e-5, err_msg=name)


def right(found):
    """The numbers of a signature, which finds no problem."""
    assert set(found["problem"].numpy().tolist()) == {b""}
    return {name: value for name, value in found.items() if name != "problem"}


def test_the_cases_hold_every_part_of_a_model():
    defaults = Architecture((8, 8, 1), **TINY)
    tables = {"posterior": POSTERIORS, "prior": PRIORS, "likelihood": LIKELIHOODS, "network": NETWORKS}
    for field, table in tables.items():
        assert {choices.get(field, getattr(defaults, field)) for choices in CHOICES} == set(table)


# ---- SavedModel ------------------------------------------------------------------------------------


# convolutions and columns of a table: also `test_onnx_computes_what_the_model_does`
@pytest.mark.parametrize(
    "choices",
    [case._replace(marks=[pytest.mark.slow]) if case.values[0] in QUICK[1:] else case for case in CASES],
)
def test_saved_model_computes_what_the_model_does(choices, tmp_path):
    vae, x, z = tiny(**choices)
    export_model(vae, tmp_path / "out")
    signatures = tf.saved_model.load(str(tmp_path / "out" / "saved_model")).signatures
    assert set(signatures) == {"encode", "decode", "log_prob", "sample"}
    encoded, decoded = expected(vae, x, z)
    assert_same(right(signatures["encode"](x=tf.constant(x))), encoded)
    assert_same(right(signatures["decode"](z=tf.constant(z))), decoded)
    for k in (1, 7):  # one function for every number of draws
        found = signatures["log_prob"](x=tf.constant(x), num_samples=tf.constant(k), seed=tf.constant(5))
        truth = {"elbo": probvae.elbo, "iwae": probvae.iwae}
        assert_same(right(found), {n: f(vae, x, num_samples=k, seed=5) for n, f in truth.items()})
    drawn = signatures["sample"](number=tf.constant(4), seed=tf.constant(9))
    np.testing.assert_allclose(drawn["x"], vae.sample(4, seed=9), rtol=1e-4, atol=1e-4)
    assert_same({k: v for k, v in drawn.items() if k not in "xz"}, expected(vae, x, drawn["z"])[1])


WRONG = {  # likelihoods, wrong values of x, and words of the problem
    "bernoulli": ((0.5, 255.0, np.nan, np.inf), b"0 or 1"),
    "categorical": ((300.0, -1.0, 0.5, np.nan), b"integers from 0"),
    "poisson": ((-1.0, 0.5, np.nan, np.inf), b"integers from 0 on"),
    "normal": ((np.nan, np.inf, -np.inf, np.nan), b"finite"),
}


@pytest.mark.parametrize(
    "likelihood",
    cases(["bernoulli", "categorical", "poisson", "normal"], slow=["bernoulli", "poisson", "normal"]),
)
def test_wrong_rows_are_nan_and_say_why(likelihood, tmp_path):
    values, words = WRONG[likelihood]
    vae, x, z = tiny(likelihood=likelihood)
    export_model(vae, tmp_path / "out")
    signatures = tf.saved_model.load(str(tmp_path / "out" / "saved_model")).signatures
    truth = probvae.iwae(vae, x, num_samples=3, seed=1)
    x[: len(values), 0, 0, 0], z[:2, 0] = values, (np.nan, np.inf)
    draws = {"num_samples": tf.constant(3), "seed": tf.constant(1)}
    scored, encoded = signatures["log_prob"](x=x, **draws), signatures["encode"](x=x)
    np.testing.assert_allclose(scored["iwae"][4:], truth[4:], rtol=1e-5)
    for found, wrong, said in (
        (scored, 4, words),
        (encoded, 4, words),
        (signatures["decode"](z=z), 2, b"z must hold finite"),
    ):
        problem = found.pop("problem").numpy().tolist()
        assert all(said in p for p in problem[:wrong]) and set(problem[wrong:]) == {b""}
        for value in found.values():
            assert np.isnan(value[:wrong]).all() and np.isfinite(value[wrong:]).all()
    for number in (0, -3, 2**31 - 1):
        number = tf.constant(number)
        with pytest.raises(tf.errors.InvalidArgumentError, match="num_samples must be a whole number from 1"):
            signatures["log_prob"](x=x, num_samples=number, seed=tf.constant(1))
        with pytest.raises(tf.errors.InvalidArgumentError, match="number must be a whole number from 1 to"):
            signatures["sample"](number=number, seed=tf.constant(1))


def test_networks_of_the_callers_own_check_the_support_of_their_distribution(tmp_path):
    vae, x, _ = tiny(likelihood="poisson")
    own = probvae.VAE(vae.prior, vae.encoder, vae.decoder)
    assert own.architecture is None and own.schema is None
    export_model(own, tmp_path / "out")
    x[0, 0, 0, 0] = -1
    found = tf.saved_model.load(str(tmp_path / "out" / "saved_model")).signatures["encode"](x=x)
    assert b"integers from 0 on" in found["problem"].numpy()[0]
    assert np.isnan(found["loc"][0]).all() and np.isfinite(found["loc"][1:]).all()


@pytest.mark.parametrize(
    "choices", [{}, pytest.param({"posterior": "iaf", "prior": "vamp"}, marks=pytest.mark.slow)]
)
def test_it_decodes_in_blocks_with_the_numbers_of_one(choices, tmp_path, monkeypatch):
    vae, x, z = tiny(**choices)
    truth = probvae.iwae(vae, x, num_samples=400, seed=1)
    many_x = np.tile(x, [100, 1, 1, 1])
    each = probvae.elbo(vae, many_x, seed=1)
    monkeypatch.setattr(memory, "BUDGET", 2**16)  # a few rows in a block
    monkeypatch.setattr(memory, "PARAMETERS_PER_SEED", 300 * 64)  # draws of 300 rows have one seed
    export_model(vae, tmp_path / "out")
    signatures = tf.saved_model.load(str(tmp_path / "out" / "saved_model")).signatures
    found = signatures["log_prob"](x=x, num_samples=tf.constant(400), seed=tf.constant(1))
    np.testing.assert_allclose(found["iwae"], truth, rtol=1e-4)
    many = np.tile(z, [200, 1])
    means = signatures["decode"](z=many)["probabilities"]
    np.testing.assert_allclose(means, np.tile(vae.likelihood(z).mean(), [200, 1, 1, 1]), atol=1e-5)
    drawn = signatures["sample"](number=tf.constant(1000), seed=tf.constant(2))
    np.testing.assert_array_equal(drawn["x"], vae.sample(1000, seed=2))
    found = signatures["log_prob"](x=many_x, num_samples=tf.constant(1), seed=tf.constant(1))
    np.testing.assert_allclose(found["elbo"], each, rtol=1e-4)
    if choices.get("posterior") not in RANDOM:
        moments = np.tile(vae.posterior(x).mean(), [100, 1])
        np.testing.assert_allclose(signatures["encode"](x=many_x)["loc"], moments, atol=1e-5)
    assert signatures["decode"](z=z[:0])["probabilities"].shape == (0, 8, 8, 1)
    for name in ("encode", "decode", "log_prob", "sample"):
        graph = signatures[name].graph.as_graph_def()
        nodes = [n.op for f in graph.library.function for n in f.node_def] + [n.op for n in graph.node]
        assert {"While", "StatelessWhile"} & set(nodes), name


PROGRAM = """
import numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1]).signatures
drawn = model["sample"](number=tf.constant(3), seed=tf.constant(4))
bounds = model["log_prob"](x=drawn["x"], num_samples=tf.constant(6), seed=tf.constant(5))
encoded = model["encode"](x=drawn["x"])
decoded = model["decode"](z=encoded["loc"])
assert not {"probvae", "tensorflow_probability", "tf_keras"} & set(sys.modules)
wrong = model["encode"](x=drawn["x"] / 2)["problem"].numpy()
assert all(b"0 or 1" in problem for problem in wrong)
for found in (bounds, encoded, decoded):
    assert set(found.pop("problem").numpy()) == {b""}
np.savez(sys.argv[2], **drawn, **bounds, **encoded, decoded=decoded["probabilities"])
"""


@pytest.mark.slow
def test_it_works_in_another_process_with_tensorflow_alone(tmp_path):
    vae, _, _ = tiny(network="conv", prior="vamp")
    export_model(vae, tmp_path / "out")
    command = [
        sys.executable,
        "-c",
        ALONE + PROGRAM,
        tmp_path / "out" / "saved_model",
        tmp_path / "found.npz",
    ]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-800:]
    with np.load(tmp_path / "found.npz") as file:
        found = dict(file)
    x = vae.sample(3, seed=4)
    np.testing.assert_array_equal(found["x"], x)
    encoded, decoded = expected(vae, x, found["loc"])
    assert_same({k: found[k] for k in encoded}, encoded)
    assert_same({"probabilities": found["decoded"]}, decoded)
    np.testing.assert_allclose(found["iwae"], probvae.iwae(vae, x, num_samples=6, seed=5), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.long("test_it_works_in_another_process_with_tensorflow_alone")
def test_saved_model_cli_shows_and_runs_it(tmp_path):
    vae, x, _ = tiny()
    export_model(vae, tmp_path / "out")
    folder = ["--dir", str(tmp_path / "out" / "saved_model"), "--tag_set", "serve"]
    np.save(tmp_path / "x.npy", x)
    tool = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"]
    shown = subprocess.run([*tool, "show", *folder], capture_output=True, text=True, check=True).stdout
    assert all(f'"{name}"' in shown for name in functions.FUNCTIONS)
    inputs = ["--signature_def", "encode", "--inputs", f"x={tmp_path / 'x.npy'}", "--outdir", str(tmp_path)]
    subprocess.run([*tool, "run", *folder, *inputs], capture_output=True, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "loc.npy"), vae.posterior(x).mean(), atol=1e-5)


# ---- ONNX -------------------------------------------------------------------------------------------


def run_onnx(path, x):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    (only,) = session.get_inputs()
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, {only.name: x}), strict=True))


def export_onnx(vae, folder):
    pytest.importorskip("tf2onnx")
    export_model(vae, folder, ["onnx"])
    return folder / "encoder.onnx", folder / "decoder.onnx"


LONG = pytest.mark.long("test_onnx_computes_what_the_model_does[iaf-realnvp-normal_shared-gated_mlp]")


@pytest.mark.parametrize(
    "choices",
    [
        case._replace(marks=[*case.marks, LONG])
        if case.values[0].get("posterior") in ("spline", "von_mises_fisher")
        else case
        for case in CASES
    ],
)
def test_onnx_computes_what_the_model_does(choices, tmp_path):
    vae, x, z = tiny(**choices)
    if choices.get("posterior") in NOT_IN_ONNX:
        with pytest.raises(InputError, match="The encoder cannot be written"):
            export_onnx(vae, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []
        export_model(vae, tmp_path / "out", ["onnx"], parts=["decoder"])
        assert_same(run_onnx(tmp_path / "out" / "decoder.onnx", z), expected(vae, x, z)[1])
        return
    encoder, decoder = export_onnx(vae, tmp_path / "out")
    for size in (6, 1):  # of any batch size
        encoded, decoded = expected(vae, x[:size], z[:size])
        assert_same(run_onnx(encoder, x[:size]), encoded)
        assert_same(run_onnx(decoder, z[:size]), decoded)
    x[0].flat[0] = np.inf
    assert np.isnan(run_onnx(encoder, x)["loc"][0]).all()
    assert np.isfinite(run_onnx(encoder, x)["loc"][1:]).all()


def test_onnx_of_one_class_takes_x_alone(tmp_path):
    pytest.importorskip("tf2onnx")
    vae = building.build(Architecture((4, 4, 1), **{**TINY, "context_dim": 3}), seed=1)
    export_model(vae, tmp_path / "out", ["onnx"], label=2)
    x = np.random.default_rng(0).integers(0, 2, [5, 4, 4, 1]).astype(np.float32)
    one, z = vae.given(2), np.zeros([5, 3], np.float32)
    one.architecture = vae.architecture
    encoded, decoded = expected(one, x, z)
    assert_same(run_onnx(tmp_path / "out" / "encoder.onnx", x), encoded)
    assert_same(run_onnx(tmp_path / "out" / "decoder.onnx", z), decoded)


def test_wrong_exports_are_caught(tmp_path, monkeypatch):
    """Loc and scale swapped; a transposed kernel."""
    vae, x, z = tiny()
    encoded, decoded = expected(vae, x, z)
    moments = functions._moments
    monkeypatch.setattr(functions, "_moments", lambda *args: moments(*args)[::-1])
    kernel = vae.decoder.get_layer("likelihood_params").kernel
    kernel.assign(tf.reshape(tf.transpose(kernel), kernel.shape))
    encoder, decoder = export_onnx(vae, tmp_path / "out")
    with pytest.raises(AssertionError, match="loc"):
        assert_same(run_onnx(encoder, x), encoded)
    with pytest.raises(AssertionError, match="probabilities"):
        assert_same(run_onnx(decoder, z), decoded)


@pytest.mark.parametrize("operation", [tf.math.log1p, tf.math.expm1])
def test_operations_that_onnx_lacks_keep_their_digits(operation, tmp_path):
    pytest.importorskip("tf2onnx")
    from probvae.export import onnx_model

    signature = [tf.TensorSpec([None], tf.float32, "x")]
    function = tf.function(lambda x: {"y": operation(x)}, input_signature=signature, autograph=False)
    path = tmp_path / "one.onnx"
    path.write_bytes(onnx_model._convert("encoder", function))
    x = np.float32([0, 1e-30, 1e-8, -1e-8, 3e-4, 0.5, 1, 20, 80])
    x = np.append(x, np.float32(1e9)) if operation is tf.math.log1p else np.append(x, np.float32(-90))
    np.testing.assert_allclose(run_onnx(path, x)["y"], operation(x), rtol=1e-6)


def test_an_absent_package_is_one_sentence(monkeypatch, tmp_path):
    from probvae.export import onnx_model

    monkeypatch.setattr(onnx_model.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package onnx.*pip install 'probvae\[onnx\]'"):
        export_model(tiny()[0], tmp_path / "out", ["onnx"])
    assert list(tmp_path.iterdir()) == []


# ---- the command -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with metrics, an evaluation and a command."""
    folder = tmp_path_factory.mktemp("export") / "run"
    vae, _, _ = tiny()
    probvae.save(vae, folder, Training(data="/home/someone/my_digits.npz", epochs=3))
    number = {"mean": -12.5, "standard_error": 0.25}
    metrics = {"test_elbo": number, "data": {"name": "my_digits.npz", "test_images": 9}}
    (folder / "metrics.json").write_text(json.dumps({**metrics, "versions": {"numpy": "1.99"}}))
    command = "probvae-train --data my_digits.npz --epochs 3"
    (folder / "commands.json").write_text(json.dumps([{"command": command, "versions": {}}]))
    return folder


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_the_command_writes_and_replaces(run, tmp_path):
    assert set(COMMAND_FORMATS) == set(FORMATS)
    output = tmp_path / "out"
    done = invoke(run, "--format", "onnx", "--part", "decoder", "--license", "mit", "--output", output)
    assert done.exit_code == 0, done.output
    assert done.output == f"written to {output}: decoder.onnx, model_card.md\n"
    assert {p.name for p in output.iterdir()} == {"decoder.onnx", "model_card.md"}
    again = invoke(run, "--format", "onnx", "--output", output)
    assert again.exit_code == 2 and "--overwrite" in again.output
    again = invoke(run, "--format", "onnx", "--output", output, "--overwrite")
    assert again.exit_code == 0, again.output
    assert {p.name for p in output.iterdir()} == {"encoder.onnx", "decoder.onnx", "model_card.md"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "h5"], "not one of"),
        (["--class", "1"], "this one has no classes"),
        (["--license", "a: b"], "identifier such as mit"),
        (["--output", "{run}"], "holds other files"),
        (["--output", "."], "no name of its own"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(run, arguments, message):
    before = sorted(run.rglob("*"))
    done = invoke(run, *(a.format(run=run) for a in arguments))
    assert done.exit_code == 2 and message in done.output and done.output.count("\n") == 1
    assert sorted(run.rglob("*")) == before
    missing = invoke(run / "absent")
    assert missing.exit_code == 2 and "no run folder" in missing.output


def test_damaged_files_of_a_run_are_one_line(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").write_text('{"test_elbo": NaN}')
    done = invoke(tmp_path / "run")
    assert done.exit_code == 2 and "metrics.json" in done.output and done.output.count("\n") == 1
    (tmp_path / "run" / "metrics.json").write_text('{"test_elbo": 3, "data": [], "versions": "x"}')
    text = card.render(tiny()[0], card.provenance(tmp_path / "run", "mit"), [])
    assert "has not been evaluated" in text


@pytest.mark.slow
def test_a_conditional_model_is_exported_class_by_class(tmp_path):
    vae = building.build(Architecture((4, 4, 1), **{**TINY, "context_dim": 3}), seed=1)
    for label in (None, 3):
        with pytest.raises(InputError, match="from 0 to 2"):
            export_model(vae, tmp_path / "out", label=label)
    export_model(vae, tmp_path / "out", label=2)
    signatures = tf.saved_model.load(str(tmp_path / "out" / "saved_model")).signatures
    x = np.random.default_rng(0).integers(0, 2, [5, 4, 4, 1]).astype(np.float32)
    found = signatures["log_prob"](x=x, num_samples=tf.constant(3), seed=tf.constant(1))["elbo"]
    truth, other = (probvae.elbo(vae.given(y), x, num_samples=3, seed=1) for y in (2, 1))
    np.testing.assert_allclose(found, truth, rtol=1e-5)
    assert np.abs(found - other).max() > 1e-3
    assert "class 2" in (tmp_path / "out" / "model_card.md").read_text()


# ---- the card --------------------------------------------------------------------------------------


def metadata(text):
    block = re.match(r"---\n(.*?)\n---\n", text, flags=re.DOTALL)[1]
    return {k: json.loads(v) for k, v in (line.split(": ", 1) for line in block.splitlines())}


def test_the_card_tells_what_the_run_is(run, tmp_path):
    export_run(run, tmp_path / "out", ["onnx"], card_license="mit")
    text = (tmp_path / "out" / "model_card.md").read_text()
    found = metadata(text)
    assert found["license"] == "mit" and found["library_name"] == "probvae"
    assert found["datasets"] == ["my_digits.npz"] and found["metrics"] == ["test_elbo"]
    assert found["model-index"][0]["results"][0]["metrics"][0]["value"] == -12.5
    assert "someone" not in text  # no folders of the machine
    for line in (
        "| seed | `0` |",
        "| epochs | `3` |",
        "| posterior | `diagonal` |",
        "| ELBO | -12.50 | 0.25 |  | nats |  |",
        "    probvae-train --data my_digits.npz --epochs 3",
        f"| numpy | 1.99 | {np.__version__} |",
        "- `encoder.onnx`: x [N, 8, 8, 1] -> loc, scale",
    ):
        assert line in text.splitlines(), line
    assert "| filters" not in text  # of convolutions, which a perceptron has not
    count = sum(v.numpy().size for v in tiny()[0].trainable_variables)
    assert f"| trained numbers | {count:,} |" in text


def test_an_evaluation_goes_before_the_metrics_of_training(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    iwae = {"name": "IWAE bound, K = 50", "unit": "nats", "note": "a | b", "mean": -11.0}
    results = {"iwae": {**iwae, "standard_error": 0.2, "monte_carlo_error": 0.01}}
    (tmp_path / "run" / "evaluation").mkdir()
    (tmp_path / "run" / "evaluation" / "metrics.json").write_text(
        json.dumps({"results": results, "conditions": {"num_images": 9}})
    )
    text = card.render(tiny()[0], card.provenance(tmp_path / "run", "mit"), [])
    assert r"| IWAE bound, K = 50 | -11.00 | 0.2 | 0.01 | nats | a \| b |" in text
    assert "-12.5" not in text and r"num\_images `9`" in text


def test_nothing_in_a_card_is_taken_for_markup():
    evil = "<script>x</script>\n# [a](http://b) `c` | d"
    row = card.Row("elbo", evil, -1.0, None, None, evil, evil)
    about = card.Provenance(
        evil, data={"name": evil, "k": evil}, commands=(evil,), rows=(row,), license="mit"
    )
    text = card.render(tiny()[0], about, [])
    assert metadata(text)["model-index"][0]["name"] == evil
    body = text.split("\n---\n", 1)[1]
    outside = re.sub(r"(`+) ?.*?\1(?!`)|^    .*$", "", body, flags=re.MULTILINE)
    assert "<script" not in outside and not re.search(r"(?<!\\)\[a", outside)
    assert body.count("\n# ") == 1


def test_the_code_of_a_card_runs(tmp_path, monkeypatch):
    vae, _, _ = tiny(likelihood="normal")
    export_model(vae, tmp_path / "out")
    text = (tmp_path / "out" / "model_card.md").read_text()
    monkeypatch.chdir(tmp_path / "out")
    names = {}
    exec(re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)[1], names)
    assert names["decoded"]["mean"].shape == (16, 8, 8, 1) and set(names["bounds"]) == {
        "elbo",
        "iwae",
        "problem",
    }
