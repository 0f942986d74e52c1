"""`forebay import-pgbouncer`: reads an ini, writes a configuration, says what is not in it.

The result is loaded before the command ends, with the files that it names, so what our own rules say against it is told
now. It may hold passwords: a file is made readable by its owner only. An existing one is not overwritten.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.access import UNUSABLE, Access
from proxy.config import load_text
from proxy.pgbouncer.parse import read_ini
from proxy.pgbouncer.render import render
from proxy.pgbouncer.translate import translate
from proxy.problems import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

OK, FAILED = 0, 1


def run(source: Path, output: Path | None, say: Callable[[str], None], warn: Callable[[str], None]) -> int:
    """Translate; the text goes to ``output`` or, without one, to ``say``. Remarks go to ``warn``, one a line.

    1 when the new configuration cannot be used as it is. ConfigError when the old one cannot be read, or the new file
    cannot be written.
    """
    base = output.absolute().parent if output is not None else Path.cwd()
    translation = translate(read_ini(source), source, base)
    text = render(translation, source.name)
    if output is None:
        say(text.rstrip())
    else:
        _write(output, text)
    for remark in translation.remarks:
        warn(str(remark))
    problems = _problems(text, base / "forebay.toml")
    for problem in problems:
        warn(f"the new configuration cannot be used yet: {problem}")
    return FAILED if problems else OK


def _problems(text: str, path: Path) -> list[str]:
    try:
        Access(load_text(text, path))
    except ConfigError as error:
        return [f"{problem.key}: {problem.message}" for problem in error.problems]
    except UNUSABLE as error:
        return [str(error)]
    return []


def _write(path: Path, text: str) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError([Problem(str(path), "exists already; remove it or choose another name")]) from None
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be written: {error.strerror}")]) from None
