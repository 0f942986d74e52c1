"""[databases]: connection strings become urls and the keys of their sections."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from proxy.dsn import parse_dsn
from proxy.pgbouncer.login import FIXED_PATH, QUERY
from proxy.pgbouncer.parse import read_pairs
from proxy.pgbouncer.settings import IN_THE_URL, NOT_OF_A_DATABASE, OF_A_DATABASE
from proxy.sections import CONSOLE_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.pgbouncer.parse import Entry
    from proxy.pgbouncer.values import Translation

SETTINGS: Final = ("client_encoding", "datestyle", "timezone")


@dataclass(frozen=True, slots=True)
class Common:
    """What [pgbouncer] says of all servers. ``tls``: the url's own words and values."""

    socket_directory: str = "/tmp"
    tls: tuple[tuple[str, str], ...] = ()


def translate_database(entry: Entry, common: Common, into: Translation) -> None:
    """One entry of [databases]."""
    name = entry.name
    if name in CONSOLE_NAMES:
        into.remark(entry.place, name, "the name is taken by the admin console; give the database another")
        return
    try:
        pairs = read_pairs(entry.value)
    except ValueError as error:
        into.remark(entry.place, name, f"is left out: {error}")
        return
    _say_url(entry, pairs, common, into)
    for word, value in pairs.items():
        _say_pair(entry, word, value, into)


def _say_pair(entry: Entry, word: str, value: str, into: Translation) -> None:
    shown = f"{entry.name}: {word}"
    if word in OF_A_DATABASE:
        key, read = OF_A_DATABASE[word]
        try:
            into.say(("databases", entry.name, key), read(value), word)
        except ValueError as error:
            into.remark(entry.place, shown, f"is left out: {error}")
    elif word in QUERY:
        if value:
            into.say(("databases", entry.name, QUERY[word]), value, word)
            if word == "auth_query":
                into.remark(entry.place, shown, FIXED_PATH)
    elif word in NOT_OF_A_DATABASE:
        into.remark(entry.place, shown, f"no equivalent: {NOT_OF_A_DATABASE[word]}")
    elif word not in IN_THE_URL:
        into.remark(entry.place, shown, "is no setting of a database that is known; left out")


def _say_url(entry: Entry, pairs: Mapping[str, str], common: Common, into: Translation) -> None:
    url = url_of(pairs, common)
    if "," in pairs.get("host", "") and pairs.get("load_balance_hosts") != "disable":
        what = "connections go to a random one of the hosts, not to each in turn; one that is down is passed over"
        into.remark(entry.place, f"{entry.name}: host", what)
    try:
        parse_dsn(url)
    except ValueError as error:
        into.remark(entry.place, entry.name, f"the url must be written by hand: {error}")
    into.say(("databases", entry.name, "url"), url)


def url_of(pairs: Mapping[str, str], common: Common) -> str:
    """The url that says the same as the pairs."""
    host = pairs.get("host") or common.socket_directory
    login = ""
    if pairs.get("user"):
        login = quote(pairs["user"], safe="")
        if pairs.get("password"):
            login += ":" + quote(pairs["password"], safe="")
        login += "@"
    hosts = [one.strip() for one in host.split(",")]
    port = f":{pairs['port']}" if pairs.get("port") else ""
    place = ",".join((f"[{one}]" if ":" in one else quote(one, safe="")) + port for one in hosts)
    query: dict[str, str] = {} if all(one.startswith(("/", "@")) for one in hosts) else dict(common.tls)
    if len(hosts) > 1:
        query["load_balance_hosts"] = "disable" if pairs.get("load_balance_hosts") == "disable" else "random"
    if pairs.get("target_session_attrs"):
        query["target_session_attrs"] = pairs["target_session_attrs"]
    if pairs.get("application_name"):
        query["application_name"] = pairs["application_name"]
    settings = [f"-c {word}={_escaped(pairs[word])}" for word in SETTINGS if pairs.get(word)]
    if settings:
        query["options"] = " ".join(settings)
    database = quote(pairs.get("dbname", ""), safe="")
    return f"postgresql://{login}{place}/{database}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")


def _escaped(value: str) -> str:
    return re.sub(r"([\s\\])", r"\\\1", value)
