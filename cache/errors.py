"""The error of this room."""

from __future__ import annotations


class LocalCacheError(Exception):
    """Our own code was about to break the rules of the cache, for example by taking a mark off twice.

    Nothing was changed when it is raised. It is never caused by a client, a server or a full store.
    """
