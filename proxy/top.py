"""`forebay top`: the state of a running Forebay in the terminal, as `/api/status` tells it."""

from __future__ import annotations

import http.client
import json
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from proxy.logs import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

_TIMEOUT: Final = 5.0
_ROWS: Final = 20  # of one table; a terminal shows no more of them anyway


class NoAnswerError(Exception):
    """The address did not tell a state; the text says why."""


def run(url: str, interval: float, once: bool) -> int:
    """Show the state until interrupted, or once; 1 when the first answer fails, later failures are shown."""
    address = url.rstrip("/") if "://" in url else f"http://{url}".rstrip("/")
    try:
        picture = draw(ask(address))
    except NoAnswerError as error:
        raise click.ClickException(f"{address}: {error}") from error
    console = Console()
    if once:
        console.print(picture)
        return 0
    with Live(picture, console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            time.sleep(interval)
            try:
                picture = draw(ask(address))
            except NoAnswerError as error:
                picture = Group(Text(f"no answer: {error}", style="red"), picture)
            live.update(picture, refresh=True)


def ask(address: str) -> Mapping[str, Any]:
    """The state as told now; NoAnswerError when there is none."""
    opener = build_opener(ProxyHandler({}))  # an HTTP proxy of the environment has no business in between
    try:
        with opener.open(f"{address}/api/status", timeout=_TIMEOUT) as answer:
            state = json.load(answer)
    except HTTPError as error:
        raise NoAnswerError(f"HTTP {error.code}") from error
    except URLError as error:
        raise NoAnswerError(str(error.reason)) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NoAnswerError(str(error) or type(error).__name__) from error
    if not isinstance(state, dict):
        raise NoAnswerError("not the state of a Forebay")
    return state


def draw(state: Mapping[str, Any]) -> Group:
    """The state as tables: plain values first, then one table for each part."""
    plain = {name: value for name, value in state.items() if not isinstance(value, dict | list)}
    parts: list[RenderableType] = _pairs("forebay", plain) if plain else []
    for name, value in state.items():
        if name not in plain:
            parts += _part(name, value)
    return Group(*parts)


def _part(name: str, value: Any) -> list[RenderableType]:
    if isinstance(value, list):
        records = [item if isinstance(item, dict) else {"": item} for item in value]
        return _records(name, records)
    if value and all(isinstance(item, dict) for item in value.values()):
        return _records(name, [{"": key, **item} for key, item in value.items()])
    return _pairs(name, value)


def _pairs(title: str, values: Mapping[str, Any]) -> list[RenderableType]:
    table = Table(show_header=False, box=None)
    for name, value in values.items():
        table.add_row(Text(escape(name)), Text(_said(value)))
    return [_title(title), table]


def _records(title: str, records: list[dict[str, Any]]) -> list[RenderableType]:
    names = list(dict.fromkeys(name for record in records for name in record))
    more = f" (first {_ROWS} of {len(records)})" if len(records) > _ROWS else ""
    table = Table(box=None)
    for name in names:
        table.add_column(Text(escape(name)))
    for record in records[:_ROWS]:
        table.add_row(*(Text(_said(record[name]) if name in record else "") for name in names))
    return [_title(title + more), table]


def _title(text: str) -> Text:
    return Text(f"\n{escape(text)}", style="bold")


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return escape(value if isinstance(value, str) else json.dumps(value, default=str))
