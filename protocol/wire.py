"""The building blocks of the declarations: strings, values, lists and framing, each declared once.

Text stays bytes when parsed: the encoding is the session's business, and most text is only forwarded. When
building, `str` is encoded as UTF-8 and bytes are taken as they are; a NUL inside either would end the field
early and let the rest be read as other fields, so it is refused.

Counts of 16 bits are unsigned, as PostgreSQL reads them: a Bind may carry 65,535 parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import construct as c

from protocol.errors import LocalProtocolError, RemoteProtocolError


def _as_bytes(value: str | bytes) -> bytes:
    # b"".join, since bytes(value) would take a stray number for a count of NULs.
    return value.encode() if isinstance(value, str) else b"".join((value,))


def _without_nul(value: str | bytes, _context: Any) -> bytes:
    data = _as_bytes(value)
    if 0 in data:
        raise c.ValidationError("a string may not contain NUL")
    return data


def _keep(value: Any, _context: Any) -> Any:
    return value


# A string and its closing NUL.
TEXT: Final = c.ExprAdapter(c.NullTerminated(c.GreedyBytes), _keep, _without_nul)

# A string that may not be empty, because an empty one ends the list that it stands in.
NONEMPTY: Final = c.ExprValidator(TEXT, lambda value, _: len(value) > 0)

# What is left of the body.
REST: Final = c.ExprAdapter(c.GreedyBytes, _keep, lambda value, _: _as_bytes(value))

# A parameter or column: a length and as many bytes; the length -1 stands for NULL (None).
VALUE: Final = c.ExprAdapter(
    c.FocusedSeq(
        "data",
        "length" / c.Rebuild(c.Int32sb, lambda this: -1 if this.data is None else len(this.data)),
        "data" / c.IfThenElse(lambda this: this.length == -1, c.Computed(None), c.Bytes(c.this.length)),
    ),
    _keep,
    lambda value, _: None if value is None else _as_bytes(value),
)

VALUES: Final = c.PrefixedArray(c.Int16ub, VALUE)
FORMATS: Final = c.PrefixedArray(c.Int16ub, c.Int16sb)
OIDS: Final = c.PrefixedArray(c.Int16ub, c.Int32ub)

# Variable since protocol 3.2; before it was always four bytes.
CANCEL_KEY: Final = c.ExprValidator(REST, lambda key, _: 4 <= len(key) <= 256)

_UNTAGGED: Final = c.Prefixed(c.Int32ub, c.GreedyBytes, includelength=True)
_TAGGED: Final = c.Struct("tag" / c.Byte, "body" / _UNTAGGED)


def closed_by_nul(item: Any) -> Any:
    """Declare a list of `item` that a NUL ends; an item must not parse when it begins with that NUL."""
    return c.FocusedSeq("items", "items" / c.GreedyRange(item), c.Const(b"\0"))


def one_of(letters: bytes) -> Any:
    """Declare one byte that must be among `letters`."""
    return c.OneOf(c.Byte, frozenset(letters))


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its name in the manual, its opening byte (None before login), its body's declaration."""

    name: str
    tag: int | None
    body: Any

    def parse(self, body: bytes) -> Any:
        """Read the fields of a whole body; RemoteProtocolError when they are not exactly all of it."""
        try:
            return self.body.parse(body)
        except c.ConstructError as error:
            raise RemoteProtocolError(f"invalid {self.name} message") from error

    def build(self, **fields: Any) -> bytes:
        """Make the whole framed message; LocalProtocolError when the fields do not fit the declaration."""
        try:
            body = self.body.build(fields)
            if self.tag is None:
                return bytes(_UNTAGGED.build(body))
            return bytes(_TAGGED.build({"tag": self.tag, "body": body}))
        except (c.ConstructError, UnicodeEncodeError, KeyError, TypeError) as error:
            # The cause may quote a password or a key; the message, which is logged, must not.
            raise LocalProtocolError(f"the fields do not fit {self.name}") from error


def declare(name: str, tag: int | None, *fields: Any) -> Message:
    """Declare a message by its fields; nothing may follow them."""
    return Message(name, tag, c.Struct(*fields, c.Terminated))


def by_name(*messages: Message) -> dict[str, Message]:
    """Arrange declarations under the manual's names."""
    return {message.name: message for message in messages}
