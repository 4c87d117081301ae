"""The documentation site holds every public name, every command and every page; its links lead somewhere."""

import configparser
import importlib
import inspect
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from marked_cases import cases
from PIL import Image

import probvae

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = "\n".join(path.read_text() for path in sorted((DOCS / "api").glob("*.rst")))
MODULES = re.findall(r"^\.\. automodule:: (\S+)", REFERENCE, re.MULTILINE)

# The rooms of which no page of the reference tells: used by the others, and free to change.
INTERNAL = {"arguments", "cli", "display", "environment", "files"}


def own_names(room):
    """The public names of a room: those of its face, or the functions and classes of its one file."""
    if room == "probvae.sklearn":
        return ["probvae.sklearn.VAETransformer"]
    here = importlib.import_module(room)
    names = getattr(here, "__all__", None) or [
        name
        for name, value in vars(here).items()
        if (inspect.isclass(value) or inspect.isroutine(value)) and value.__module__ == room
    ]
    return [f"{room}.{name}" for name in names if not name.startswith("_")]


def public(name):
    """The object of a full name."""
    room, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(room), attribute)


def test_every_room_has_a_page_or_is_internal():
    rooms = {path.stem for path in (ROOT / "probvae").iterdir() if path.suffix == ".py" or path.is_dir()}
    rooms -= {"__init__", "__pycache__"}
    pages = {path.stem for path in (DOCS / "api").glob("*.rst")} - {"index"}
    assert pages == rooms - INTERNAL and INTERNAL <= rooms
    assert sorted(MODULES) == sorted(f"probvae.{page}" for page in pages)
    assert {name for name in probvae.__all__ if inspect.ismodule(getattr(probvae, name))} <= pages


def test_the_summary_lists_the_names_of_the_package():
    summary = REFERENCE[REFERENCE.index("autosummary") : REFERENCE.index("toctree")]
    names = {name for name in probvae.__all__ if not inspect.ismodule(getattr(probvae, name))}
    assert set(re.findall(r"^   (\w+)$", summary, re.MULTILINE)) == names


@pytest.mark.parametrize("module", MODULES)
def test_what_the_reference_shows_has_a_docstring(module):
    """Sphinx leaves out what has none, and shows a registry or a constant only where a page names it."""
    documented = {name for name in own_names(module) if callable(public(name))}
    assert [name for name in documented if not inspect.getdoc(public(name))] == []
    others = set(re.findall(rf"^\.\. autodata:: ({re.escape(module)}\.\w+)$", REFERENCE, re.MULTILINE))
    assert set(own_names(module)) - documented <= others
    assert all(public(name) is not None for name in others)


def test_every_command_and_every_page_is_on_the_site():
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    scripts = dict(
        line.split(" = ") for line in config["options.entry_points"]["console_scripts"].split("\n") if line
    )
    pages = {path.stem: path.read_text() for path in (DOCS / "commands").glob("*.rst")}
    for script, target in scripts.items():
        page = pages.pop(script.removeprefix("probvae-"))
        assert f".. click:: {target}\n" in page and f":prog: {script}\n" in page
    assert pages == {}
    listed = re.findall(r"^(\w[\w/]*)$", (DOCS / "index.md").read_text(), re.MULTILINE)
    assert set(listed) >= {path.stem for path in DOCS.glob("*.md")} - {"index"}


class Page(HTMLParser):
    """The places of a page, and where its links and pictures lead."""

    def __init__(self, text):
        super().__init__()
        self.places, self.links = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.places |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        if attrs.get("href" if tag == "a" else "src"):
            self.links.append(attrs["href" if tag == "a" else "src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("sphinx", reason="Sphinx is absent: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(DOCS), str(folder)]
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
def test_the_site_builds_and_holds_every_public_name(site):
    from sphinx.util.inventory import InventoryFile

    with open(site / "objects.inv", "rb") as file:
        inventory = InventoryFile.load(file, "", "/".join)
    names = {name for kind, found in inventory.items() if kind.startswith("py:") for name in found}
    wanted = {name for module in MODULES for name in own_names(module)}
    wanted |= {f"probvae.{name}" for name in ("posteriors.POSTERIORS", "priors.PRIORS")}
    assert len(wanted) > 180
    assert wanted - names == set()
    assert "probvae.seeds.as_seed" in names and "probvae.inference.blocks.in_blocks" not in names


@pytest.mark.slow
def test_every_command_s_page_has_all_its_options(site):
    for path in (DOCS / "commands").glob("*.rst"):
        main = importlib.import_module(f"probvae.cli.{path.stem}").main
        text = (site / "commands" / f"{path.stem}.html").read_text()
        options = [option for parameter in main.params for option in parameter.opts if option[0] == "-"]
        assert options
        assert [option for option in options if option not in text] == []


@pytest.mark.slow
def test_links_within_the_site_lead_somewhere(site):
    pages = {path: Page(path.read_text()) for path in site.rglob("*.html") if "_modules" not in path.parts}
    broken, count = [], 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or not (parts.path or parts.fragment):
                continue
            count += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            if not target.is_file() or (place and target in pages and place not in pages[target].places):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert count > 1000
    assert broken == []


PICTURES = {
    "certificate.py": ([], ("certificate_coverage.png", "certificate_ranks_after.png")),
    "concepts.py": ([], ("concepts_gaps.png", "concepts_estimators.png")),
    "gradient_noise.py": ([], ("gradient_noise.png",)),
    "scaling.py": (["digits"], ("scaling.png",)),
}


LONG = dict.fromkeys(
    ("certificate.py", "concepts.py", "scaling.py"), "test_pictures_can_be_drawn_anew[gradient_noise.py]"
)


@pytest.mark.slow
@pytest.mark.parametrize("script", cases(PICTURES, long=LONG))
def test_pictures_can_be_drawn_anew(tmp_path, script):
    arguments, names = PICTURES[script]
    command = [sys.executable, str(DOCS / "images" / script), *arguments, "--quick", str(tmp_path)]
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in names:
        with Image.open(tmp_path / name) as drawn, Image.open(DOCS / "images" / name) as kept:
            assert drawn.size == kept.size
