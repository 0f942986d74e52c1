"""Numbers about turns: counted when a turn ends, read when somebody asks.

Files, in the order in which they build on each other:

- `records`: `Outcome`, how a turn was answered.
- `histogram`: bucket bounds, `Histogram`, quantiles estimated from counts.
- `redact`: texts that may be shown: no literals, no control characters, no endless lines.
- `counters`: `DatabaseStats` and `ApplicationStats`, plain numbers.
- `digests`: `DigestStats` of one statement shape and the bounded table `Digests`.
- `slowlog`: `SlowLog`, the last slow turns, with a rate limit.
- `stats`: `Stats`, the one object that the rest of Forebay talks to; `finish` is its hot call.
- `snapshot`: `Snapshot`, a frozen copy for the JSON interface and live views; rates between two of them.
- `gauges`: `Gauges`, what only the owner of pools, sessions and cache knows at the moment of a scrape.
- `ranking`: which digests have Prometheus series of their own.
- `export`: `Exporter`, the Prometheus side; the only file that knows prometheus_client.

Words: a *turn* is a client's first message up to the matching ReadyForQuery; a *digest* is a statement's
shape; *queue* is the wait for a server connection, *server* the time that a server worked on the turn,
*total* what the client saw. All durations are float seconds; only the slow log's records show milliseconds.

Everything here belongs to one thread, the event loop's, and takes no locks.
"""
