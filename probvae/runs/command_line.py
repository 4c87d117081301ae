"""The command lines that start and resume a run. No TensorFlow."""

import dataclasses
import shlex
from pathlib import Path

from probvae.config.architecture import DECIDED_BY_DATA, Architecture
from probvae.config.training import Training

# Options that are always given, because the command may choose another value than the default
ALWAYS = ("data", "binarize", "parts", "seed")


def resume_command(folder: Path) -> str:
    """Return the command line that resumes a run."""
    return f"probvae-train --resume {shlex.quote(str(folder))}"


def train_command(architecture: Architecture, training: Training) -> str:
    """Return a command line that trains the model of a configuration, without the output folder."""
    always = ALWAYS if len(architecture.event_shape) == 3 else (*ALWAYS, "likelihood", "network")
    words = ["probvae-train"]
    fields = {
        f.name: (config, f.default) for config in (training, architecture) for f in dataclasses.fields(config)
    }
    first = ("data", *(f.name for f in dataclasses.fields(architecture)))
    for name in dict.fromkeys((*first, *fields)):
        config, default = fields[name]
        value = getattr(config, name)
        if name in DECIDED_BY_DATA or (value == default and name not in always):
            continue
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(option)
        elif name == "column_kinds":
            words += [word for kind in value for word in (option, kind)]
        else:
            words += [option, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return " ".join(shlex.quote(word) for word in words)
