"""The environment of this process: its processor cores, its free memory and the versions of its packages."""

import contextlib
import os
from pathlib import Path

__version__ = "0.1.0"
PACKAGES = ("tensorflow", "tensorflow-probability", "tf-keras", "numpy")


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int | None:
    """Return the bytes of memory that this process may still take; None where the system does not say.

    This is what the kernel calls available, without swap, or what a control group (a container) leaves.
    """
    free = [value for value in (_of_system(), _of_groups()) if value is not None]
    return min(free) if free else None


def _of_system() -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


# Of each version of control groups: its folder, and its files of the limit, of the use, and of its parts.
GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def _of_groups() -> int | None:
    """Return what the control groups of this process, and those around them, leave."""
    free = []
    for root, limit, use, cache in GROUPS:
        for folder in _group_folders(Path(root)):
            with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
                left = int((folder / limit).read_text()) - int((folder / use).read_text())
                parts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                free.append(max(0, left + int(parts.get(cache, 0))))
    return min(free) if free else None


def _group_folders(root: Path) -> list[Path]:
    """Return the folder of the control group of this process and the folders around it, up to `root`."""
    folders = [root]
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                folder = root / path.strip("/")
                folders += [folder, *folder.parents]
    return [folder for folder in dict.fromkeys(folders) if folder.is_relative_to(root)]


def versions() -> dict[str, str]:
    """Return the versions of Python, of probvae and of the installed packages that its numbers depend on."""
    import platform
    from importlib import metadata

    installed = {"python": platform.python_version(), "probvae": __version__}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed
