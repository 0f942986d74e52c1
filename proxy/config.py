"""Where the configuration comes from: flags over environment over file over defaults, merged and checked.

Every source becomes a nested dict of raw values, and every raw value remembers where it came from, so that an
error names the key, the value, what is allowed, and the source. All errors of a configuration are reported at
once. Values of keys that hold secrets are never repeated.

Words: a *key* is a dotted path such as `pool.size`; a *source* is a file's name, `FOREBAY_POOL__SIZE`, or the
command line.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from proxy.agreement import checks
from proxy.dsn import parse_dsn
from proxy.problems import ConfigError, Problem, from_validation
from proxy.sections import ANY, Config, files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Config", "ConfigError", "Problem", "diff", "load", "load_text"]

PREFIX: Final = "FOREBAY_"
CONFIG_VARIABLE: Final = "FOREBAY_CONFIG"
NEEDS_RESTART: Final = (
    "listen",
    "http",
    "workers",
    "log.format",
    "pool.mode",
    "pool.sequences",
    "pool.defer_begin",
    "databases.*.pool_mode",
    "databases.*.defer_begin",
    "stats.digests",
    "cache.*",
)
"""Keys whose new values count only after a restart; the star stands for any name."""

# Kubernetes gives every pod such variables for a service called "forebay"; they are not meant for us.
_FOREIGN: Final = re.compile(r"FOREBAY_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_[0-9]+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)")
_SHORT: Final = {"redis": "cache.redis"}
_PATHS: Final = ("auth.users_file", "auth.hba_file", "auth.ident_file", "tls.cert", "tls.key", "tls.client_ca")


@dataclass(slots=True)
class _Layers:
    """The raw values so far, nested; and for each dotted key the source that said it last."""

    values: dict[str, Any]
    sources: dict[str, str]
    problems: list[Problem]

    def put(self, key: Sequence[str], value: object, source: str) -> None:
        where = self.values
        for part in key[:-1]:
            inner = where.setdefault(part, {})
            if not isinstance(inner, dict):
                self.problems.append(Problem(".".join(key), "is inside of something that is no section", source))
                return
            where = inner
        where[key[-1]] = value
        self.sources[".".join(key)] = source


def load(path: Path | None, env: Mapping[str, str], flags: Mapping[str, object]) -> Config:
    """Read and check the whole configuration; ConfigError lists everything that is wrong with it.

    `flags` maps dotted keys to values; None means not given. `path` None means FOREBAY_CONFIG, if set.
    """
    layers = _Layers({}, {}, [])
    if path is None and env.get(CONFIG_VARIABLE):
        path = Path(env[CONFIG_VARIABLE])
    if path is not None:
        for key, value in _file_values(path):
            layers.put(key, value, path.name)
    for name, value in sorted(env.items()):
        _put_variable(layers, name, value)
    for dotted, given in flags.items():
        if given is not None:
            layers.put(tuple(_SHORT.get(dotted, dotted).split(".")), given, "the command line")
    _spread_url(layers)
    return _checked(layers)


def load_text(text: str, path: Path) -> Config:
    """Check what would stand in the file ``path``, and nothing else; ConfigError as from `load`."""
    layers = _Layers({}, {}, [])
    for key, value in _text_values(text, path):
        layers.put(key, value, path.name)
    _spread_url(layers)
    return _checked(layers)


def diff(old: Config, new: Config) -> tuple[list[str], list[str]]:
    """The dotted keys that differ: those that apply at a reload, and those that wait for a restart."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    restart = [key for key in changed if needs_restart(key)]
    return [key for key in changed if key not in restart and key != "url"], restart


def needs_restart(key: str) -> bool:
    """Whether a new value of this key counts only after a restart."""
    return any(fnmatchcase(key, pattern) for pattern in NEEDS_RESTART)


def _leaves(config: Config) -> Iterator[tuple[str, object]]:
    for name, value in config:
        if name == "databases":
            for database, entry in config.databases.items():
                yield from ((f"databases.{database}.{key}", inner) for key, inner in entry)
        elif isinstance(value, tuple | str | int) or value is None or not hasattr(value, "model_fields_set"):
            yield name, value
        else:
            yield from ((f"{name}.{key}", inner) for key, inner in value)


def _file_values(path: Path) -> Iterator[tuple[tuple[str, ...], object]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(str(path), "is not UTF-8 text")]) from None
    return _text_values(text, path)


def _text_values(text: str, path: Path) -> Iterator[tuple[tuple[str, ...], object]]:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(str(path), f"is not TOML: {error}")]) from None
    for key, value in _flat((), data):
        if ".".join(key) in _PATHS and isinstance(value, str) and value:
            yield key, str(path.parent / value)
        else:
            yield key, value


def _flat(prefix: tuple[str, ...], data: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], object]]:
    for name, value in data.items():
        if isinstance(value, dict) and value:
            yield from _flat((*prefix, name), value)
        else:
            yield (*prefix, name), value


def _put_variable(layers: _Layers, name: str, value: str) -> None:
    if not name.startswith(PREFIX) or name == CONFIG_VARIABLE or _FOREIGN.fullmatch(name):
        return
    dotted = name.removeprefix(PREFIX).lower().replace("__", ".")
    layers.put(tuple(_SHORT.get(dotted, dotted).split(".")), value, name)


def _spread_url(layers: _Layers) -> None:
    """Turn `url` into the entry of [databases] that it is short for."""
    url = layers.values.get("url")
    if not isinstance(url, str):
        return
    try:
        name = parse_dsn(url).database or ANY
    except ValueError:
        return  # the key `url` itself is checked with all the others
    layers.put(("databases", name, "url"), url, layers.sources["url"])


def _checked(layers: _Layers) -> Config:
    problems = layers.problems
    try:
        config = Config.model_validate(layers.values)
    except ValidationError as error:
        raise ConfigError([*problems, *from_validation(error, layers.sources)]) from None
    problems += [Problem(key, text, layers.sources.get(key)) for key, text in checks(config)]
    for key, path in files(config).items():
        reason = _unreadable(path)
        if reason:
            problems.append(Problem(key, f'the file "{path}" cannot be read: {reason}', layers.sources.get(key)))
    if problems:
        raise ConfigError(problems)
    return config


def _unreadable(path: Path) -> str | None:
    try:
        with path.open("rb"):
            return None
    except OSError as error:
        return error.strerror or "unknown reason"
