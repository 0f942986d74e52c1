"""LISTEN, UNLISTEN and NOTIFY for sessions that do not keep their server connection.

Theory. A client's LISTEN is executed on whatever server connection its transaction runs on: there it gets its errors,
its place in the transaction and its answer. But that connection stays mute: what it hears is dropped, and UNLISTEN *
cleans it when it goes back. What clients hear comes from one *hub* for each pool, a connection of its own that
listens to every channel that any of the pool's sessions wants, in the order in which PostgreSQL delivers.

Nothing is lost. Before any byte leaves that can commit a LISTEN, the hub listens to the channel and has answered; so
whatever is committed after the LISTEN reaches the hub. Until the LISTEN has committed what arrives is only kept.

Nothing too much. That answer is also a fence: PostgreSQL signals a listener before it tells the notifier that he has
committed, and a listener reads its signals before it answers, so what had been acknowledged to anybody before the fence
was asked for has arrived before its answer, and is dropped. What comes later was committed while the client's own
COMMIT was on its way, and PostgreSQL itself might have delivered it.

At the right time. The answer that ends a listening session's transaction waits for such a fence, too, and what has come
by then goes out ahead of ReadyForQuery, as a server does it: its own notifications, and those of whoever had been told
of his COMMIT before. A hit of the cache does not wait.

What commits and what is rolled back is followed by `follow.py`. Where PostgreSQL's answer does not tell (a turn that
both ended a transaction and failed) every LISTEN counts and no UNLISTEN: too much may be heard, never too little.

The hub is lost. It comes back by itself, listens to everything again, and everybody who was listening is told by a
WARNING that notifications may have been lost. If there is no hub to be had, a session that listens to nothing yet
pins its server connection, which then speaks to it directly; one that does is closed, since it would have to
hear the same channel on two ways.
"""
