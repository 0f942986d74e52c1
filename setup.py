"""The package is pyproject.toml's; here is only what FOREBAY_COMPILE=1 adds: modules compiled by mypyc.

Compiled are the modules that every query goes through; the sources are the same and the tests hold for both. It takes
a C compiler and, since nothing is fetched for it, an environment that has the extra ``compile``:

    pip install '.[compile]' && FOREBAY_COMPILE=1 pip install --no-build-isolation --no-deps .

Not compiled are modules on that way which mypyc does not take: class bodies that name ``object`` as the type of a field
(cache/coherence.py, protocol/replies.py), and what is mixed into a class that is an asyncio.Protocol, too
(pool/spots.py).
"""

from __future__ import annotations

import os

from setuptools import setup

COMPILED = (
    "cache/cache.py",
    "cache/key.py",
    "cache/memory.py",
    "cache/tags.py",
    "pool/outlet.py",
    "pool/pool.py",
    "pool/prepared.py",
    "pool/server.py",
    "pool/settings.py",
    "protocol/description.py",
    "protocol/hot.py",
    "protocol/pipeline.py",
    "protocol/plain.py",
    "proxy/deferred.py",
    "proxy/downlink.py",
    "proxy/express.py",
    "proxy/inbox.py",
    "proxy/inside.py",
    "proxy/knowledge.py",
    "proxy/ledger.py",
    "proxy/parting.py",
    "proxy/reading.py",
    "proxy/session.py",
    "proxy/statements.py",
    "proxy/turn.py",
    "proxy/uplink.py",
    "proxy/uplink_notes.py",
    "proxy/uplink_own.py",
    "proxy/uplink_shapes.py",
    "proxy/uplink_usual.py",
    "proxy/usual.py",
    "sql/template.py",
    "stats/counters.py",
    "stats/digests.py",
    "stats/histogram.py",
    "stats/stats.py",
)

if os.environ.get("FOREBAY_COMPILE", "") == "1":
    from mypyc.build import mypycify

    setup(ext_modules=mypycify(list(COMPILED), opt_level="3", debug_level="0"))
else:
    setup()
