"""SCRAM keys of logins to servers: deriving them takes milliseconds, and their salts hardly ever change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from protocol import scram

if TYPE_CHECKING:
    from protocol.login import Derivation
    from protocol.scram import Keys

_DERIVED_AT_ONCE: Final = 16_384  # iterations: about 6 ms; more are done in a thread
_KEPT_KEYS: Final = 16


class Keychain:
    """SCRAM keys that were derived already: a server's salt for a user is always the same."""

    def __init__(self) -> None:
        self._keys: dict[Derivation, Keys] = {}

    async def keys(self, wanted: Derivation) -> Keys:
        """Derive them, or know them already."""
        keys = self._keys.get(wanted)
        if keys is None:
            parts = (wanted.password, wanted.salt, wanted.iterations)
            if wanted.iterations <= _DERIVED_AT_ONCE:
                keys = scram.derive(*parts)
            else:
                keys = await asyncio.to_thread(scram.derive, *parts)
            if len(self._keys) >= _KEPT_KEYS:
                self._keys.clear()
            self._keys[wanted] = keys
        return keys
