"""The layout of a checkout of probvae in numbers, for the table of docs/design.md.

    python tests/tools/house.py [CHECKOUT]

A room is a file or a folder at the root of the package. An arrow is an import of one room by another, within
functions and for typing too. The floors are the rooms of the longest chain of imports at the head of files.
tests/test_design.py uses the same functions.
"""

import ast
import functools
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

Trees = dict[str, ast.Module]  # module: its syntax tree


def read(package: Path) -> Trees:
    """Return the modules of a package; what the stub of a face imports belongs to the face."""
    trees: Trees = {}
    for path in sorted(package.rglob("*.py*")):
        if path.suffix in (".py", ".pyi"):
            name = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
            trees.setdefault(name, ast.Module([], [])).body += ast.parse(path.read_text()).body
    return trees


def room_of(module: str) -> str:
    """Return the room of a module, or an empty name for the package itself."""
    return [*module.split("."), ""][1]


def imports(module: str, modules: Trees, *, head: bool = False) -> set[str]:
    """Return the modules of the package that a module imports: anywhere, or at its head alone."""
    names: set[str] = set()
    is_package = any(other.startswith(f"{module}.") for other in modules)
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in modules[module].body if head else ast.walk(modules[module]):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            inner = {f"{source}.{alias.name}" for alias in node.names}
            names |= inner & set(modules) or {source}
    return {name for name in names if name.partition(".")[0] == "probvae"}


def arrows(modules: Trees, *, head: bool = False) -> dict[tuple[str, str], list[str]]:
    """Return the modules behind each pair of rooms of which the first imports the second."""
    pairs: dict[tuple[str, str], list[str]] = {}
    for module in modules:
        for other in imports(module, modules, head=head):
            if room_of(module) and room_of(module) != room_of(other):
                pairs.setdefault((room_of(module), room_of(other)), []).append(module)
    return pairs


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return nodes that lead to each other in a ring, or an empty list."""
    state: dict[str, str] = {}
    stack: list[str] = []

    def visit(node: str) -> list[str]:
        state[node] = "open"
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if state.get(other) == "open":
                return [*stack[stack.index(other) :], other]
            if other not in state and (ring := visit(other)):
                return ring
        state[node] = "done"
        stack.pop()
        return []

    return next((ring for node in sorted(graph) if node not in state and (ring := visit(node))), [])


def floors(pairs: Iterable[tuple[str, str]]) -> int:
    """Return the number of rooms in the longest chain of arrows."""
    below: dict[str, set[str]] = {}
    for here, there in pairs:
        below.setdefault(here, set()).add(there)

    @functools.cache
    def height(room: str) -> int:
        return 1 + max((height(other) for other in below.get(room, ())), default=0)

    return max(height(room) for room in below)


def in_circles(pairs: Iterable[tuple[str, str]]) -> set[str]:
    """Return the rooms from which arrows lead back to them."""
    reach = set(pairs)
    while more := {(a, d) for a, b in reach for c, d in reach if b == c} - reach:
        reach |= more
    return {here for here, there in reach if here == there}


def code_lines(function: ast.FunctionDef, lines: list[str]) -> int:
    """Return the number of a function's lines without docstring, blank lines and comments."""
    first = function.body[0]
    is_doc = ast.get_docstring(function) is not None
    doc = range(first.lineno, (first.end_lineno or 0) + 1) if is_doc else range(0)
    own = range(function.lineno, (function.end_lineno or 0) + 1)
    return sum(n not in doc and lines[n - 1].strip()[:1] not in ("", "#") for n in own)


def functions(path: Path) -> list[tuple[str, int]]:
    """Return the name of each function of a file, with its lines of code."""
    text = path.read_text()
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    return [(node.name, code_lines(node, text.splitlines())) for node in nodes]


def main() -> None:
    """Print the numbers of a checkout as rows of a table."""
    package = Path(sys.argv[1] if sys.argv[1:] else Path(__file__).parents[2]) / "probvae"
    modules, paths = read(package), sorted(package.rglob("*.py"))
    lengths = [len(path.read_text().splitlines()) for path in paths]
    pairs = arrows(modules)
    for name, value in {
        "names at the root": len({room_of(module) for module in modules} - {""}),
        "floors": floors(arrows(modules, head=True)),
        "arrows between rooms": len(pairs),
        "rooms in circles": len(in_circles(pairs)),
        "files of Python": len(paths),
        "lines of Python": f"{sum(lengths):,}",
        "lines of stubs": sum(len(path.read_text().splitlines()) for path in package.rglob("*.pyi")),
        "lines of a file, median and most": f"{statistics.median(lengths):.0f}, {max(lengths)}",
        "lines of code of the longest function": max(size for path in paths for _, size in functions(path)),
    }.items():
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
