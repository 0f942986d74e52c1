"""Our configuration file from what was translated: TOML with the old name behind each line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.pgbouncer.values import Said, Translation, Value

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_ORDER: Final = ("databases", "pool", "timeouts", "limits", "auth", "tls", "cache", "log")


def render(translation: Translation, source: str) -> str:
    """The whole file; ``source`` is the name of what it was made from."""
    parts = [f"# Made from {_comment(source)} by `forebay import-pgbouncer`. Try it with `forebay check`.\n"]
    tables: dict[tuple[str, ...], list[Said]] = {}
    for said in translation.said.values():
        tables.setdefault(said.key[:-1], []).append(said)
    for table in sorted(tables, key=lambda key: _ORDER.index(key[0]) if key else -1):
        lines = [f"[{'.'.join(map(_key, table))}]"] if table else []
        lines += [f"{_key(said.key[-1])} = {_value(said.value)}{_behind(said)}" for said in tables[table]]
        parts.append("\n".join(lines) + "\n")
    if translation.remarks:
        told = [f"#   {_comment(str(remark))}" for remark in translation.remarks]
        parts.append("\n".join(["# Not carried over as it was:", *told]) + "\n")
    return "\n".join(parts)


def _behind(said: Said) -> str:
    return f"  # {_comment(said.source)}" if said.source not in ("", said.key[-1]) else ""


def _comment(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return _text(value)
        case list():
            return "[" + ", ".join(map(_text, value)) + "]"


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() or char == " " else _escape(char) for char in escaped) + '"'


def _escape(char: str) -> str:
    return f"\\U{ord(char):08X}"
