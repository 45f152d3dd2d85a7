"""The wire is pure, and msgpack and cryptography stay in their one place each."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import gossip.wire

FILES = sorted(Path(gossip.wire.__file__).parent.glob("*.py"))
FORBIDDEN = {"asyncio", "socket", "threading", "time", "os", "random", "secrets", "logging"}


def imports(path: Path) -> list[tuple[str, bool]]:
    """Modules that a file imports, and whether it does so when it is itself imported."""
    tree = ast.parse(path.read_text())
    top = set(map(id, tree.body))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", id(node) in top))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_module_imports_neither_clock_nor_network_nor_chance(path: Path) -> None:
    roots = {module.partition(".")[0] for module, _ in imports(path)}
    assert not roots & FORBIDDEN


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_module_imports_only_its_own_floor(path: Path) -> None:
    own = [module for module, _ in imports(path) if module.startswith(("gossip", "agent"))]
    assert all(module.startswith("gossip.wire") or module == "gossip.errors" for module in own)


def test_msgpack_is_imported_in_one_file() -> None:
    users = [path.name for path in FILES if "msgpack" in {m for m, _ in imports(path)}]
    assert users == ["codec.py"]


def test_cryptography_is_never_imported_at_module_level() -> None:
    found = [
        (path.name, at_top)
        for path in FILES
        for module, at_top in imports(path)
        if module.startswith("cryptography")
    ]
    assert {name for name, _ in found} == {"keyring.py"}
    assert not any(at_top for _, at_top in found)
