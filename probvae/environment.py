"""The environment of this process: its processor cores and the versions of its packages."""

import os

__version__ = "0.1.0"


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
