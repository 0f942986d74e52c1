"""pg_hba.conf, as PgBouncer and PostgreSQL read it: which rule holds for whom. The first line that fits decides.

    local       database  user            method  [options]      unix sockets
    host        database  user  address   method  [options]      TCP; hostssl: with TLS, hostnossl: without

database    all, sameuser, replication (physical replication, which nothing else fits), names, @file
user        all, names, @file
address     all, address/bits, or an address and a mask
method      trust, reject, password, md5, scram-sha-256, cert (hostssl), peer (local)
options     map=NAME (cert, peer), clientcert=verify-ca or verify-full (hostssl)

What would need the server's catalog or a name service (groups, samehost, host names), expressions, and methods that are
not here are refused with the line, and never skipped: a line that is not understood might have been the one that
keeps somebody out.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from protocol.hbalines import LineError, MalformedLine, ReadFile, expanded, lines
from protocol.policy import Certificate, Method, Rule, Visitor, same

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from protocol.hbalines import Field, Word

    Maps = Mapping[str, Callable[[str, str], bool]]
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

KINDS: Final = ("local", "host", "hostssl", "hostnossl", "hostnogssenc")
VOUCHED: Final = (Method.CERT, Method.PEER)


@dataclass(frozen=True, slots=True)
class Names:
    """A list of databases or users."""

    words: frozenset[str] = frozenset()
    everything: bool = False
    same_user: bool = False
    replication: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. ``network`` None: every address."""

    line: int
    kind: str
    databases: Names
    users: Names
    network: Network | None
    rule: Rule

    def fits(self, visitor: Visitor) -> bool:
        """Whether this line speaks of the visitor."""
        return self._fits_place(visitor) and self._fits_database(visitor) and self._fits_user(visitor)

    def _fits_place(self, visitor: Visitor) -> bool:
        if visitor.address is None or self.kind == "local":
            return visitor.address is None and self.kind == "local"
        if self.kind in ("hostssl", "hostnossl") and visitor.tls != (self.kind == "hostssl"):
            return False
        if self.network is None:
            return True
        try:
            return ipaddress.ip_address(visitor.address) in self.network
        except ValueError:
            return False

    def _fits_database(self, visitor: Visitor) -> bool:
        databases = self.databases
        if visitor.replication:
            return databases.replication
        same_user = databases.same_user and visitor.database == visitor.user
        return databases.everything or same_user or visitor.database in databases.words

    def _fits_user(self, visitor: Visitor) -> bool:
        return self.users.everything or visitor.user in self.users.words


@dataclass(frozen=True, slots=True)
class Hba:
    """A whole file."""

    entries: tuple[Entry, ...]

    def rule_of(self, visitor: Visitor) -> Rule | None:
        """The rule of the first line that fits, None if none does."""
        return next((entry.rule for entry in self.entries if entry.fits(visitor)), None)

    @property
    def certified(self) -> int | None:
        """The first line that asks for a client's certificate, if any does."""
        asks = (e for e in self.entries if e.rule.method is Method.CERT or e.rule.certificate is not Certificate.NONE)
        return next((entry.line for entry in asks), None)


def parse_hba(text: str, file: str, maps: Maps, read: ReadFile) -> Hba:
    """Read the file; LineError names the line of ``file`` that is wrong. ``read`` gives files that lines name."""
    entries: list[Entry] = []
    number = 0
    try:
        for number, fields in lines(text):
            entries.append(_entry(number, fields, maps, read))
    except MalformedLine as error:
        raise LineError(file, error.number, str(error)) from None
    except ValueError as error:
        raise LineError(file, number, str(error)) from None
    return Hba(tuple(entries))


def _entry(number: int, fields: list[Field], maps: Maps, read: ReadFile) -> Entry:
    kind = _one(fields[0], "the connection's type").text
    if kind not in KINDS:
        raise ValueError(f"{kind}: must be one of {', '.join(KINDS)}")
    rest = fields[1:]
    if len(rest) < 2:
        raise ValueError("ends before the database, the user, and the method")
    databases, users = _databases(rest[0], read), _users(rest[1], read)
    rest = rest[2:]
    network = None
    if kind != "local":
        network, rest = _address(rest)
    if not rest:
        raise ValueError("ends before the method")
    return Entry(number, kind, databases, users, network, _rule(kind, rest, maps))


def _one(field: Field, what: str) -> Word:
    if len(field) != 1:
        raise ValueError(f"{what} must be one word, not a list")
    return field[0]


def _databases(field: Field, read: ReadFile) -> Names:
    everything = same_user = replication = False
    names: set[str] = set()
    for word in expanded(field, read):
        if word.says("all"):
            everything = True
        elif word.says("sameuser"):
            same_user = True
        elif word.says("replication"):
            replication = True
        elif word.says("samerole") or word.says("samegroup"):
            raise ValueError(f"{word.text}: who is a member of which role is not known here; name the databases")
        else:
            names.add(_name(word))
    return Names(frozenset(names), everything, same_user, replication)


def _users(field: Field, read: ReadFile) -> Names:
    everything = False
    names: set[str] = set()
    for word in expanded(field, read):
        if word.says("all"):
            everything = True
        elif word.text.startswith("+") and not word.quoted:
            raise ValueError(f"{word.text}: who is a member of which role is not known here; name the users")
        else:
            names.add(_name(word))
    return Names(frozenset(names), everything)


def _name(word: Word) -> str:
    if word.text.startswith("/") and not word.quoted:
        raise ValueError(f"{word.text}: regular expressions are not available")
    return word.text


def _address(fields: list[Field]) -> tuple[Network | None, list[Field]]:
    if not fields:
        raise ValueError("ends before the address")
    word = _one(fields[0], "the address")
    if word.says("all"):
        return None, fields[1:]
    if word.says("samehost") or word.says("samenet"):
        raise ValueError(f"{word.text}: is not available; write the addresses")
    address, slash, _ = word.text.partition("/")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise ValueError(f"{word.text}: must be all, or an address; host names are not looked up") from None
    rest = fields[1:]
    whole = word.text
    if not slash:
        if not rest:
            raise ValueError(f"{word.text}: needs /bits, or a mask behind it")
        whole, rest = f"{address}/{_bits(address, _one(rest[0], 'the mask').text)}", rest[1:]
    try:
        return ipaddress.ip_network(whole, strict=False), rest
    except ValueError:
        raise ValueError(f"{word.text}: is no address with a length in bits") from None


def _bits(address: str, mask: str) -> int:
    try:
        number = ipaddress.ip_address(mask)
        if number.version != ipaddress.ip_address(address).version:
            raise ValueError(mask)
    except ValueError:
        raise ValueError(f"{mask}: is no mask for {address} (or write {address}/bits)") from None
    bits = f"{int(number):0{number.max_prefixlen}b}"
    if "01" in bits:
        raise ValueError(f"{mask}: a mask is ones, then zeros")
    return bits.count("1")


def _rule(kind: str, fields: list[Field], maps: Maps) -> Rule:
    word = _one(fields[0], "the method").text
    known = [method.value for method in Method]
    if word not in known:
        raise ValueError(f"{word}: no such method here; there are {', '.join(known)}")
    method = Method(word)
    if method is Method.CERT and kind != "hostssl":
        raise ValueError("cert: certificates come with TLS only, so this must be hostssl")
    if method is Method.PEER and kind != "local":
        raise ValueError("peer: the other side is known through unix sockets only, so this must be local")
    options: dict[str, str] = {}
    for field in fields[1:]:
        option, equals, value = _one(field, "an option").text.partition("=")
        if not equals:
            raise ValueError(f"{option}: options look like name=value")
        if option not in ("map", "clientcert"):
            raise ValueError(f"{option}: no such option here; there are map and clientcert")
        options[option] = value
    certificate = _clientcert(kind, method, options["clientcert"]) if "clientcert" in options else Certificate.NONE
    may_be = _map(method, certificate, options["map"], maps) if "map" in options else same
    return Rule(method, certificate, may_be)


def _map(method: Method, certificate: Certificate, name: str, maps: Maps) -> Callable[[str, str], bool]:
    if method not in VOUCHED and certificate is not Certificate.OF_USER:
        raise ValueError(f"map: {method.value} knows the user by no other name, so there is nothing to map")
    if name not in maps:
        raise ValueError(f"map: {name} is not in the ident file")
    return maps[name]


def _clientcert(kind: str, method: Method, value: str) -> Certificate:
    if kind != "hostssl":
        raise ValueError("clientcert: certificates come with TLS only, so this must be hostssl")
    if value not in (Certificate.SIGNED.value, Certificate.OF_USER.value):
        raise ValueError(f"clientcert: must be {Certificate.SIGNED.value} or {Certificate.OF_USER.value}")
    if method is Method.CERT and value != Certificate.OF_USER.value:
        raise ValueError(f"clientcert: cert is {Certificate.OF_USER.value} already, and cannot be less")
    return Certificate(value)
