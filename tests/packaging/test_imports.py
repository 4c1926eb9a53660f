"""Ingress, router and workers import `shared` and never each other; `shared` imports none of them.

So each can be run, and reasoned about, without the others. The command line loads them by name.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.process import ROOT

PARTS = {
    "ingress": {"ingress", "shared"},
    "router": {"router", "shared"},
    "workers": {"workers", "shared"},
    "shared": {"shared"},
}


def imported(path: Path) -> Iterator[str]:
    """Yield the dotted names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(), path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_only_what_it_may(part: str) -> None:
    modules = list((ROOT / part / "turnout").rglob("*.py"))
    assert modules
    for path in modules:
        for name in imported(path):
            root, _, rest = name.partition(".")
            if root == "turnout":
                assert rest.partition(".")[0] in PARTS[part], f"{path} imports {name}"


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_one_portion_of_a_namespace(part: str) -> None:
    """With an __init__.py in `turnout`, only one of the four would be found."""
    inside = [path.name for path in (ROOT / part).iterdir() if path.name != "__pycache__"]
    assert inside == ["turnout"]
    portion = [path.name for path in (ROOT / part / "turnout").iterdir()]
    assert [name for name in portion if name != "__pycache__"] == [part]
    assert (ROOT / part / "turnout" / part / "__init__.py").exists()
    assert (ROOT / part / "turnout" / part / "py.typed").exists()
