"""The command: `python tests/benchmark --help`, in this checkout, installed or not."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(TESTS), str(TESTS.parent)]  # in place of this folder

from benchmark.command import NAME, main  # noqa: E402

main(prog_name=NAME)
