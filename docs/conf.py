"""Configuration of the documentation site: `sphinx-build -W docs build/site`. See also `docstrings.py`."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

import probvae

sys.path.insert(0, str(Path(__file__).parent))

project, author, version = "probvae", "the probvae authors", probvae.__version__
project_copyright = author
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_parser",
    "sphinx_click",
    "sphinx_copybutton",
    "docstrings",
]
exclude_patterns = ["images/**", "examples/*.png"]

# Markdown: the same files are read on a code host, so that links are plain and headings are anchors.
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

# Docstrings: Google's style. A name in single backticks is a link if its target exists.
default_role = "py:obj"
add_module_names = False
autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autosummary_generate = False
maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "probvae"
html_copy_source = False
html_show_sphinx = False
html_css_files = ["site.css"]
html_static_path = ["site"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#2a6f97", "color-brand-content": "#2a6f97"},
    "dark_css_variables": {"color-brand-primary": "#7fb8d8", "color-brand-content": "#7fb8d8"},
}
copybutton_exclude = ".linenos, .gp, .go"

OUTSIDE = {"README": "index", "CONTRIBUTING": "contributing", "CHANGELOG": "changelog"}


def stay_inside(app: Sphinx, name: str, text: list[str]) -> None:
    """Let links to the files beside docs/ lead to the pages that stand for them."""
    up = "../" * name.count("/")
    for file, page in OUTSIDE.items():
        text[0] = re.sub(rf"\]\({re.escape(up)}\.\./{file}\.md", f"]({up}{page}.md", text[0])
    text[0] = text[0].replace(f"]({up}../LICENSE)", "](https://spdx.org/licenses/MIT.html)")


def setup(app: Sphinx) -> None:
    """Connect the function to Sphinx."""
    app.connect("source-read", stay_inside)
