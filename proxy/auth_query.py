"""Secrets of users whom we do not know: asked of the server, by a query of the operator's.

A question is asked on a connection of its own, logged in as ``query_user``, with nothing on it that comes from a
client but the name as a parameter: search_path is pg_catalog, whatever the role or the database says, so a query names
the schema of its functions. The answer is one row of name and secret; no row or no name: nobody; no secret: somebody
without a password, whom no password fits (which is how the usual query reports one that has expired).

    edge --ask--> kept answer, if it is young
                  a question on its way for the same user: its answer
                  else a task: lock the connection, open it if need be, ask; once more, on a new one, if that failed

So one login waits, and the event loop does not; a client that leaves takes no question of others with it. What fails is
not kept, is logged with its reason, and the client is told that it failed and no more: nothing that differs between
users. A database that the server does not have is nobody's. After a wrong password the kept answer is dropped,
as the password may be new.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from protocol.errors import ProtocolError
from protocol.secrets import Plain, Secret, parse_secret
from proxy.catalogs import connect_own

if TYPE_CHECKING:
    from collections.abc import Callable

    from pool.tasks import Tasks
    from proxy.dsn import ServerUrl

logger = logging.getLogger("forebay.auth_query")

APPLICATION: Final = "forebay auth_query"
UNAVAILABLE: Final = "57P03"

_LONGEST_NAME: Final = 63  # bytes; no role of PostgreSQL has a longer one
_KEPT: Final = 10_000
_CONNECTIONS: Final = 32
_IDLE: Final = 60.0  # seconds until a connection that nobody needed is closed
_SETTINGS: Final = {"search_path": "pg_catalog", "row_security": "on"}
_FORM: Final = "the query must give at most one row, of a name and a secret"
_FAILURES: Final = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresError, ValueError)


@dataclass(frozen=True, slots=True)
class Question:
    """Where to ask, and what. ``timeout`` in seconds, for all of it."""

    url: ServerUrl
    user: str
    database: str
    query: str
    password: str | None = field(repr=False)
    timeout: float


class _Failed(Exception):
    """The answer is not one; the text says why, for the log."""


class AuthQuery:
    """Synchronous but for ``ask``. ``keep``: seconds for which an answer counts, 0 = none."""

    def __init__(self, tasks: Tasks, clock: Callable[[], float], keep: float) -> None:
        self.keep = keep
        self._tasks = tasks
        self._clock = clock
        self._kept: OrderedDict[tuple[Question, str], tuple[float, Secret | None]] = OrderedDict()
        self._asking: dict[tuple[Question, str], asyncio.Future[Secret | ProtocolError | None]] = {}
        self._desks: OrderedDict[Question, _Desk] = OrderedDict()

    async def ask(self, question: Question, user: str) -> Secret | None:
        """The secret, None for nobody. Raises ProtocolError when it cannot be found out."""
        if len(user.encode()) > _LONGEST_NAME:
            return None
        key = (question, user)
        kept = self._kept.get(key)
        if kept is not None and self._clock() < kept[0]:
            return kept[1]
        answer = self._asking.get(key)
        if answer is None:
            answer = self._asking[key] = asyncio.get_running_loop().create_future()
            self._tasks.spawn(self._answer(question, user, answer), "auth_query")
        found = await asyncio.shield(answer)
        if isinstance(found, ProtocolError):
            raise ProtocolError(found.message, found.sqlstate)
        return found

    def forget(self, question: Question, user: str) -> None:
        """The kept answer did not fit: the next login asks again."""
        self._kept.pop((question, user), None)

    def forget_all(self) -> None:
        """The configuration is another one: nothing is kept, and unused connections close."""
        self._kept.clear()
        for desk in self._desks.values():
            desk.close()
        self._desks.clear()

    async def _answer(
        self, question: Question, user: str, answer: asyncio.Future[Secret | ProtocolError | None]
    ) -> None:
        found: Secret | ProtocolError | None = ProtocolError("the login was given up", UNAVAILABLE)
        try:
            found = await self._find(question, user)
        finally:
            del self._asking[question, user]
            answer.set_result(found)

    async def _find(self, question: Question, user: str) -> Secret | ProtocolError | None:
        try:
            async with asyncio.timeout(question.timeout):
                found = await self._desk(question).ask(user)
        except asyncpg.InvalidCatalogNameError:
            logger.info('auth_query: there is no database "%s"', question.database)
            found = None
        except (*_FAILURES, _Failed) as error:
            reason = str(error) or type(error).__name__
            where = f"{question.url.host}:{question.url.port}/{question.database}"
            logger.error('auth_query as "%s" at %s failed, a client is refused: %s', question.user, where, reason)
            return ProtocolError("passwords cannot be looked up at the moment", UNAVAILABLE)
        if self.keep:
            self._kept[question, user] = (self._clock() + self.keep, found)
            self._kept.move_to_end((question, user))
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found

    def _desk(self, question: Question) -> _Desk:
        desk = self._desks.get(question)
        if desk is None:
            desk = self._desks[question] = _Desk(question)
            if len(self._desks) > _CONNECTIONS:
                self._desks.popitem(last=False)[1].close()
        self._desks.move_to_end(question)
        return desk


class _Desk:
    """One connection, and those who wait for it."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._lock = asyncio.Lock()
        self._connection: Any = None
        self._statement: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    def close(self) -> None:
        """Now, or when the questions that wait have been asked."""
        self._closing = True
        if not self._lock.locked():
            self._hang_up()

    async def ask(self, user: str) -> Secret | None:
        async with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            done = False
            try:
                rows = await self._rows(user)
                done = True
            finally:
                if not done or self._closing:
                    self._hang_up()
                else:
                    self._timer = asyncio.get_running_loop().call_later(_IDLE, self._hang_up)
        return _read(rows, user)

    async def _rows(self, user: str) -> list[Any]:
        question = self._question
        if self._connection is not None and not self._connection.is_closed():
            try:
                return await self._fetch(user)
            except _FAILURES:
                self._hang_up()  # closed while nobody looked, or what was prepared there is no longer right
        self._connection = await connect_own(
            question.url,
            question.user,
            question.password,
            question.database,
            APPLICATION,
            question.timeout,
            settings=_SETTINGS,
        )
        self._statement = await self._connection.prepare(question.query)
        if len(self._statement.get_attributes()) != 2:
            raise _Failed(_FORM)
        return await self._fetch(user)

    async def _fetch(self, user: str) -> list[Any]:
        rows: list[Any] = await self._statement.fetch(user)
        return rows

    def _hang_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _read(rows: list[Any], user: str) -> Secret | None:
    if not rows:
        return None
    if len(rows) > 1:
        raise _Failed(_FORM)
    name, secret = rows[0]
    if name is None:
        return None
    if name != user:
        raise _Failed("the query gave the secret of another user than it was asked for")
    if secret is None:
        return Plain("")
    if not isinstance(secret, str):
        raise _Failed("the query gave a secret that is not a text")
    return parse_secret(secret)
