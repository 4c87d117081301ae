"""What the doors of Python say to wrong input, as the tables of docs/reliability.md.

Run it with `python tests/tools/doors.py`, which takes about a minute. It tries every entry of
tests/helpers/python_doors.py.
"""

import collections
import os
import re
import sys
import tempfile
import threading
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import numpy as np
import python_doors as doors
import tensorflow as tf

import probvae


def examples() -> None:
    """Print a row for each kind of wrong x and each sentence about it."""
    vae, x = doors.model(), doors.right()
    print("| x | what is said | by |\n|---|---|---|")
    for kind, wrong in doors.WRONG.items():
        said = collections.defaultdict(list)
        for name, door in doors.DOORS.items():
            if kind not in doors.ALLOWED.get(name, ()):
                sentence = doors.says(door, vae, wrong(x)).replace("validation_data", "x")
                said[re.sub(r" of (24|48)\b", " of N", sentence)].append(name)
        for sentence, names in sorted(said.items(), key=lambda item: -len(item[1])):
            who = f"{len(names)} functions" if len(names) > 4 else ", ".join(f"`{name}`" for name in names)
            print(f"| {kind} | {sentence} | {who} |")


def numbers() -> None:
    """Print a row for each kind of number, with the sentence about one wrong value."""
    vae, x = doors.model(), doors.right()
    print("| argument | wrong values | what is said | functions |\n|---|---|---|---|")
    for what, entries, wrong in (
        ("a count", doors.COUNTS, doors.WRONG_COUNTS),
        ("a count beyond int32", doors.COUNTS, doors.LARGE_COUNTS),
        ("a seed", doors.SEEDS, doors.WRONG_SEEDS),
        ("a weight or a rate", doors.WEIGHTS, doors.WRONG_WEIGHTS),
        ("the draws of a distribution of the library", doors.SAMPLES, doors.WRONG_SAMPLES),
        ("the name of a choice", doors.NAMES, doors.WRONG_NAMES),
        ("a flag", doors.FLAGS, doors.WRONG_FLAGS),
    ):
        for name, door in entries.items():
            bad = [value for value in wrong if doors.says(door, vae, x, value).startswith("!!")]
            assert not bad, (name, bad)
        name, door = next(iter(entries.items()))
        values = ", ".join(f"`{value!r}`" for value in wrong)
        print(f"| {what} | {values} | {doors.says(door, vae, x, wrong[0])} | {len(entries)} |")


def contexts() -> None:
    """Print a row for each kind of wrong y of a conditional model, with what each function says."""
    vae, x = doors.conditional(), doors.right()
    print("| y | what is said | by |\n|---|---|---|")
    for kind, wrong in doors.WRONG_CONTEXTS.items():
        said = collections.defaultdict(list)
        for name, door in doors.CONTEXTS.items():
            said[doors.says(door, vae, x, wrong)].append(f"`{name}`")
        for sentence, names in said.items():
            who = "all" if len(names) == len(doors.CONTEXTS) else ", ".join(names)
            print(f"| {kind} | {sentence} | {who} |")


def calls() -> None:
    """Print a row for each call with arguments of other classes."""
    print("| call | what is said |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, call in doors.wrong_calls(doors.model(), Path(folder) / "model").items():
            print(f"| `{name}` | {doors.says(call)} |")


def threads(calls: int = 200) -> None:
    """Print how many calls from eight threads gave other numbers than one thread."""
    vae = probvae.conv_vae((8, 8, 1), filters=(3, 4), posterior="tril", prior="mixture")
    rng = np.random.default_rng(0)
    x = (rng.uniform(size=[5, 8, 8, 1]) < 0.5).astype(np.float32)
    compiled = tf.function(lambda x: probvae.elbo(vae, x, seed=0), reduce_retracing=True)
    cases = {
        "`vae.posterior(x).mean()`": lambda n: vae.posterior(x[:n]).mean().numpy(),
        "`probvae.elbo(vae, x, seed=0)`": lambda n: probvae.elbo(vae, x[:n], seed=0).numpy(),
        "the same in a `tf.function`": lambda n: compiled(x[:n]).numpy(),
    }
    print("| call | calls from 8 threads, mixed shapes | errors | results that differ from one thread |")
    print("|---|---:|---:|---:|")
    for name, call in cases.items():
        results: list[tuple[int, object]] = []
        expected = {n: call(n) for n in range(1, 6)} if "tf.function" not in name else None

        def work(seed: int, call=call, results=results) -> None:
            for n in np.random.default_rng(seed).integers(1, 6, calls // 8):
                try:
                    results.append((int(n), call(int(n))))
                except Exception as error:
                    results.append((int(n), error))

        workers = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        expected = expected or {n: call(n) for n in range(1, 6)}
        errors = sum(isinstance(value, Exception) for _, value in results)
        other = sum(not np.array_equal(v, expected[n]) for n, v in results if not isinstance(v, Exception))
        print(f"| {name} | {len(results)} | {errors} | {other} |")


if __name__ == "__main__":
    examples()
    print()
    contexts()
    print()
    numbers()
    print()
    calls()
    print()
    threads()
