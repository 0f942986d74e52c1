"""Writes docs/configuration.md from the models, so that the page cannot say what the program does not do.

Run as `python -m proxy.reference`; a test holds that the page in the repository is what this writes.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from proxy.config import needs_restart
from proxy.options import Allowed
from proxy.problems import allowed, metadata
from proxy.sections import Config, Database
from proxy.units import DURATION_FORM, SIZE_FORM, format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo

_HEAD = """# Configuration

<!-- Written by `make docs` (python -m proxy.reference). Change the models in proxy/sections.py instead. -->

Values come from four places; the first that says something wins:

1. flags: `--url`, `--listen`, `--http`, `--workers`, `--pool-size`, `--pool-mode`, `--cache`, and
   `--set KEY=VALUE` for any key, such as `--set pool.idle_timeout=5m`;
2. the environment: `FOREBAY_` and the key in capitals with `__` for each dot, such as `FOREBAY_POOL__SIZE`;
   `FOREBAY_REDIS` is short for `FOREBAY_CACHE__REDIS`, and `FOREBAY_CONFIG` names the file when the command
   does not;
3. the file: TOML, named on the command line;
4. the defaults below.

An unknown key or variable, a value that is not allowed, a file that cannot be read: one line for each says
which, and the program ends with status 2. (`FOREBAY_SERVICE_HOST`, `FOREBAY_PORT` and their like are ignored:
Kubernetes sets them for a service that is called forebay.) Paths in the file are relative to the file.

Durations are numbers of seconds, or texts with a unit: `us`, `ms`, `s`, `m`, `h`, `d`. Sizes are numbers of
bytes, or texts with a unit: `KiB`, `MiB`, `GiB` (1024 each), `kB`, `MB`, `GB` (1000 each).

`SIGHUP` reads everything again. A configuration with an error changes nothing and is reported. Keys marked
*restart* wait for the next start.

A password in a url is written with `%XX` for special characters. It is never shown in errors or logs.
"""

_SMALLEST = """
## The smallest file

```toml
[databases.shop]
url = "postgresql://app:secret@127.0.0.1:5432/shop"
```

Clients connect to `127.0.0.1:6432` and database `shop` as `app` with that same password.
"""


def reference() -> str:
    """The whole page."""
    parts = [_HEAD, _SMALLEST, "\n## Top level\n\n", _table("", _own(Config.model_fields))]
    for name, field in Config.model_fields.items():
        model = field.annotation
        if name == "databases":
            parts.append(_section("[databases.NAME]", Database, "databases.NAME"))
            parts.append('\n`[databases."*"]` serves every name that has no entry of its own.\n')
        elif isinstance(model, type) and issubclass(model, BaseModel):
            parts.append(_section(f"[{name}]", model, name))
    return "".join(parts)


def _own(fields: Mapping[str, FieldInfo]) -> dict[str, FieldInfo]:
    """The top level's keys that are no sections."""
    sections = {name for name, field in fields.items() if isinstance(field.default, BaseModel)}
    return {name: field for name, field in fields.items() if name not in sections | {"databases"}}


def _section(title: str, model: type[BaseModel], prefix: str) -> str:
    return f"\n## {title}\n\n{model.__doc__}\n\n" + _table(prefix, model.model_fields)


def _table(prefix: str, fields: Mapping[str, FieldInfo]) -> str:
    return "| key | default | meaning | must be |\n|---|---|---|---|\n" + "".join(_rows(prefix, fields))


def _rows(prefix: str, fields: Mapping[str, FieldInfo]) -> Iterator[str]:
    for name, field in fields.items():
        key = f"{prefix}.{name}" if prefix else name
        restart = " *restart*" if needs_restart(key) else ""
        cells = (f"`{name}`{restart}", _default(field), field.description or "", allowed(field, short=True))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=False)
    if value is PydanticUndefined:
        return "(needed)"
    return "" if value is None else f"`{_written(value, field)}`"


def _written(value: Any, field: FieldInfo) -> str:
    forms = {item.text for item in metadata(field) if isinstance(item, Allowed)}
    if DURATION_FORM in forms:
        return f'"{format_duration(value)}"' if value else "0"
    if SIZE_FORM in forms:
        return f'"{format_size(value)}"'
    if isinstance(value, tuple):
        return '"' + ", ".join(map(str, value)) + '"'
    if isinstance(value, bool | int | float):
        return str(value).lower()
    return f'"{value}"'


if __name__ == "__main__":
    sys.stdout.write(reference())
