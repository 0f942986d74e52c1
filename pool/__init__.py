"""Server connections and who may use them.

Words: a *lease* is the exclusive use of a server connection; a *waiter* stands in the queue for one; a *profile* is the
settings in which a session differs from a fresh connection; a connection *settles* when its last owner has left and it
is brought back to a state that anybody may get.

- `pool.py`      the connections of one (database, user), the queue for them, opening and closing
- `plan.py`      how many to open and which to close: pure
- `server.py`    one connection: its conversation, its owner, how it settles
- `outlet.py`    writing when all that has come in has been dealt with
- `spots.py`     what keeps a connection from being lent on just as it is
- `prepared.py`  prepared statements under names of ours, and what a server has of them
- `settings.py`  profiles, and the query that takes a server from one to another
- `connect.py`   getting into a server, and cancel requests; `tls.py`, `sockets.py`, `stream.py` carry it
- `errors.py`    what went wrong, in words for the client
- `tasks.py`     background tasks that are not lost
"""
