"""The program that forks Forebays for `tests.support.nursery`, which says how they talk.

It imports everything, then forks for each order. A child leaves the loop, becomes what `python -m proxy serve`
would be (a session, directory, environment, log and standard streams of its own) and runs the command line to the
ordinary end of the interpreter. The nurse itself runs no event loop and no thread, so a child inherits nothing
but modules.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any, Final

from proxy import cli, loop
from proxy.demo.children import follow_parent
from tests.support.nursery import NUMBER, ORDER_LIMIT

_STREAMS: Final = (0, 1, 2)


class Nurse:
    """Takes orders from one control socket."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._lines: dict[int, socket.socket] = {}  # by process id
        self._woken, self._waker = socket.socketpair()

    def next_child(self) -> list[str] | None:
        """Returns in each child, with its arguments; in the nurse when there will be no more orders, with None."""
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([self._control, self._woken], [], [])
            if self._woken in ready:
                self._woken.recv(ORDER_LIMIT)
                self._report()
            if self._control in ready:
                data, descriptors, _, _ = socket.recv_fds(self._control, ORDER_LIMIT, 1)
                if not data:
                    return None
                order = json.loads(data)
                if self._fork(socket.socket(fileno=descriptors[0])):
                    self._settle(order)
                    return list(order["argv"])

    def _fork(self, line: socket.socket) -> bool:
        """Whether this is the child."""
        follow = follow_parent(signal.SIGKILL)
        pid = os.fork()
        if pid:
            line.send(NUMBER.pack(pid))
            self._lines[pid] = line
            return False
        if follow is not None:
            follow()
        line.close()
        return True

    def _report(self) -> None:
        """Tell of those that have ended."""
        while self._lines:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with self._lines.pop(pid) as line:
                line.send(NUMBER.pack(os.waitstatus_to_exitcode(status)))

    def _settle(self, order: dict[str, Any]) -> None:
        """Forget the nurse, in a child."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for inherited in (self._control, self._woken, self._waker, *self._lines.values()):
            inherited.close()
        os.setsid()
        os.chdir(order["home"])
        os.environ["HOME"] = order["home"]
        sys.path[0] = order["home"]
        nothing = os.open(os.devnull, os.O_RDONLY)
        log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        for stream, source in zip(_STREAMS, (nothing, log, log), strict=True):
            os.dup2(source, stream)
        os.close(nothing)
        os.close(log)


def main() -> None:
    """Serve orders until the control socket is closed; in a child, be Forebay."""
    importlib.import_module("proxy.app")  # the command line does so when it serves
    loop.loop_factory()  # imports uvloop
    gc.freeze()  # no child needs to look through what all of them share
    arguments = Nurse(socket.socket(fileno=int(sys.argv[1]))).next_child()
    if arguments is not None:
        cli.main(arguments)


if __name__ == "__main__":
    main()
