"""The byte that opens each message. A byte that means one thing each way has two names."""

from __future__ import annotations

from typing import Final

# Frontend: what a client sends.
QUERY: Final = ord("Q")
PARSE: Final = ord("P")
BIND: Final = ord("B")
DESCRIBE: Final = ord("D")
EXECUTE: Final = ord("E")
CLOSE: Final = ord("C")
SYNC: Final = ord("S")
FLUSH: Final = ord("H")
FUNCTION_CALL: Final = ord("F")
COPY_FAIL: Final = ord("f")
TERMINATE: Final = ord("X")
PASSWORD: Final = ord("p")  # also SASLInitialResponse, SASLResponse and GSSResponse

# Both directions.
COPY_DATA: Final = ord("d")
COPY_DONE: Final = ord("c")

# Backend: what a server sends.
AUTHENTICATION: Final = ord("R")
BACKEND_KEY_DATA: Final = ord("K")
PARAMETER_STATUS: Final = ord("S")
READY_FOR_QUERY: Final = ord("Z")
ERROR_RESPONSE: Final = ord("E")
NOTICE_RESPONSE: Final = ord("N")
NOTIFICATION: Final = ord("A")
ROW_DESCRIPTION: Final = ord("T")
DATA_ROW: Final = ord("D")
COMMAND_COMPLETE: Final = ord("C")
EMPTY_QUERY: Final = ord("I")
PORTAL_SUSPENDED: Final = ord("s")
PARSE_COMPLETE: Final = ord("1")
BIND_COMPLETE: Final = ord("2")
CLOSE_COMPLETE: Final = ord("3")
NO_DATA: Final = ord("n")
PARAMETER_DESCRIPTION: Final = ord("t")
COPY_IN: Final = ord("G")
COPY_OUT: Final = ord("H")
COPY_BOTH: Final = ord("W")
FUNCTION_CALL_RESPONSE: Final = ord("V")
NEGOTIATE_VERSION: Final = ord("v")
