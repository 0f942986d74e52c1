"""Log lines: one a record, text or JSON, UTC, to standard error; never in the way of the work.

Whatever a client can put into a record (a user name, a statement) may hold line ends and escape sequences:
every control character is written as \\xNN, so a record is one line and a terminal shows what was said. A
standard error that is closed or full must neither end nor stop the proxy: such a record is lost and counted.
Secrets are not filtered here: they are never handed in.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from contextlib import suppress
from datetime import UTC, datetime
from queue import Full, Queue
from threading import Thread
from typing import TYPE_CHECKING, Final, Literal, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = "forebay"
_LONGEST: Final = 8192  # a field longer than this is cut; a megabyte of SQL is no log line
_PATIENCE: Final = 2.0  # seconds, at the end of the process
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/@%+*\-]+")


def escape(text: str) -> str:
    """The text with every control character (also those that turn the direction of writing) made visible."""
    return _CONTROL.sub(_visible, text)


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def logger(name: str = "") -> logging.Logger:
    """The logger of a part, such as "pool"; all are below `forebay`."""
    return logging.getLogger(f"{ROOT}.{name}" if name else ROOT)


def event(target: logging.Logger, level: int, message: str, /, **fields: object) -> None:
    """Log a message with fields: `message key=value` in text, keys of the object in JSON."""
    if target.isEnabledFor(level):
        target.log(level, "%s", message, extra={"fields": fields})


class Lines(logging.Formatter):
    """Formats records as text lines or as JSON lines."""

    def __init__(self, form: Literal["text", "json"]) -> None:
        super().__init__()
        self._json = form == "json"

    def format(self, record: logging.LogRecord) -> str:
        """One line without its end; every control character escaped."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        part = record.name.removeprefix(f"{ROOT}.")
        message = _cut(record.getMessage())
        fields: Mapping[str, object] = getattr(record, "fields", {})
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self._json:
            head = {"time": time, "level": record.levelname.lower(), "logger": part, "message": message}
            more = {name: _value(value) for name, value in fields.items() if name not in head}
            return _as_json(head | more | ({"exception": trace} if trace else {}))
        said = [f"{time} {record.levelname.lower():<7} {part}: {escape(message)}"]
        said += [f"{escape(name)}={_quoted(value)}" for name, value in fields.items()]
        if trace:
            said.append(f"exception={_quoted(trace)}")
        return " ".join(said)


class SafeHandler(logging.Handler):
    """Hands lines to a thread that writes them; what cannot be written or kept is counted in `lost`.

    The caller never waits for the stream: a pipe that nobody reads fills up, and then the queue, and no more.
    """

    def __init__(self, stream: TextIO | None, room: int = 10_000) -> None:
        super().__init__()
        self._stream = stream
        self._queue: Queue[str | None] = Queue(room)
        self._writer = Thread(target=self._write, name="forebay-log", daemon=True)
        self._writer.start()
        self.lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record; neither raises nor waits."""
        try:
            self._queue.put_nowait(self.format(record) + "\n")
        except (Full, ValueError, TypeError, KeyError):
            self.lost += 1  # no room, or a message that does not fit its arguments

    def flush(self) -> None:
        """Wait until what was taken is written, for a moment at most."""
        done = self._queue.all_tasks_done
        with done:
            done.wait_for(lambda: self._queue.unfinished_tasks == 0, _PATIENCE)

    def close(self) -> None:
        """Write what is left, for a moment at most, and end the thread."""
        with suppress(Full):
            self._queue.put(None, timeout=_PATIENCE)
        self._writer.join(_PATIENCE)
        super().close()

    def _write(self) -> None:
        for line in iter(self._queue.get, None):
            try:
                if self._stream is not None:
                    self._stream.write(line)
                    self._stream.flush()
                else:
                    self.lost += 1
            except (OSError, ValueError):
                self.lost += 1
            self._queue.task_done()
        self._queue.task_done()


def setup(level: str, form: Literal["text", "json"], stream: TextIO | None = None) -> SafeHandler:
    """Send everything below `forebay` to `stream` (standard error); may be called again, at a reload."""
    handler = SafeHandler(stream or sys.stderr)
    handler.setFormatter(Lines(form))
    root = logger()
    for former in root.handlers:
        former.close()
    root.handlers[:] = [handler]
    set_level(level)
    root.propagate = False
    for name in ("asyncio", "aiohttp"):
        other = logging.getLogger(name)
        other.handlers[:] = [handler]
        other.setLevel(logging.WARNING)
        other.propagate = False
    return handler


def set_level(level: str) -> None:
    """The least that is written, from now on."""
    logger().setLevel(_LEVELS[level])


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"


def _value(value: object) -> object:
    return value if isinstance(value, bool | int | float) or value is None else _cut(str(value))


def _quoted(value: object) -> str:
    text = _cut(str(value))
    if _PLAIN.fullmatch(text):
        return text
    return '"' + escape(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _as_json(fields: Mapping[str, object]) -> str:
    # ASCII only: control characters of any kind become \uNNNN by themselves.
    return json.dumps(fields, ensure_ascii=True, default=str)
