"""docs/architecture.md names every module, each under its own package."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
ROOMS: Final = ("protocol", "sql", "stats", "cache", "pool", "proxy")
_TREE: Final = re.compile(r"^```\n([\w/]+)/\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def packages() -> list[str]:
    found = (file.parent for room in ROOMS for file in (ROOT / room).rglob("__init__.py"))
    return sorted(folder.relative_to(ROOT).as_posix() for folder in found)


def trees() -> dict[str, list[str]]:
    """The modules that the page names, by package. Each line has them first, before two blanks and the words."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    return {name: re.findall(r"\w+\.py\b", body) for name, body in _TREE.findall(page)}


def test_the_page_has_a_tree_for_every_package() -> None:
    assert sorted(trees()) == packages()


@pytest.mark.parametrize("package", packages())
def test_a_tree_names_the_modules_that_are_there(package: str) -> None:
    named = trees().get(package, [])
    on_disk = sorted(file.name for file in (ROOT / package).glob("*.py") if file.name != "__init__.py")
    assert sorted(named) == on_disk


def test_other_files_that_the_page_mentions_are_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    for path in re.findall(rf"`((?:{'|'.join(ROOMS)})/[\w/]+\.py)`", page):
        assert (ROOT / path).is_file(), path


def test_what_is_compiled_is_there() -> None:
    tree = ast.parse((ROOT / "setup.py").read_text("utf-8"))
    assigned = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    assert len(assigned) == 1
    names: list[str] = list(ast.literal_eval(assigned[0]))
    assert names == sorted(set(names))
    assert [name for name in names if not (ROOT / name).is_file()] == []
