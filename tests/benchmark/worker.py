"""A contestant in a process of its own: JSON lines in, JSON lines out.

`python -m benchmark.worker NAME IMAGES.npy CASE` prepares, answers `{"ready": true}` (or `{"absent":
why}`), and then takes numbers of examples and answers with seconds.
"""

import importlib
import json
import os
import sys
import time

import numpy as np

from benchmark.cases import NOT_COMPARED, Case


def main() -> None:
    """Serve until the input ends."""
    name, images, case = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what frameworks print is no answer

    def answer(**fields: object) -> None:
        print(json.dumps(fields), file=answers, flush=True)

    try:
        contestant = importlib.import_module(f"benchmark.contestants.{name}")
        fields = json.loads(case)
        work = contestant.prepare(Case(**{**fields, "filters": tuple(fields["filters"])}), np.load(images))
    except ImportError as error:
        answer(absent=str(error))
        return
    if work is None:
        answer(absent=NOT_COMPARED)
        return
    answer(ready=True)
    for line in sys.stdin:
        start = time.perf_counter()
        own = work(int(line))
        answer(seconds=time.perf_counter() - start if own is None else own)


if __name__ == "__main__":
    main()
