"""Holds files and functions short: a file fits a reader's head, a function fits a screen."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_LINES: Final = 400
FUNCTION_LINES: Final = 80
ROOTS: Final = ("protocol", "sql", "stats", "cache", "pool", "proxy", "tests", "benchmarks", ".ci")


def too_long(path: Path) -> Iterator[str]:
    """One line for each thing in the file that is too long."""
    text = path.read_text("utf-8")
    lines = text.count("\n")
    if lines > FILE_LINES:
        yield f"{path}: {lines} lines, at most {FILE_LINES}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines, at most {FUNCTION_LINES}"


def main() -> int:
    """Check every Python file of the project; 1 when something is too long."""
    paths = sorted(path for root in ROOTS for path in Path(root).rglob("*.py"))
    found = [line for path in paths for line in too_long(path)]
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
