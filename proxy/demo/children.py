"""Child processes that never outlive the demo.

Three ways lead to the end of a child, and each must work:

- the ordinary one: `stop` sends the polite signal, waits, then sends ruder ones;
- an exception or a signal in the demo: the callers hold their children in context managers;
- the demo itself is killed: on Linux the kernel sends the child a signal when its parent dies (prctl
  PR_SET_PDEATHSIG). The kernel forgets that wish when a process changes its user, so it is made after the
  change: subprocess runs preexec_fn last, just before exec.

Every child is in a session of its own, so that Ctrl-C in the terminal reaches the demo alone and the order of
shutting down stays ours: first the proxy, then the database.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Account:
    """A system user to run a child as."""

    uid: int
    gid: int


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    account: Account | None = None,
    on_our_death: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a child whose output goes to `log`; None as account means our own user."""
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=follow_parent(on_our_death),
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )


def follow_parent(on_our_death: signal.Signals) -> Callable[[], None] | None:
    """What a child does after its fork to be told of our death; the library is loaded before the fork."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def follow() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(on_our_death), 0, 0, 0)
        if os.getppid() != parent:  # it died before the wish was made
            os.kill(os.getpid(), signal.SIGKILL)

    return follow


class Child(Protocol):
    """What `stop` needs of a subprocess.Popen: anything that can be signalled and waited for."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int, /) -> None: ...


def stop(child: Child, steps: Sequence[tuple[signal.Signals, float]]) -> int:
    """End `child`: each signal with the seconds it is given, at last SIGKILL; returns the exit status."""
    for signum, grace in steps:
        if child.poll() is not None:
            break
        child.send_signal(signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace)
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listened on a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a child's output, for an error message."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
