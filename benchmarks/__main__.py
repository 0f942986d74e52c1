"""`python -m benchmarks` compares; `python -m benchmarks idle` measures idle clients."""

from __future__ import annotations

import sys

from benchmarks import compare, idle

if __name__ == "__main__":
    if sys.argv[1:2] == ["idle"]:
        idle.main(sys.argv[2:])
    else:
        compare.main(sys.argv[2:] if sys.argv[1:2] == ["compare"] else sys.argv[1:])
