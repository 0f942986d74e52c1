"""The room of remembered answers: what may be kept, what is still true, and what has to go.

Files
-----
coherence.py  the protocol that keeps a hit from being older than any acknowledged write; pure
tags.py       which tags a read depends on and a write touches, with the tag of a whole database
key.py        what two requests must have in common to share one answer
entry.py      one remembered answer
store.py      what the cache asks of a place that holds entries
memory.py     that place in this process: bounded by bytes, evicting by SIEVE
counters.py   what is counted here, and why a fill was refused
cache.py      the face of the room: lookup, capture, fill, and the marks of writers
errors.py     the error that a wrong use of the room raises

Words
-----
tag      something that an answer depends on or a write touches; any hashable value
token    the random value that stands for a tag's present data; gone when the data may have changed
stamp    the tokens of all tags of an answer, captured before its snapshot
mark     a writer's claim on its tags, from before its commit can happen until the outcome is known
doubt    the state of a tag that at least one mark is on: nobody captures it, so nobody fills or hits
"""
