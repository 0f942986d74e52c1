"""The PostgreSQL protocol as bytes and states: no I/O and no clock.

Messages
    `tags`            the byte that opens each message
    `errors`          who broke the rules
    `wire`            building blocks of the declarations: strings, values, lists, framing
    `opening`         declared: what comes before login and has no tag
    `frontend`        declared: what a client sends
    `authentication`  declared: what a server may ask at login
    `backend`         declared: what a server sends
    `replication`     declared: what CopyData carries on a replication connection
    `build`           one builder for each cold message: framed bytes
    `hot`             hand-written readers of the messages of every turn; tests hold them equal to the rest

States
    `startup`         the first packet of a connection
    `accept`          a client logs in to us
    `login`           we log in to a server
    `scram`           SCRAM-SHA-256 for both
    `secrets`         what is known of a user's password
    `userlist`        the file that holds it, in PgBouncer's format
    `pipeline`        which request each reply answers
    `plain`           the usual turn, which the pipeline gets through in few steps
    `bounds`          where messages end in a stream that is passed on unread

Words: *frontend* and *backend* name directions as PostgreSQL's manual does, *client* and *server* the peers;
a *frame* is tag, length and body; a *body* is what follows the length.
"""
