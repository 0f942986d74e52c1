"""What clients have shown of themselves, kept so that pools can log in to servers as them.

A users_file often holds SCRAM verifiers only, and auth_query gives what PostgreSQL keeps, which is the same. A verifier
logs in nowhere. But a client that logs in with SCRAM reveals the key to whoever checks its proof (protocol/secrets.py,
``Keyed``); one that sends its password in clear text reveals that. The last of each pool is kept, in memory only.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from protocol.secrets import Keyed, Md5, Plain, Secret

_KEPT: Final = 10_000


class Keyring:
    """One for the process: it outlives a reload."""

    def __init__(self) -> None:
        self._shown: OrderedDict[tuple[str, str], Secret] = OrderedDict()

    def keep(self, database: str, user: str, shown: Secret | None) -> None:
        """A client has logged in with this."""
        if not isinstance(shown, Keyed | Md5 | Plain) or shown == Plain(""):
            return
        self._shown[database, user] = shown
        self._shown.move_to_end((database, user))
        if len(self._shown) > _KEPT:
            self._shown.popitem(last=False)

    def best(self, database: str, user: str, listed: Secret | None) -> Secret | None:
        """What logs in to a server: a password that is configured, else what was shown, else what is configured."""
        if isinstance(listed, Plain):
            return listed
        return self._shown.get((database, user), listed)
