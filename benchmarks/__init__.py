"""How fast, and at what price: measured beside PgBouncer, in the same run, on the same machine.

proxies.py   the candidates: PostgreSQL itself, PgBouncer, Forebay without and with its cache
pgbench.py   one run of pgbench and what it says
compare.py   rounds of pgbench in turn over all candidates: transactions a second, CPU time a query
idle.py      memory of idle clients while others work

A single run means little on a machine with other work: candidates take turns, and the table shows medians.
"""
