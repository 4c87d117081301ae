"""The environment of this process: its processor cores and the versions of its packages."""

import contextlib
import os

__version__ = "0.1.0"
PACKAGES = ("tensorflow", "tensorflow-probability", "tf-keras", "numpy")


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Return the versions of Python, of probvae and of the installed packages that its numbers depend on."""
    import platform
    from importlib import metadata

    installed = {"python": platform.python_version(), "probvae": __version__}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed
