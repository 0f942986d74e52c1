"""What is wrong with a configuration, one line for each problem: key, source, value, and what is allowed."""

from __future__ import annotations

import difflib
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from proxy import units
from proxy.logs import escape
from proxy.options import Allowed
from proxy.sections import Config, Database

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `key` is a dotted path or the name of a file."""

    key: str
    message: str
    source: str | None = None

    def __str__(self) -> str:
        origin = f" (from {self.source})" if self.source else ""
        return escape(f"{self.key}{origin}: {self.message}")


class ConfigError(Exception):
    """A configuration that cannot be used; its text has one line for each problem."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)

    @property
    def key(self) -> str:
        """The key of the first problem."""
        return self.problems[0].key

    @property
    def message(self) -> str:
        """The text of the first problem, without its key."""
        return self.problems[0].message


def from_validation(error: ValidationError, sources: Mapping[str, str]) -> list[Problem]:
    """The problems in a validation error of `Config`, in our words."""
    return [_problem(dict(details), sources) for details in error.errors(include_url=False)]


def allowed(field: FieldInfo, *, short: bool = False) -> str:
    """What a key takes, as the end of a sentence that starts "must be"."""
    kind, choices, (low, high) = _describe(field)
    if choices:
        return ("one of " if len(choices) > 1 else "") + ", ".join(str(choice) for choice in choices)
    words = (short and kind.short) or kind.text
    if low is not None and high is not None:
        is_size = kind.text == units.SIZE_FORM
        least, most = (units.format_size(int(bound)) if is_size else bound for bound in (low, high))
        return f"{words} from {least} to {most}" if short or not is_size else f"{words}, from {least} to {most}"
    return f"{words}, at least {low}" if low is not None else words


def is_secret(field: FieldInfo) -> bool:
    """Whether the key's value must not be repeated anywhere."""
    return any(isinstance(item, Allowed) and item.secret for item in metadata(field))


def fields_at(path: Sequence[str]) -> tuple[FieldInfo | None, Mapping[str, FieldInfo]]:
    """The field at a dotted path, if there is one; and its siblings by name."""
    siblings: Mapping[str, FieldInfo] = Config.model_fields
    if path[0] == "databases":
        if len(path) < 3:
            return siblings["databases"], siblings
        return Database.model_fields.get(path[2]), Database.model_fields
    for part in path[:-1]:
        inner = siblings[part].annotation if part in siblings else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return None, siblings
        siblings = inner.model_fields
    return siblings.get(path[-1]), siblings


def _problem(details: Mapping[str, Any], sources: Mapping[str, str]) -> Problem:
    path = [str(part) for part in details["loc"]]
    key = ".".join(path)
    field, siblings = fields_at(path)
    kind = details["type"]
    if kind == "extra_forbidden":
        return Problem(key, _unknown(path[-1], siblings), _source(key, sources))
    if kind == "missing":
        return Problem(key, "is missing")
    if kind == "absent":
        text = str(details["msg"])
    elif kind == "value_error":
        text = str(details["ctx"]["error"])
        if field is not None and text == f"must be {_describe(field)[0].text}":
            text = f"must be {allowed(field)}"  # the same words, and the bounds
    elif kind in {"model_type", "model_attributes_type", "dict_type"}:
        return Problem(key, f"is a section, written [{key}] with keys inside", _source(key, sources))
    else:
        text = f"must be {allowed(field)}" if field is not None else str(details["msg"])
    if field is not None and not is_secret(field):
        text = f"{_shown(details['input'])}: {text}"
    return Problem(key, text, _source(key, sources))


def _unknown(name: str, siblings: Iterable[str]) -> str:
    known = list(siblings)
    near = difflib.get_close_matches(name, known, 1, 0.6)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return f"there is no such key; {hint}"


def _source(key: str, sources: Mapping[str, str]) -> str | None:
    """Where a key was said; a section counts as said where its first key was."""
    found = sources.get(key)
    return found or next((source for other, source in sources.items() if other.startswith(key + ".")), None)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a section"
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def metadata(field: FieldInfo) -> list[Any]:
    """The annotations of a field, also those inside of `X | None`."""
    found = list(field.metadata)
    for inner in _options(field.annotation):
        found += [item for item in get_args(inner)[1:] if hasattr(inner, "__metadata__")]
    return found


def _options(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in {types.UnionType, Union} else (annotation,)


def _describe(field: FieldInfo) -> tuple[Allowed, tuple[Any, ...], tuple[Any, Any]]:
    kind, low, high = Allowed("a text"), None, None
    for item in _flattened(metadata(field)):
        if isinstance(item, Allowed):
            kind = item
        elif isinstance(item, annotated_types.Ge):
            low = item.ge
        elif isinstance(item, annotated_types.Le):
            high = item.le
    choices: tuple[Any, ...] = ()
    for inner in _options(field.annotation):
        if get_origin(inner) is Literal:
            choices = get_args(inner)
    return kind, choices, (low, high)


def _flattened(items: Iterable[Any]) -> Iterator[Any]:
    """Annotations with those of nested `Field(...)` calls in place of the call."""
    for item in items:
        if isinstance(item, FieldInfo):
            yield from item.metadata
        else:
            yield item
