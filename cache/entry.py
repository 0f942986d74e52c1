"""One remembered answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cache.coherence import Stamp


@dataclass(frozen=True, slots=True)
class Entry:
    """The messages of an answer, framed as the server sent them, and how long they may be given again.

    `description` is the RowDescription, None when the request that filled the entry did not see one (a client
    that asks for it cannot be served from the entry). `body` is the rest up to CommandComplete. `expires` is
    a time of the monotonic clock, and `cost` are the seconds that the server took: what a hit saves. `note` is
    whatever the one who filled it wants to find with it.
    """

    description: bytes | None
    body: bytes
    stamp: Stamp
    expires: float
    cost: float
    note: object = None

    def __len__(self) -> int:
        """The bytes of the answer as the client receives them."""
        return len(self.body) + (0 if self.description is None else len(self.description))
