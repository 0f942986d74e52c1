"""The version, for the package, `--version` and the start-up line."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
