"""`forebay demo`: a whole shop on one machine, with Forebay in front of it.

It meets Forebay as a user does: through its wire, its configuration file, /metrics and /api/status.

children.py   child processes that die with us: start, stop with a deadline, free ports
postgres.py   an embedded PostgreSQL cluster: find the binaries, initdb, start, fast shutdown
schema.sql    the shop's tables, constraints, indexes and audit trigger
rows.sql      its rows, generated from one seed, one step per table
shop.py       loads both; who logs in; how large the shop is
server.py     Forebay as a subprocess with a generated configuration
queries.py    the statements that the shop sends
workload.py   the shop's visitors: which statement how often, for whom, and whether an answer was stale
tally.py      what the visitors count: statements, errors, latencies, stale answers
meter.py      what Forebay says of itself, read from /metrics and /api/status
view.py       the live page in the terminal
progress.py   the steps of preparing, told as they are taken
summary.py    the last word: key=value lines for scripts
signals.py    what a signal does where an event loop runs, and where none does
main.py       the order of all this, and taking everything down again
"""
