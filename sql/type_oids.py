"""OIDs of the builtin types that parameters are declared with, by the names that the grammar gives them.

They are the same in every server since version 13. With the ways of writing a length or precision that every server
takes: it is checked and then ignored where PREPARE declares a parameter.
"""

from __future__ import annotations

from typing import Any, Final

_CATALOG: Final = "pg_catalog"
_OIDS: Final[dict[str, tuple[int, int]]] = {  # of the type, of its array
    "bool": (16, 1000),
    "bytea": (17, 1001),
    "char": (18, 1002),
    "name": (19, 1003),
    "int8": (20, 1016),
    "int2": (21, 1005),
    "int4": (23, 1007),
    "regproc": (24, 1008),
    "text": (25, 1009),
    "oid": (26, 1028),
    "tid": (27, 1010),
    "xid": (28, 1011),
    "json": (114, 199),
    "xml": (142, 143),
    "point": (600, 1017),
    "lseg": (601, 1018),
    "path": (602, 1019),
    "box": (603, 1020),
    "polygon": (604, 1027),
    "line": (628, 629),
    "cidr": (650, 651),
    "float4": (700, 1021),
    "float8": (701, 1022),
    "circle": (718, 719),
    "macaddr8": (774, 775),
    "money": (790, 791),
    "macaddr": (829, 1040),
    "inet": (869, 1041),
    "bpchar": (1042, 1014),
    "varchar": (1043, 1015),
    "date": (1082, 1182),
    "time": (1083, 1183),
    "timestamp": (1114, 1115),
    "timestamptz": (1184, 1185),
    "interval": (1186, 1187),
    "timetz": (1266, 1270),
    "bit": (1560, 1561),
    "varbit": (1562, 1563),
    "numeric": (1700, 1231),
    "regclass": (2205, 2210),
    "regtype": (2206, 2211),
    "uuid": (2950, 2951),
    "pg_lsn": (3220, 3221),
    "tsvector": (3614, 3643),
    "tsquery": (3615, 3645),
    "regconfig": (3734, 3735),
    "jsonb": (3802, 3807),
    "int4range": (3904, 3905),
    "numrange": (3906, 3907),
    "tsrange": (3908, 3909),
    "tstzrange": (3910, 3911),
    "daterange": (3912, 3913),
    "int8range": (3926, 3927),
    "jsonpath": (4072, 4073),
}
_LENGTHS: Final = {"varchar": 10_485_760, "bpchar": 10_485_760, "bit": 83_886_080, "varbit": 83_886_080}
_DIGITS: Final = 1000
_FRACTIONS: Final = frozenset(("time", "timetz", "timestamp", "timestamptz"))


def type_oid(tree: Any) -> tuple[int, bool] | None:
    """The OID of a TypeName, and whether its name was looked up in the search path; None if that cannot be told."""
    names = [node.string.sval for node in tree.names]
    if tree.setof or tree.pct_type or len(names) > 2 or (len(names) == 2 and names[0] != _CATALOG):
        return None
    oids = _OIDS.get(names[-1])
    if oids is None or not _is_taken(names[-1], list(tree.typmods)):
        return None
    return oids[bool(tree.array_bounds)], len(names) == 1


def _is_taken(name: str, modifiers: list[Any]) -> bool:
    """Would every server take these modifiers?"""
    if not modifiers:
        return True
    values = []
    for node in modifiers:
        constant = node.a_const
        if node.WhichOneof("node") != "a_const" or constant.WhichOneof("val") != "ival":
            return False
        values.append(constant.ival.ival)
    if name in _LENGTHS:
        return len(values) == 1 and 1 <= values[0] <= _LENGTHS[name]
    if name == "numeric":
        return 1 <= values[0] <= _DIGITS and (len(values) == 1 or (len(values) == 2 and 0 <= values[1] <= values[0]))
    return name in _FRACTIONS and len(values) == 1 and 0 <= values[0] <= 6
