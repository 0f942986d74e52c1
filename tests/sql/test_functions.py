"""Which functions are quiet, by their labels and sources."""

from __future__ import annotations

from sql.functions import Function, honest_functions, quiet_functions


def _function(
    oid: int, name: str, source: str, volatility: str = "s", parts: tuple[int, ...] = (), **more: str
) -> Function:
    values = {"kind": "f", "language": "sql", "library": ""} | more
    return Function(oid, name, volatility, values["kind"], values["language"], source, values["library"], parts, False)


def _quiet(*functions: Function, unnamed: tuple[int, ...] = ()) -> set[int]:
    return set(quiet_functions(functions, ["nextval", "set_config"], unnamed))


def test_a_reader_is_quiet() -> None:
    assert _quiet(_function(1, "f", "select count(*) from t")) == {1}


def test_what_names_something_volatile_is_not() -> None:
    assert _quiet(_function(1, "f", "select set_config('a', 'b', false)")) == set()
    assert _quiet(_function(1, "f", "select w()"), _function(2, "W", "delete from t", "v")) == set()


def test_noise_spreads_through_callers() -> None:
    chain = [_function(n, f"link{n}_", f"select link{n + 1}_()") for n in range(5)]
    assert _quiet(*chain, _function(9, "other", "select 1")) == {0, 1, 2, 3, 4, 9}
    assert _quiet(*chain, _function(5, "link5_", "delete from t", "v"), _function(9, "o", "select 1")) == {9}


def test_dynamic_sql_and_hidden_bodies_are_not() -> None:
    assert _quiet(_function(1, "f", "begin execute x; end", language="plpgsql")) == set()
    assert _quiet(_function(1, "f", 'select u&"\\0077"()')) == set()
    assert _quiet(_function(1, "f", "")) == set()


def test_languages_and_kinds() -> None:
    assert _quiet(_function(1, "f", "pass", language="plpython3u")) == set()
    assert _quiet(_function(1, "f", "", "i", language="c")) == {1}
    assert _quiet(_function(1, "f", "", "s", language="c")) == set()
    assert _quiet(_function(1, "f", "", "v", language="c", library="$libdir/uuid-ossp")) == {1}
    assert _quiet(_function(1, "f", "", "v", language="c", library="$libdir/dblink")) == set()


def test_an_aggregate_is_what_it_is_made_of() -> None:
    compiled = _function(1, "step", "", "i", language="c")
    loud = _function(2, "loud", "", "v", language="c")
    assert _quiet(compiled, _function(3, "a", "", "i", (1,), kind="a", language="internal")) == {1, 3}
    assert _quiet(compiled, loud, _function(3, "a", "", "i", (1, 2), kind="a", language="internal")) == {1}
    assert honest_functions([compiled, loud, _function(3, "a", "", "i", (1,), kind="a")]) == {1, 3}


def test_code_that_runs_without_its_name_makes_all_sources_suspect() -> None:
    functions = (
        _function(1, "f", "select 1"),
        _function(2, "w", "delete", "v"),
        _function(3, "c", "", "i", language="c"),
    )
    assert _quiet(*functions) == {1, 3}
    assert _quiet(*functions, unnamed=(2,)) == {3}
