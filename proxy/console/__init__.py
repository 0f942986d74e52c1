"""The admin console: what answers who connects to database ``forebay`` or ``pgbouncer``.

A text becomes a command, a command an answer, an answer messages; only the last step knows the protocol.

- ``command``   a text as a `Command`: PgBouncer's words and ours, and what drivers send unasked
- ``rights``    which *role* (admin, stats) may do what; what is not listed nobody may
- ``table``     columns, rows and their bytes in text and binary format
- ``view``      the state of the process as plain values: what tables are made of (`View`)
- ``live``      the `View` of this process
- ``pgbouncer`` the tables that PgBouncer has, with its columns; ``traffic`` its statistics
- ``own``       the tables that only Forebay has; ``settings`` SHOW CONFIG
- ``shows``     every SHOW by name
- ``control``   what commands do: pause, resume, reconnect, kill
- ``execute``   a command and a role to an answer
- ``wire``      one connection: the simple and the extended protocol; ``portal`` what is ready to run in it
- ``consoles``  all connections, and who is let in
"""
