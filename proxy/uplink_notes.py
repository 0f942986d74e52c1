"""What rides through the server's pipeline with the messages of the way up, to be recorded when the reply comes.

``proved`` is called when the reply shows that the message took effect, ``dropped`` when the server skipped it or
refused it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pool.prepared import Prepared
    from pool.server import Server
    from proxy.uplink import Uplink


class Registered:
    """The client has been told, or will be, that a name stands for a statement."""

    __slots__ = ("_batch", "_before", "_name", "_server", "_statement", "_uplink")

    def __init__(self, uplink: Uplink, name: bytes, statement: Prepared, server: Server | None) -> None:
        self._uplink = uplink
        self._name = name
        self._before = uplink.statements.get(name)
        self._statement = statement
        self._server = server
        self._batch = server.pipeline.batch if server is not None else 0

    def proved(self) -> None:
        if self._server is not None:
            if self._name:
                self._server.statements.proved(self._statement, self._batch)
            else:
                self._server.statements.unnamed_proved(self._statement)

    def dropped(self) -> None:
        if self._server is not None:
            if self._name:
                self._server.statements.dropped(self._statement, self._batch)
            else:
                self._server.statements.unnamed_lost()
        statements = self._uplink.statements
        if statements.get(self._name) is self._statement:
            if self._before is None:
                del statements[self._name]
            else:
                statements[self._name] = self._before


class Injected:
    """A Parse of ours."""

    __slots__ = ("_batch", "_server", "_statement", "_unnamed")

    def __init__(self, server: Server, statement: Prepared, *, unnamed: bool) -> None:
        self._batch = server.pipeline.batch
        self._server = server
        self._statement = statement
        self._unnamed = unnamed

    def proved(self) -> None:
        if self._unnamed:
            self._server.statements.unnamed_proved(self._statement)
        else:
            self._server.statements.proved(self._statement, self._batch)

    def dropped(self) -> None:
        if self._unnamed:
            self._server.statements.unnamed_lost()
        else:
            self._server.statements.dropped(self._statement, self._batch)


class Closed:
    """The client has closed a name."""

    __slots__ = ("_name", "_statement", "_uplink")

    def __init__(self, uplink: Uplink, name: bytes, statement: Prepared) -> None:
        self._uplink = uplink
        self._name = name
        self._statement = statement

    def proved(self) -> None:
        """It was taken at its word when it was sent."""

    def dropped(self) -> None:
        self._uplink.statements.setdefault(self._name, self._statement)
