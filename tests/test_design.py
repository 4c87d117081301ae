"""The shape of the code, as docs/design.md promises it."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import house
import pytest

import probvae

ROOT = Path(probvae.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
DESIGN = (ROOT.parent / "docs" / "design.md").read_text()
ORDER = re.search(r"^    (errors .*)$", DESIGN, re.MULTILINE)[1].replace("|", "").split()


MODULES = house.read(ROOT)


def against(order, modules):
    """Pairs of rooms whose first imports the second and stands before it in the order, with the modules."""
    places = {room: place for place, room in enumerate(order)}
    pairs = house.arrows(modules)
    return {pair: pairs[pair] for pair in pairs if places[pair[0]] < places.get(pair[1], len(order))}


def test_the_rooms_are_those_of_the_design():
    rooms = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__"} == set(ORDER) and len(ORDER) == len(set(ORDER)) <= 24
    table = DESIGN[DESIGN.index("## Map") : DESIGN.index("## Decisions")]
    rows = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", table, re.MULTILINE)
    assert rows == ORDER
    for folder in ROOT.rglob("*"):
        if folder.is_dir() and any(folder.glob("*.py")):
            assert (folder / "__init__.py").exists(), folder


def test_imports_point_one_way():
    assert against(ORDER, MODULES) == {}
    assert {("models", "objectives"), ("cli", "runs")} <= set(house.arrows(MODULES))


@pytest.mark.parametrize(
    "code",
    [
        "from probvae.runs.run import Run",
        "from probvae.runs import Run",
        "import probvae.runs.run",
        "from probvae import runs",
        "from ..runs import run",
        "if TYPE_CHECKING:\n    from probvae.runs.run import Run",
        "def late():\n    from probvae.runs.run import Run",
        "import probvae",
    ],
)
def test_a_wrong_arrow_is_caught(code):
    wrong = {"probvae.objectives.bound": ast.parse(code)}
    assert list(against(ORDER, MODULES | wrong).values()) == [["probvae.objectives.bound"]]


def test_the_stub_of_a_face_counts_as_an_import():
    assert "probvae.objectives.bound" in house.imports("probvae.objectives", MODULES)
    assert "probvae.runs.reports.page" in house.imports("probvae.runs", MODULES)
    wrong = {"probvae.objectives": ast.parse("from ..runs.run import Run as Run")}
    assert list(against(ORDER, MODULES | wrong).values()) == [["probvae.objectives"]]


def test_imports_have_no_circle():
    faces = {module for module in MODULES if (ROOT.parent / module.replace(".", "/")).is_dir()}
    files = {module: MODULES[module] for module in MODULES if module not in faces}  # faces load on first use
    graph = {module: house.imports(module, MODULES) - {module} for module in files}
    assert "probvae.models.vae" in graph["probvae.models.conditional"]
    assert house.circle(graph) == []
    assert house.circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]


def test_importing_starts_no_device():
    """Threads and devices are configured before the first operation, which no import may run."""
    code = (
        "import importlib, sys\n"
        "from tensorflow.python.eager import context\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert not context.context()._initialized, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *MODULES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]


# ---- faces ---------------------------------------------------------------------------------------


def is_face(module):
    path = ROOT.parent / module.replace(".", "/") / "__init__.py"
    return path.is_file() and "lazy_loader.attach_stub" in path.read_text()


FACES = list(filter(is_face, MODULES))


def stub(module):
    """The names of a face's stub as (name, module that defines it)."""
    nodes = ast.parse((ROOT.parent / module.replace(".", "/") / "__init__.pyi").read_text()).body
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    assert all(alias.asname == alias.name for node in imports for alias in node.names)
    places = {node: ".".join(filter(None, [module, node.module])) for node in imports}
    return {(alias.name, places[node]) for node in imports for alias in node.names}


@pytest.mark.parametrize("module", FACES)
def test_a_face_lists_names_that_load(module):
    face = importlib.import_module(module)
    names = stub(module)
    assert set(face.__all__) == {name for name, _ in names} <= set(dir(face))
    for name, place in names:
        assert getattr(face, name) is getattr(importlib.import_module(place), name), name
        assert f"{place}.{name}" in MODULES or place in MODULES.keys() - {module}, name
    with pytest.raises(AttributeError, match="nothing"):
        _ = face.nothing


def test_public_rooms_have_a_face():
    folders = {f"probvae.{name}" for name in ORDER if (ROOT / name).is_dir()} - {"probvae.cli"}
    assert {"probvae", *folders} <= set(FACES)


def test_no_function_has_the_name_of_a_file_of_its_room():
    for room in ORDER:
        paths = [
            path for path in (ROOT / room).rglob("*") if path.suffix in ("", ".py") and path.name[0] != "_"
        ]
        names = {path.stem for path in paths}
        for module in filter(lambda module: house.room_of(module) == room, MODULES):
            functions = {node.name for node in MODULES[module].body if isinstance(node, ast.FunctionDef)}
            assert functions & names == set(), module


# ---- models --------------------------------------------------------------------------------------


def questions(tree):
    """Expressions that ask for the type of a model, which answers for itself."""
    for node in ast.walk(tree):
        text = ast.unparse(node) if isinstance(node, ast.expr) else ""
        asks_for_type = isinstance(node, ast.Call) and re.match(r"isinstance\(.*(Conditional|M2)VAE", text)
        asks_for_labels = isinstance(node, ast.Compare) and re.match(r"(\w+\.)*training\.labels ", text)
        if (
            asks_for_type
            or asks_for_labels
            or (isinstance(node, ast.Attribute) and node.attr == "context_dim")
        ):
            yield text


def test_a_model_answers_for_itself():
    own = {module for module in MODULES if house.room_of(module) in ("models", "config")}
    for module in MODULES.keys() - own - {"probvae.data.from_config"}:
        assert list(questions(MODULES[module])) == [], module
    asked = "isinstance(vae, VAE | M2VAE) and vae.context_dim and training.labels == 'semi' and e.labels == 0"
    assert len(list(questions(ast.parse(asked)))) == 3


# ---- size and words ------------------------------------------------------------------------------


def test_files_and_functions_are_short(tmp_path):
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 400, path
        assert [name for name, size in house.functions(path) if size > 60] == [], path
    (tmp_path / "a.py").write_text('def f():\n    """Doc."""\n\n    # why\n    return 1  # one\n')
    assert house.functions(tmp_path / "a.py") == [("f", 2)]


def test_vocabulary():
    for path in FILES:
        text = path.read_text()
        words = set(re.findall(r"\w+", text))
        assert not words & {"recon_loss", "kld", "reg_loss", "log_var", "model_config", "mu", "embedding"}, (
            path
        )
        assert "utils" not in path.parts
        assert "tf.keras" not in text, path  # tf_keras is Keras 2, which TFP's layers need
        assert "set_seed" not in text and "np.random.seed" not in text, path  # randomness is passed in
