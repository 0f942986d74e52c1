"""The edge and the composition: the one room that knows all the others.

Words: a *session* is a logged-in client; a *turn* goes from its first message to the ReadyForQuery that answers it; a
*view* is who looks at a statement (user, settings, catalog), a *judgement* what the statement is from there.

The way of a query: `session.py` (the client's side) asks `reading.py` for a hit (`inside.py` in a transaction), else
leases a server, and `uplink.py` translates messages up, `downlink.py` takes the answers down. `ledger.py` keeps what
the statements of the session did until it is known whether it counts; `turn.py` is what they all write on;
`knowledge.py` and `database.py` know the statements, `catalogs.py` keeps the catalog true. `sqlprepare.py` sends those
that name prepared statements. `express.py` is the short way up of a plain turn, which `usual.py` reads; `parting.py`
ends requests before their time.

Coming and going: `listen.py` and `edge.py` let clients in, `access.py` says who may, `greeting.py` tells them what the
server would, `clients.py` counts them, `sweep.py` ends what takes too long.

Operating: `cli.py`, `config.py` with `sections.py`, `options.py`, `units.py`, `dsn.py` and `problems.py`; `app.py`
puts everything together; `logs.py`, `http.py`, `status.py`, `console/` show it; `check.py`, `top.py` and `demo/` are
commands.
"""
