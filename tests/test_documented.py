"""The pages say what the code has: reasons, pins, metrics, commands, keys. Neither less nor more."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, Final, get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from proxy.config import NEEDS_RESTART
from proxy.console.shows import HELP
from proxy.knowledge import PINS
from proxy.sections import Config, Database
from sql.facts import Bypass, Pin
from stats.export import Exporter
from stats.gauges import Gauges
from stats.records import Outcome
from stats.stats import Stats

ROOT: Final = Path(__file__).resolve().parents[1]
DOCS: Final = ROOT / "docs"
PAGES: Final = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
_NAMED: Final = re.compile(r"`([^`]+)`")


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def section(name: str, title: str) -> str:
    return page(name).split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_column(text: str) -> set[str]:
    """What is in back quotes in the first column of the tables."""
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in _NAMED.findall(row.split(" | ")[0])}


# -- reasons of the cache ---------------------------------------------------------------------------------------------


class Reasons(ast.NodeVisitor):
    """Texts that the proxy gives as reason: `reason = ...`, `x.reason = ...`, `bypass=...`, and some functions."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_Assign(self, node: ast.Assign) -> None:
        names = [getattr(target, "id", None) or getattr(target, "attr", "") for target in node.targets]
        if not {"reason", "bypass", "blocked"}.isdisjoint(names):
            self.found |= leaves(node.value)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        for keyword in node.keywords:
            if keyword.arg == "bypass":
                self.found |= leaves(keyword.value)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name in ("_blocked", "_not_to_keep"):
            for part in ast.walk(node):
                if isinstance(part, ast.Return) and part.value is not None:
                    self.found |= leaves(part.value)
        self.generic_visit(node)


def leaves(node: ast.expr) -> set[str]:
    """The texts that an expression may have as its value."""
    match node:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.IfExp(body=body, orelse=orelse):
            return leaves(body) | leaves(orelse)
        case ast.BoolOp(values=values):
            return set().union(*map(leaves, values))
        case _:
            return set()


def reasons_of_the_session() -> set[str]:
    visitor = Reasons()
    for name in ("knowledge", "reading", "session"):
        visitor.visit(ast.parse((ROOT / "proxy" / f"{name}.py").read_text("utf-8")))
    return visitor.found


def test_the_search_for_reasons_finds_those_of_every_kind() -> None:
    assert {
        "catalog",
        "off",
        "transaction",
        "in_doubt",
        "not_hinted",
        "isolation",
        "date_word",
    } <= reasons_of_the_session()


def test_every_reason_of_a_bypass_is_documented_and_no_other() -> None:
    known = {bypass.value for bypass in Bypass} | reasons_of_the_session()
    assert first_column(section("caching.md", "Reasons")) == known


# -- pins -------------------------------------------------------------------------------------------------------------


def test_every_pin_is_documented_and_no_other() -> None:
    sometimes = {Pin.LISTEN, Pin.SEQUENCE, Pin.SETTING_IN_TRANSACTION}
    pinning = {pin.value for pin in PINS | sometimes}
    assert first_column(section("compatibility.md", "What pins")) == pinning


# -- metrics ----------------------------------------------------------------------------------------------------------


def samples_without_suffix() -> set[str]:
    stats = Stats(0.1)
    stats.finish(stats.database("d"), stats.digest("1", "select"), "u", "a", 0.0, 0.1, 0.2, Outcome.MISS)
    gauges = Gauges(
        cache_bytes=1, cache_limit_bytes=1, cache_entries=1, cache_fills=1, build={"version": "1"}, started=1.0
    )
    families = text_string_to_metric_families(Exporter(stats, lambda: gauges).render().decode())
    return {
        family.name + ("_total" if family.type == "counter" else "")
        for family in families
        if family.name.startswith("forebay_")
    }


def test_every_metric_is_documented_and_no_other() -> None:
    assert first_column(section("operations.md", "Metrics")) == samples_without_suffix()


# -- the console ------------------------------------------------------------------------------------------------------


def test_every_command_of_the_console_is_documented_and_no_other() -> None:
    words = set(re.findall(r"[A-Z][A-Z_]+", HELP))
    named = {
        word
        for text in first_column(section("operations.md", "Admin console"))
        for word in re.findall(r"[A-Z_]+", text)
    }
    assert named == words


# -- configuration ----------------------------------------------------------------------------------------------------


def keys(model: type[BaseModel], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        inner: Any = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= keys(inner, f"{prefix}{name}.")
        elif Database in get_args(inner):
            found |= keys(Database, f"{prefix}{name}.NAME.")
        else:
            found.add(prefix + name)
    return found


def test_keys_that_wait_for_a_restart_are_documented() -> None:
    rows = [line for line in section("operations.md", "Reload").splitlines() if "`needs_restart`" in line]
    assert [first_column(row) for row in rows] == [set(NEEDS_RESTART)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_keys_that_a_page_names_are_there(path: Path) -> None:
    known = keys(Config)
    sections = sorted({key.split(".")[0] for key in known if "." in key} - {"databases"})
    pattern = re.compile(rf"(?:{'|'.join(sections)})\.[a-z_]+|databases\.NAME\.[a-z_]+")
    named = [name for name in _NAMED.findall(path.read_text("utf-8")) if pattern.fullmatch(name)]
    assert [name for name in named if name not in known and not (ROOT / name.replace(".", "/", 1)).exists()] == []


def test_keys_of_the_table_for_pgbouncer_are_there() -> None:
    rows = [line.split(" | ") for line in section("migration.md", "Keys").splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    named = {name for row in rows for name in _NAMED.findall(row[1])}
    assert {name for name in named if name != 'databases."*"'} <= keys(Config)
    assert all("`" in row[1] or row[1] == "no equivalent" for row in rows)


# -- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text("utf-8")):
        assert (path.parent / target).exists(), target
