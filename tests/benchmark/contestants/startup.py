"""New Python processes: how long imports take, and from there to the end of the first training step."""

import dataclasses
import json
import os
import subprocess
import sys

from benchmark.cases import Case, Work
from benchmark.compare import ENVIRONMENT

CODE = """
import json, sys, time
start = time.perf_counter()
{imports}
imported = time.perf_counter()
if {steps}:
    import numpy as np
    from benchmark.cases import Case
    from benchmark.contestants import {name}
    case = Case(**json.loads(sys.argv[1]))
    {name}.prepare(case, np.zeros([60_000, 28, 28, 1], np.uint8))(case.batch)
print(imported - start, time.perf_counter() - imported)
"""


def prepare(case: Case, name: str, imports: str) -> Work:
    """Return what starts a number of processes and returns their seconds in all.

    Args:
      case: its task is "import", which ends with the imports, or "first step", which begins after them.
      name: the contestant whose training makes the first step.
      imports: lines of Python.
    """
    first = case.task == "first step"
    code = CODE.format(imports=imports, steps=first, name=name)
    training = dataclasses.asdict(dataclasses.replace(case, task="train"))

    def start(number: int) -> float:
        seconds = 0.0
        for _ in range(number):
            command = [sys.executable, "-c", code, json.dumps(training)]
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | ENVIRONMENT,
                check=True,
            )
            seconds += float(done.stdout.split()[first])
        return seconds

    return start
