"""Sphinx extension for our docstrings: shapes such as [B, *E], fields of tuples, and short names.

A name in backticks is looked up as `Python` would say it in that module; `missing_reference` adds the names
that a reader understands as well: `objectives.elbo` for `probvae.objectives.elbo`, `probvae.VAE` for
`probvae.models.VAE`, `VAE` in any room, `tfd.Normal` for a page of TensorFlow Probability. A name by its
file, such as `probvae.models.vae.VAE`, leads to the page of its room.
"""

import inspect
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import inspect as sphinx_inspect
from sphinx.util.nodes import make_refnode

import probvae

# Code, or what reST would take for markup: | of p(x|z), * of [B, *E], _ at the end of vae_.
CODE = re.compile(r"(``.+?``|`[^`]+`|^ *(?:>>>|\.\.\.).*$)", re.DOTALL | re.MULTILINE)
# Names of other packages: how they begin, and where their pages are. No inventory is downloaded.
TFP, TF = (
    "https://www.tensorflow.org/probability/api_docs/python/tfp/",
    "https://www.tensorflow.org/api_docs/python/tf/",
)
ELSEWHERE = (
    (
        r"(?:tfd\.|tfp\.distributions\.|tensorflow_probability\..*\bdistributions\..*\.)(\w+)",
        TFP + "distributions/{0}",
    ),
    (r"(?:tfb\.|tfp\.bijectors\.|tensorflow_probability\..*\bbijectors\..*\.)(\w+)", TFP + "bijectors/{0}"),
    (r"(?:tfpl\.|tfp\.layers\.|tensorflow_probability\..*\blayers\..*\.)(\w+)", TFP + "layers/{0}"),
    (r"tensorflow\.python\..*\.(Tensor|Variable|Module)", TF + "{0}"),
    (r"tensorflow\.python\.data\..*\.DatasetV2", TF + "data/Dataset"),
    (r"tf\.((?:[a-z]\w*\.)*[A-Z]\w*)", TF + "{0}"),
    (r"(?:np|numpy)\.(ndarray)", "https://numpy.org/doc/stable/reference/generated/numpy.ndarray.html"),
    (
        r"(collections\.abc|pathlib|os|contextlib)\.(\w+)",
        "https://docs.python.org/3/library/{0}.html#{0}.{1}",
    ),
    (r"(matplotlib\.\w+\.Figure)", "https://matplotlib.org/stable/api/_as_gen/{0}.html"),
    (
        r"matplotlib\.axes\._axes\.(Axes)",
        "https://matplotlib.org/stable/api/_as_gen/matplotlib.axes.{0}.html",
    ),
)
MARKUP = re.compile(r"\||(?<=[\[ (,])\*(?=\w+'?(?:[\[\],)]|$))|(?<=\w)_(?=\W|$)")


def escape(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape these signs before napoleon processes the lines, and let a plural s follow code."""
    if isinstance(obj, dict):  # a registry, whose docstring is that of every dict: its names
        lines[:] = [", ".join(f"``{key}``" for key in obj) + "."]
        return
    parts = CODE.split("\n".join(lines))  # text, code, text, ...
    for i in range(0, len(parts), 2):
        text = MARKUP.sub(r"\\\g<0>", parts[i])
        follows_code = i > 0 and parts[i - 1].endswith("`") and re.match(r"\w", text)
        parts[i] = "\\ " + text if follows_code else text
    lines[:] = "".join(parts).split("\n")


OPTION = re.compile(r"(?<![\w`-])--[a-z][\w-]*")
LONG = re.compile(r"(tensorflow|tensorflow_probability|tf_keras|numpy|matplotlib|collections)(\.\w+)*\.(\w+)")


def describe(app: Sphinx, context: Any, lines: list[str]) -> None:
    """Show the examples in a command's help, which click keeps as lines, as code."""
    code, text = [], []
    for line in lines:
        (code if line.startswith("| ") else text).append(line)
    at = text.index("") if code else 0  # after the first paragraph
    examples = [".. code-block:: text", "", *("   " + line[2:] for line in code), ""] if code else []
    lines[:] = [*text[:at], "", *examples, *(OPTION.sub(r"``\g<0>``", line) for line in text[at:])]


def mark_options(app: Sphinx, context: Any, lines: list[str]) -> None:
    """Format the options in a help text as code."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith(".."):
            lines[i] = OPTION.sub(r"``\g<0>``", line)


def name_fields(app: Sphinx, tree: nodes.document) -> None:
    """Rename the section of attributes, and shorten types to their last name."""
    for name in tree.findall(nodes.field_name):
        if name.astext() == "Variables":
            name[:] = [nodes.Text("Attributes")]
    for text in list(tree.findall(nodes.Text)):
        if isinstance(text.parent, nodes.emphasis) and (match := LONG.fullmatch(text)):
            text.parent.replace(text, nodes.Text(match[3]))


def sign(app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str) -> Any:
    """Show the signature of a Keras model's `__init__`, which Keras's `__new__` hides."""
    if what != "class" or not str(signature).startswith("(*args"):
        return None
    own = sphinx_inspect.signature(obj.__init__, bound_method=True)
    text = sphinx_inspect.stringify_signature(own, show_return_annotation=False, unqualified_typehints=True)
    return text, returns


def skip(app: Sphinx, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Omit fields of named tuples, which their class documents, and members that TFP copies."""
    field = str(getattr(obj, "__doc__", "")).startswith("Alias for field number")
    foreign = inspect.isroutine(obj) and not str(obj.__module__).startswith("probvae")
    return True if field or foreign else None


def missing_reference(app: Sphinx, env: Any, node: nodes.Element, content: nodes.Element) -> Any:
    """Find the only object whose name ends like this, or the page of another package."""
    if node.get("refdomain") != "py":
        return None
    for pattern, address in ELSEWHERE:
        if match := re.fullmatch(pattern, node["reftarget"]):
            place = address.format(
                *(part.replace(".", "/") if address.startswith(TF) else part for part in match.groups())
            )
            return nodes.reference("", "", content, internal=False, refuri=place)
    objects = {name: o for name, o in env.domains["py"].objects.items() if not o.aliased}
    target = node["reftarget"]
    first, *rest = target.removeprefix("probvae.").split(".")
    if inspect.isclass(public := getattr(probvae, first, None)) or inspect.isroutine(public):
        target = ".".join([public.__module__, first, *rest])  # a name of the package by its file
    _, *places = target.split(".")
    in_room = [".".join(["probvae", *places[:1], *places[i:]]) for i in range(1, len(places))]
    names = [name for name in in_room if name in objects] or [n for n in objects if n.endswith("." + target)]
    if len(names) != 1:
        return None
    entry = objects[names[0]]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, names[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the functions to Sphinx."""
    app.connect("autodoc-process-docstring", escape, priority=100)
    app.connect("autodoc-process-signature", sign)
    app.connect("autodoc-skip-member", skip)
    app.connect("sphinx-click-process-description", describe)
    app.connect("sphinx-click-process-options", mark_options)
    app.connect("doctree-read", name_fields)
    app.connect("missing-reference", missing_reference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
