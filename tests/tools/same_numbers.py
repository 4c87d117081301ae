"""Whether two checkouts of probvae compute the same numbers, bit for bit.

For changes that must not change any number, such as moving files. Record the digests before the change, and
compare after it, on the same machine with the same packages:

    python tests/tools/same_numbers.py --output before.json
    python tests/tools/same_numbers.py --compare before.json

Small models are trained, evaluated and sampled from by the commands in bin/, and others through the public
names of `probvae`; nothing else of the package is used, so that its files may lie anywhere. `--tree PATH`
takes another checkout, `--list` names the cases, and names of cases choose some of them. A line for each
digest; the exit code is 1 where one differs or is missing, or where a command fails.
"""

import argparse
import csv
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

# One thread an operation, so that sums have one order; parts of a batch are named for the same reason.
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONDONTWRITEBYTECODE": "1"}
for library in ("TF_NUM_INTRAOP", "TF_NUM_INTEROP", "OMP_NUM", "OPENBLAS_NUM"):
    ENVIRONMENT[f"{library}_THREADS"] = "1"
THREADS = "--threads 1 --inter-threads 1"
TRAIN = f"--batch-size 100 --epochs 2 --learning-rate 0.002 --seed 5 {THREADS}"
DIGITS = f"{TRAIN} --data digits --image-size 12 --parts 2"
HEADS = {  # what a command is given in any case, after the run's folder
    "train": TRAIN,
    "digits": f"{DIGITS} --filters 4,8",
    "dense": f"{DIGITS} --units 16,12",
    "resume": THREADS,
    "evaluate": f"--limit 12 --num-samples 20 --train-images 60 --gap-images 0 {THREADS}",
    "sample": "--seed 3",
}

# A case, which names the folder of its run, and a command, a line. "digits" trains on these images by
# convolutions and "dense" without, "train" on other data, "sample" writes into the named folder of the run,
# and "python" calls a function of this file. The longest cases come first, since two are run at a time.
PLAN = """
diagonal    digits --image-size 28
diagonal    evaluate --gap-images 2 --ais-images 2 --tolerance 0.5
diagonal    sample:prior --num 5 --temperature 0.8
diagonal    sample:mixture --num 5 --sampler mixture --components 3 --train-images 300
diagonal    sample:reconstructions --mode reconstructions --num 3 --draws 2
diagonal    sample:interpolation --mode interpolation --from 3 --to 8 --steps 3 --path linear
diagonal    sample:traversal --mode traversal --steps 3 --image 2 --pixels draw
diagonal    python:opened diagonal
condition   digits --labels condition --posterior tril --prior mixture --components 7
condition   evaluate --ais-images 0 --tolerance 0.5
condition   sample:classes --mode classes --num 2
condition   sample:prior --num 4 --class 3
models      python:fitted
models      python:architectures
table       train --units 16,12 --data patients.csv --missing --epochs 3 --column-kinds visits=poisson
table       evaluate --ais-images 0 --outliers others.csv --tolerance 0.5
table       sample:prior --num 6
table       sample:reconstructions --mode reconstructions --num 3 --draws 2
table       python:imputed table
rows        python:transformer
semi        digits --labels semi --labelled 0.1
semi        sample:one --class 2 --num 3
ladder      digits --units 16,12 --latent-layers 2,4 --objective iwae --num-samples 2
ladder      evaluate --ais-images 0
ladder      sample:flow --num 3 --sampler flow --train-images 200
iaf_realnvp dense --posterior iaf --prior realnvp --latent-dim 3 --network gated_mlp
categorical dense --posterior mixture --prior mixture --components 7 --likelihood categorical --network mlp
series      train --data series.npz --kind series --missing --posterior spline --prior spline --parts 1
series      sample:reconstructions --mode reconstructions --num 2 --draws 2
sphere      digits --posterior von_mises_fisher --prior uniform_sphere --objective iwae --num-samples 3
sphere      evaluate --ais-images 0
vamp_stl    digits --prior vamp --components 7 --likelihood continuous_bernoulli --objective stl
residual    digits --network residual_conv --likelihood discretized_logistic --objective dreg --num-samples 3
low_rank    digits --posterior low_rank --likelihood logistic_mixture --objective renyi --num-samples 2
beta_tc     digits --objective beta_tc --beta 3 --latent-dim 4 --likelihood normal_shared --parts 1
beta_tc     evaluate --ais-images 0
mmd         dense --objective mmd --mmd-weight 4 --likelihood normal --network mlp --parts 1
free_bits   digits --objective free_bits --free-bits 0.2 --likelihood poisson --parts 1
chi         digits --objective chi --num-samples 2 --binarize static
analytic_kl digits --analytic-kl --beta 2 --beta-warmup linear --beta-warmup-steps 20 --binarize dynamic
bfloat16    digits --precision mixed_bfloat16 --likelihood negative_binomial --activation elu
schedule    digits --recipe tuned --warmup-steps 5 --clip-norm 20 --validation 0.1 --patience 1 --epochs 3
resumed     digits --epochs 1 --beta-warmup cyclic --beta-warmup-steps 8 --schedule exponential
resumed     resume --epochs 2
"""

CASES: dict[str, list[str]] = {}
for line in PLAN.strip().splitlines():
    CASES.setdefault(line.split()[0], []).append(line.split(maxsplit=1)[1])

# What is no number of the model: times, memory, versions.
DROPPED = {"seconds", "training_seconds", "images_per_second", "peak_memory_mb", "versions", "probvae"}
# What versions say of the data: format 3 of config.json, and fingerprints that hash the schema.
DROPPED |= {"format", "schema_sha256", "fingerprint_sha256", "delimiter", "decimal", "na"}
DROPPED |= {"dropout", "weight_decay", "average"}  # settings that are newer than the tool


def digest(value: Any) -> str:
    """Return the SHA-256 of arrays, numbers, text, and dictionaries and sequences of these."""
    digest = hashlib.sha256()
    _update(digest, value)
    return digest.hexdigest()


def _update(digest: Any, value: Any) -> None:
    if isinstance(value, dict):
        for name in sorted(value):
            digest.update(f"{name}:".encode())
            _update(digest, value[name])
    elif isinstance(value, list | tuple):
        digest.update(f"{len(value)} values".encode())
        for part in value:
            _update(digest, part)
    elif value is None or isinstance(value, str):
        digest.update(repr(value).encode())
    else:
        array = np.ascontiguousarray(value)
        if array.dtype.hasobject:
            raise TypeError(f"{type(value).__name__} holds Python objects, which have no bytes to hash")
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())


def file_digest(path: Path) -> str:
    """Return the digest of what an .npz, .json or .csv file says of the model."""
    if path.suffix == ".npz":  # the archive's bytes may hold times
        with np.load(path, allow_pickle=False) as arrays:
            return digest(dict(arrays))
    if path.suffix == ".json":
        return digest(json.dumps(_kept(json.loads(path.read_text("utf-8"))), sort_keys=True))
    header, *rows = csv.reader(path.read_text("utf-8").splitlines())
    keep = [i for i, name in enumerate(header) if name not in DROPPED]
    return digest([[row[i] for i in keep] for row in [header, *rows]])


def _kept(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _kept(part) for name, part in value.items() if name not in DROPPED}
    return [_kept(part) for part in value] if isinstance(value, list) else value


def run_case(tree: Path, place: Path, case: str) -> dict[str, str]:
    """Run the commands of a case one after the other; return name -> digest.

    Raises:
      RuntimeError: a command failed.
    """
    digests = {}
    for step in CASES[case]:
        words = _command(tree, case, step)
        env = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(tree)}
        done = subprocess.run([sys.executable, *words], cwd=place, env=env, capture_output=True, text=True)
        if done.returncode:
            tail = "\n".join(done.stderr.splitlines()[-15:])
            raise RuntimeError(f"{case}: {shlex.join(words)} ended with {done.returncode}\n{tail}")
        if step.startswith("python:"):
            digests |= {f"{case}/{k}": v for k, v in json.loads(done.stdout.splitlines()[-1]).items()}
    for path in (place / case).rglob("*"):
        if path.suffix in (".npz", ".json", ".csv") and path.name != "commands.json":
            digests[path.relative_to(place).as_posix()] = file_digest(path)
    return digests


def _command(tree: Path, case: str, step: str) -> list[str]:
    verb, *options = shlex.split(step)
    verb, _, name = verb.partition(":")
    if verb == "python":
        return [str(Path(__file__).resolve()), "--tree", str(tree), "--child", name, *options]
    command, *first = {
        "train": ("train", "--output", case),
        "digits": ("train", "--output", case),
        "dense": ("train", "--output", case),
        "resume": ("train", "--resume", case),
        "evaluate": ("evaluate", case, "--output", f"{case}/evaluation"),
        "sample": ("sample", case, "--output", f"{case}/{name}"),
    }[verb]
    return [str(tree / "bin" / f"probvae-{command}"), *first, *shlex.split(HEADS[verb]), *options, "--quiet"]


def write_data(place: Path) -> None:
    """Write the files that cases train on: two tables, the first with empty cells, and series with gaps."""
    rng = np.random.default_rng(11)
    for name, n, shift, empty in (("patients.csv", 240, 0.0, 0.1), ("others.csv", 60, 1.5, 0.0)):
        z = rng.standard_normal(n) + shift
        columns = {
            "height": [f"{v:.2f}" for v in 170 + 9 * z + rng.standard_normal(n)],
            "weight": [f"{v:.2f}" for v in 70 + 6 * z + 4 * rng.standard_normal(n)],
            "smoker": np.where(rng.random(n) < 0.3, "yes", "no").tolist(),
            "blood": rng.choice(["A", "B", "AB", "0"], n).tolist(),
            "visits": [str(v) for v in rng.poisson(np.exp(0.5 * z))],
        }
        lines = [",".join(columns)]
        for row in zip(*columns.values(), strict=True):
            lines.append(",".join("" if rng.random() < empty else cell for cell in row))
        (place / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    time, phase = np.arange(16)[:, np.newaxis], rng.random([120, 1, 2])
    series = np.sin(time / 3 + 6 * phase) + 0.1 * rng.standard_normal([120, 16, 2])
    series[rng.random(series.shape) < 0.1] = np.nan
    np.savez(place / "series.npz", x_train=np.float32(series[:100]), x_test=np.float32(series[100:]))


def _digits(num: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return np.float32(data.images[:num, ..., np.newaxis] > 8), data.target[:num]


def fitted() -> Iterator[tuple[str, Any]]:
    """Train by Keras's `fit`, and ask the model for everything it says."""
    import tf_keras

    import probvae

    x, _ = _digits(300)
    tf_keras.utils.set_random_seed(0)
    vae = probvae.conv_vae((8, 8, 1), latent_dim=2, filters=(4, 8), seed=3)
    yield "initial", vae.get_weights()
    vae.compile(tf_keras.optimizers.Adam(2e-3), seed=4)
    yield "history", vae.fit(x, epochs=2, batch_size=50, validation_data=(x[:50],), verbose=0).history
    yield "weights", vae.get_weights()
    yield "evaluate", vae.evaluate(x[:60], return_dict=True, verbose=0)
    yield "predict", vae.predict(x[:6], verbose=0)
    x = x[:6]
    yield "elbo", [probvae.elbo(vae, x, seed=1), probvae.elbo(vae, x, analytic_kl=True, seed=1)]
    yield "iwae", probvae.iwae(vae, x, num_samples=5, seed=1)
    yield "log_weights", probvae.log_weights(vae, x, num_samples=4, seed=(1, 2))
    yield "draws", [vae.sample(5, seed=1), vae.reconstruct(x, seed=1)]
    q = vae.posterior(x)
    z = q.sample(3, seed=(0, 1))
    yield "posterior", [q.mean(), q.stddev(), z, q.log_prob(z), vae.prior.log_prob(z)]
    yield "likelihood", [vae.likelihood(z).mean(), vae.likelihood(z).log_prob(x)]
    yield "joint", vae.joint().experimental_pin(x=x).unnormalized_log_prob(z=z)
    yield "marginal", [vae.marginal(6, seed=2).log_prob(x), vae.marginal(method="exact").log_prob(x[:2])]
    probvae.save(vae, "saved")
    yield "loaded", probvae.load("saved").get_weights()


def architectures() -> Iterator[tuple[str, Any]]:
    """Build models of many kinds; train a conditional and a semi-supervised one, and one of own networks."""
    import tf_keras
    from tensorflow_probability import distributions as tfd
    from tensorflow_probability import layers as tfpl

    import probvae

    x, y = _digits(60)
    small: dict[str, Any] = {"event_shape": (8, 8, 1), "filters": (3, 5), "units": (9,), "components": 4}
    for choices in (
        {"posterior": "iaf", "prior": "maf", "likelihood": "normal"},
        {"posterior": "spline", "prior": "vamp", "likelihood": "normal_fixed", "network": "mlp"},
        {"posterior": "mixture", "prior": "spline", "likelihood": "logistic_mixture"},
        {"posterior": "von_mises_fisher", "prior": "vamp", "network": "residual_conv"},
        {"posterior": "low_rank", "prior": "realnvp", "likelihood": "poisson", "activation": "swish"},
        {"latent_layers": (1, 2), "likelihood": "negative_binomial", "network": "gated_mlp"},
    ):
        vae = probvae.build(probvae.Architecture(latent_dim=3, **{**small, **choices}), seed=2)
        name = " ".join(map(str, choices.values()))
        yield name, [vae.get_weights(), probvae.elbo(vae, x[:5], seed=1), vae.sample(2, seed=1)]
    for classifier in (False, True):
        chosen = probvae.Architecture(context_dim=10, classifier=classifier, **small)
        vae = probvae.build(chosen, seed=2)
        if not isinstance(vae, probvae.M2VAE if classifier else probvae.ConditionalVAE):
            raise TypeError(f"build made a {type(vae).__name__} of a conditional architecture")
        labels = np.where(np.arange(60) % 3, -1, y) if classifier else y
        tf_keras.utils.set_random_seed(0)
        vae.compile(tf_keras.optimizers.Adam(2e-3), seed=4)
        vae.fit(vae.join(x, labels), epochs=1, batch_size=20, verbose=0)
        draws = [vae.sample(3, seed=1, y=3), vae.given(4).sample(2, seed=1)]
        yield type(vae).__name__, [vae.get_weights(), probvae.elbo(vae, vae.join(x, y), seed=1), *draws]
    tf_keras.utils.set_random_seed(0)
    layers, relu = tf_keras.layers, "relu"
    encoder = [layers.InputLayer((8, 8, 1)), layers.Flatten(), layers.Dense(9, relu), layers.Dense(5)]
    decoder = [layers.InputLayer((2,)), layers.Dense(9, relu), layers.Dense(64)]
    q, p = tfpl.MultivariateNormalTriL(2), tfpl.IndependentBernoulli((8, 8, 1))
    prior = tfd.MultivariateNormalDiag(np.zeros(2, np.float32), np.ones(2, np.float32))
    vae = probvae.VAE(prior, tf_keras.Sequential([*encoder, q]), tf_keras.Sequential([*decoder, p]))
    vae.compile(tf_keras.optimizers.Adam(2e-3), objective="dreg", seed=4)
    vae.fit(x, epochs=1, batch_size=20, verbose=0)
    yield "own networks", [vae.get_weights(), probvae.iwae(vae, x, num_samples=3, seed=1)]


def transformer() -> Iterator[tuple[str, Any]]:
    """Fit the scikit-learn transformer, of real numbers and of mixed columns with missing values."""
    from sklearn.datasets import load_wine

    import probvae

    x = load_wine().data[:, :6]
    mixed = np.c_[x[:, :2], x[:, 2] > 2.3, np.round(x[:, 4])]
    mixed[::7, 0] = mixed[3::9, 2] = np.nan
    kinds = ("normal", "normal", "bernoulli", "poisson")
    options: dict[str, Any] = {"units": (12,), "epochs": 3, "score_num_samples": 10, "random_state": 1}
    for name, rows, more in (
        ("wine", x, {"posterior": "tril", "validation": 0.2}),
        ("mixed", mixed, {"likelihood": "mixed", "columns": kinds, "missing": True, "prior": "realnvp"}),
    ):
        fitted = probvae.VAETransformer(latent_dim=3, **options, **more).fit(rows)
        z = fitted.transform(rows)
        yield f"{name} fit", [fitted.weights_, fitted.loc_, fitted.scale_, fitted.history_]
        yield f"{name} transform", [z, fitted.inverse_transform(z), fitted.sample(5, random_state=2)]
        yield f"{name} score", [fitted.score_samples(rows), fitted.score(rows)]


def opened(folder: str) -> Iterator[tuple[str, Any]]:
    """Open a run of images: its model, data, history and evaluation."""
    import probvae

    run = probvae.open_run(folder)
    x = run.prepared.test[:5]
    yield "opened model", [run.model.get_weights(), run.model(x).mean(), probvae.elbo(run.model, x, seed=1)]
    yield "opened data", [np.asarray(x), np.asarray(run.data.test_labels)]
    yield "opened history", {k: v for k, v in run.history.items() if k not in DROPPED}
    yield "opened evaluation", dict(run.evaluation.per_example)
    yield "opened command", run.command


def imputed(folder: str) -> Iterator[tuple[str, Any]]:
    """Impute the empty cells of the table, with their errors."""
    import probvae

    run = probvae.open_run(folder)
    yield (
        "imputed",
        list(probvae.impute(run.model, run.prepared.test, num_samples=60, num_draws=3, seed=1)[:4]),
    )


CHILDREN = {f.__name__: f for f in (fitted, architectures, transformer, opened, imputed)}


def main() -> int:
    """Read the options; print digests, write them, compare them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="a case; all of them unless given")
    parser.add_argument("--tree", type=Path, default=Path(__file__).resolve().parents[2], help="a checkout")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write the digests, as JSON")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="digests that an earlier run wrote")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and end")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    tree = chosen.tree.resolve()
    if chosen.child:
        return run_child(tree, chosen.child, chosen.names)
    if chosen.list:
        print(*CASES, sep="\n")
        return 0
    if not CASES.keys() >= set(chosen.names):
        parser.error(f"no such case among {chosen.names}: --list names them")
    cases = [case for case in CASES if case in chosen.names or not chosen.names]
    digests, failed = run_cases(tree, cases)
    for name, value in digests.items():
        print(name, value)
    if chosen.output:
        chosen.output.write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")
    differences = compare(chosen.compare, digests, cases) if chosen.compare else 0
    return 1 if failed or differences else 0


def run_child(tree: Path, child: str, arguments: list[str]) -> int:
    """Print the digests of one function as a line of JSON."""
    import probvae

    if not Path(probvae.__file__).resolve().is_relative_to(tree):
        raise RuntimeError(f"probvae comes from {probvae.__file__}, not from {tree}")
    print(json.dumps({name: digest(value) for name, value in CHILDREN[child](*arguments)}))
    return 0


def run_cases(tree: Path, cases: list[str]) -> tuple[dict[str, str], bool]:
    """Run cases, two at a time; return name -> digest, and whether one failed."""
    digests: dict[str, str] = {}
    failed = False
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        write_data(Path(folder))
        for future in [pool.submit(run_case, tree, Path(folder), case) for case in cases]:
            try:
                digests |= future.result()
            except RuntimeError as error:
                failed = True
                print(error, file=sys.stderr, flush=True)
    return dict(sorted(digests.items())), failed


def compare(path: Path, digests: dict[str, str], cases: list[str]) -> int:
    """Print the names whose digests differ from those recorded, or are in one of the two only."""
    recorded = json.loads(path.read_text("utf-8"))
    recorded = {name: value for name, value in recorded.items() if name.split("/")[0] in cases}
    names = sorted(recorded.keys() | digests.keys())
    differing = [name for name in names if recorded.get(name) != digests.get(name)]
    for name in differing:
        what = "MISSING" if name not in digests else "NEW" if name not in recorded else "DIFFERS"
        print(f"{what} {name}")
    print(f"{len(differing)} of {len(names)} digests differ")
    return len(differing)


if __name__ == "__main__":
    sys.exit(main())
