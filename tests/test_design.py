"""What docs/design.md promises of the code's shape."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import probvae

ROOT = Path(probvae.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py"))


def imports(path):
    """Names of probvae's own modules that a file imports when it runs (not for types alone)."""
    tree = ast.parse(path.read_text())
    typing_only = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node in typing_only:
            continue
        if (node.module or "").startswith("probvae"):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {node.module} | {name for name in names if module_path(name).exists()}
    return found - {"probvae"}


def module_path(name):
    return ROOT.parent / (name.replace(".", "/") + ".py")


def module_name(path):
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def find_cycle(graph):
    """A list of modules that import each other in a ring, or an empty list."""
    state, stack = {}, []

    def visit(module):
        state[module] = "open"
        stack.append(module)
        for other in sorted(graph.get(module, ())):
            if state.get(other) == "open":
                return [*stack[stack.index(other) :], other]
            if other not in state and (cycle := visit(other)):
                return cycle
        state[module] = "done"
        stack.pop()
        return []

    return next((cycle for module in sorted(graph) if module not in state and (cycle := visit(module))), [])


def test_imports_have_no_cycle():
    graph = {module_name(path): imports(path) for path in MODULES}
    assert "probvae.objectives.bound" in graph["probvae.models.vae"]
    assert find_cycle(graph) == []
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]


def test_importing_starts_no_device():
    """Threads and devices are configured before the first operation, which no import may run."""
    code = (
        "import importlib, sys\n"
        "from tensorflow.python.eager import context\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert not context.context()._initialized, name\n"
    )
    contestants = "benchmark.contestants"  # some are of packages that are not installed
    names = [
        n for n in map(module_name, MODULES) if n.partition(contestants)[1] == "" or n.endswith(".probvae")
    ]
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]


def test_every_public_name_is_there():
    for name in probvae.__all__:
        assert getattr(probvae, name) is not None
    assert set(probvae._PUBLIC) == set(probvae.__all__) <= set(dir(probvae))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = probvae.nothing


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_vocabulary(path):
    words = set(re.findall(r"\w+", path.read_text()))
    assert not words & {"recon_loss", "kld", "reg_loss", "log_var", "model_config", "mu", "embedding"}
    assert "utils" not in path.parts
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_keras_is_tf_keras_and_randomness_is_passed_in(path):
    text = path.read_text()
    assert "tf.keras" not in text and "set_seed" not in text and "np.random.seed" not in text
