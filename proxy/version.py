"""The version, and which build of it runs, for the package, `--version` and the metrics."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

VERSION: Final = "0.1.0"


def compiled() -> bool:
    """Are the modules that every query goes through compiled? See setup.py."""
    session = find_spec("proxy.session")
    return session is not None and session.origin is not None and not session.origin.endswith(".py")
