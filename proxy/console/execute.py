"""A command and who gave it to an answer. Knows no protocol and no connection."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.console import shows
from proxy.console.command import Command, CommandError, Verb
from proxy.console.rights import Role, check

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache.cache import Cache
    from proxy.console.control import Control
    from proxy.console.table import Column, Table
    from proxy.console.view import View


class Shutdown(enum.Enum):
    """How the process ends."""

    NOW = None
    SERVERS = "wait_for_servers"  # open transactions may end, within timeouts.drain
    CLIENTS = "wait_for_clients"  # when the last client has left by itself


@dataclass(frozen=True, slots=True)
class Done:
    """An answer without rows; ``notice`` is (message, detail)."""

    tag: str
    notice: tuple[str, str] | None = None


class Executor:
    """Carries commands out. ``reload`` returns what was wrong, or nothing."""

    def __init__(
        self,
        view: View,
        control: Control,
        cache: Cache,
        reload: Callable[[], str],
        shutdown: Callable[[Shutdown], None],
    ) -> None:
        self._view = view
        self._control = control
        self._cache = cache
        self._reload = reload
        self._shutdown = shutdown

    def columns(self, command: Command) -> tuple[Column, ...] | None:
        """What the answer's rows will look like; None if it has none."""
        return shows.columns_of(command) if command.verb is Verb.SHOW else None

    def run(self, command: Command, role: Role | None, done: Callable[[bool], None]) -> Table | Done | None:
        """The answer; None if it comes later, through ``done``. CommandError if there is none."""
        check(command, role)
        argument = command.argument
        match command.verb:
            case Verb.SHOW:
                return shows.table(command, self._view) or Done("SHOW", ("Console usage", shows.HELP))
            case Verb.PAUSE:
                if not self._control.pause(argument, done):
                    return None
            case Verb.RESUME:
                self._control.resume(argument)
            case Verb.RECONNECT:
                self._control.reconnect(argument)
            case Verb.KILL:
                self._control.kill(argument or "")
            case Verb.KILL_CLIENT:
                self._control.kill_client(argument or "")
            case Verb.RELOAD:
                wrong = self._reload()
                if wrong:
                    raise CommandError("F0000", f"the old configuration stays: {wrong}")
            case Verb.SHUTDOWN:
                self._shutdown(Shutdown(argument))
            case Verb.PURGE:
                self._cache.purge()
            case Verb.BEGIN | Verb.END | Verb.NOTHING:
                pass
        return Done(command.complete)

    def forget(self, done: Callable[[bool], None]) -> None:
        """Nobody waits for this answer any more."""
        self._control.forget(done)
