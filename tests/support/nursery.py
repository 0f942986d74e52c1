"""Processes of Forebay without the second that its imports take: forked from one that has imported everything.

A `Nursery` starts `tests.support.nurse` and sends it an order for each child. With the order goes one end of a
socket: the nurse writes the child's process id to it, and at the child's end its exit status. `Nursling` holds the
other end and looks like a subprocess.Popen. When the tests die the nurse dies, and with it, by the kernel's hand,
every child.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.demo.children import follow_parent

if TYPE_CHECKING:
    from collections.abc import Sequence

NUMBER: Final = struct.Struct("=i")
ORDER_LIMIT: Final = 65_536  # bytes
_ROOT: Final = Path(__file__).resolve().parents[2]
_PATIENCE: Final = 60.0  # seconds for the imports and a fork, on a machine under load


class Nursling:
    """A forked process; may be asked from any thread."""

    def __init__(self, line: socket.socket, args: Sequence[str]) -> None:
        """Takes over the socket on which the nurse tells what becomes of it."""
        self.args = list(args)
        self._line = line
        self._lock = threading.Lock()
        self._status: int | None = None
        pid = self._told(_PATIENCE)
        assert pid is not None, "the nurse gave no child in time"
        assert pid > 0, "the nurse died"
        self.pid = pid

    def _told(self, timeout: float | None) -> int | None:
        """The next number from the nurse, or None when none came in time."""
        if not select.select([self._line], [], [], timeout)[0]:
            return None
        data = self._line.recv(NUMBER.size)
        return int(NUMBER.unpack(data)[0]) if data else -signal.SIGKILL  # who dies with the nurse is killed

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        with self._lock:
            if self._status is None and (status := self._told(0)) is not None:
                self._status = status
                self._line.close()
            return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status at its end; subprocess.TimeoutExpired when that does not come in time."""
        with contextlib.suppress(ValueError, OSError):  # closed: another thread was told
            select.select([self._line], [], [], timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Nursery:
    """Where children are ordered; the nurse comes with the first order and goes with close()."""

    def __init__(self) -> None:
        self._control: socket.socket | None = None
        self._nurse: subprocess.Popen[bytes] | None = None

    def spawn(self, args: Sequence[str], *, home: Path, log: Path) -> Nursling:
        """`forebay *args`, with `home` as HOME and working directory, writing to `log`; in the main thread only."""
        control = self._control or self._open()
        ours, theirs = socket.socketpair()
        with theirs:
            order = json.dumps({"argv": list(args), "home": str(home), "log": str(log)}).encode()
            assert len(order) < ORDER_LIMIT
            socket.send_fds(control, [order], [theirs.fileno()])
        return Nursling(ours, args)

    def _open(self) -> socket.socket:
        self._control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with far:
            self._nurse = subprocess.Popen(
                [sys.executable, "-m", "tests.support.nurse", str(far.fileno())],
                env={"PATH": os.defpath, "PYTHONPATH": str(_ROOT)},
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[far.fileno()],
                start_new_session=True,
                preexec_fn=follow_parent(signal.SIGKILL),
            )
        return self._control

    def close(self) -> None:
        """Let the nurse go, and wait for that."""
        if self._control is not None and self._nurse is not None:
            self._control.close()
            self._control = None
            self._nurse.wait(_PATIENCE)
