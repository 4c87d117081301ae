"""Print the lowest version of every dependency as constraints for pip; see CONTRIBUTING.md.

python tests/tools/lowest.py > lowest.txt && pip install --editable '.[test]' --constraint lowest.txt
"""

import configparser
import re
from pathlib import Path

THEIRS = ("pyparsing<3.3",)  # of packages that these versions stand on: newer ones warn of old matplotlib
SETUP = Path(__file__).parents[2] / "setup.cfg"


def lowest(setup: Path = SETUP) -> list[str]:
    """Return `name==version` for each lower bound in setup.cfg, sorted."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(setup)
    extras = config["options.extras_require"]
    lines = "\n".join([config["options"]["install_requires"], *extras.values()]).splitlines()
    bounds = [re.match(r"([\w-]+)(?:>=|==)([\d.]+)", line.strip()) for line in lines]
    return sorted({f"{found[1]}=={found[2]}" for found in bounds if found} | set(THEIRS))


if __name__ == "__main__":
    print("\n".join(lowest()))
