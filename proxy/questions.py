"""What the edge asks when a user is not known here, under the configuration of the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.auth_query import AuthQuery

if TYPE_CHECKING:
    from collections.abc import Callable

    from pool.tasks import Tasks
    from protocol.accept import ClientLogin
    from protocol.secrets import Secret
    from proxy.access import Access


class Questions:
    """The edge's Asker."""

    def __init__(self, tasks: Tasks, clock: Callable[[], float], access: Access) -> None:
        self._access = access
        self._auth_query = AuthQuery(tasks, clock, access.config.auth.query_keep)

    def reconfigure(self, access: Access) -> None:
        """Ask under another configuration from now on."""
        self._access = access
        self._auth_query.keep = access.config.auth.query_keep
        self._auth_query.forget_all()

    async def ask(self, login: ClientLogin) -> Secret | None:
        """The secret, None for an unknown user. Raises ProtocolError when that cannot be found out."""
        question = self._access.question(login.database)
        return await self._auth_query.ask(question, login.user) if question is not None else None

    def forget(self, login: ClientLogin) -> None:
        """The secret did not fit what the client has shown."""
        question = self._access.question(login.database)
        if question is not None:
            self._auth_query.forget(question, login.user)
