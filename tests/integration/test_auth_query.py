"""Users whom only the server knows: they log in with what it keeps of them, and to it as themselves."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest

from proxy.sections import AUTH_QUERY
from tests.support.forebay import Forebay, forebay_before

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.postgres import Cluster

ASKER = "asker"
RULER = "ruler"
WRONG = "password authentication failed for user"

LOOKUP = """
CREATE SCHEMA own;
CREATE FUNCTION own.lookup(who text, OUT name text, OUT secret text) LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS
    $$SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END
        FROM pg_authid WHERE rolname = who AND rolcanlogin$$;
REVOKE ALL ON FUNCTION own.lookup FROM public;
GRANT USAGE ON SCHEMA own TO asker;
GRANT EXECUTE ON FUNCTION own.lookup TO asker;
CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT timestamptz ''-infinity''';
"""


@pytest.fixture(scope="module")
def database(postgres: Cluster) -> Iterator[str]:
    """A database with a look-up function, a trap in the schema public, and some users."""
    postgres.create_role(ASKER, "asking")
    postgres.create_role("alice", "wonder")
    postgres.create_role("bob", "builder")
    postgres.create_role("late", "old", "LOGIN VALID UNTIL '2001-01-01'")
    postgres.create_role("group", "many", "NOLOGIN")
    postgres.execute("SET password_encryption = md5; ALTER ROLE bob PASSWORD 'builder'")
    postgres.create_role(RULER, "ruling", "LOGIN SUPERUSER")
    postgres.execute(f"ALTER ROLE {RULER} SET search_path = public, pg_catalog")
    name = postgres.create_database()
    postgres.execute(LOOKUP, database=name)
    yield name
    postgres.drop_database(name)


@contextlib.contextmanager
def asking(postgres: Cluster, home: Path, *, method: str = "scram-sha-256", **auth: Any) -> Iterator[Forebay]:
    """A Forebay that knows nobody but the one who asks, whose url names no user."""
    file = home / "userlist.txt"
    file.write_text(f'"{ASKER}" "asking"\n"{RULER}" "ruling"\n')
    settings = {
        "method": method,
        "users_file": str(file),
        "query_user": ASKER,
        "query": "SELECT * FROM own.lookup($1)",
        "query_keep": 0,
        **auth,
    }
    with forebay_before(postgres, auth=settings, databases={"*": {"url": f"postgresql://{_at(postgres)}"}}) as started:
        yield started


def _at(postgres: Cluster) -> str:
    return f"{postgres.host}:{postgres.port}"


@pytest.fixture(scope="module")
def proxy(postgres: Cluster, database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forebay]:
    with asking(postgres, tmp_path_factory.mktemp("asking"), method="md5") as started:
        yield started


def who(proxy: Forebay, database: str, user: str, password: str, **options: str) -> Any:
    with psycopg.connect(proxy.dsn(database, user, password, **options)) as connection:
        row = connection.execute("SELECT current_user::text, session_user::text").fetchone()
        assert row is not None
        assert row[0] == row[1]
        return row[0]


def refusal(proxy: Forebay, database: str, user: str, password: str) -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        who(proxy, database, user, password)
    return str(caught.value).partition("FATAL:")[2].strip()


def test_users_of_the_server_get_in_as_themselves(proxy: Forebay, database: str) -> None:
    assert who(proxy, database, "alice", "wonder") == "alice"
    assert who(proxy, database, "alice", "wonder") == "alice"
    assert who(proxy, database, ASKER, "asking") == ASKER


async def test_asyncpg(proxy: Forebay, database: str) -> None:
    connection = await asyncpg.connect(proxy.dsn(database, "alice", "wonder"), timeout=30)
    assert await connection.fetchval("SELECT current_user::text") == "alice"
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(proxy.dsn(database, "alice", "guess"), timeout=30)


def test_nobody_looks_like_a_wrong_password(proxy: Forebay, database: str) -> None:
    for user, password in (
        ("alice", "guess"),
        ("nobody", "x"),
        ("late", "old"),
        ("group", "many"),
        ("robert'; --", "x"),
        ("n" * 64, "x"),
        ("n" * 63, "x"),
    ):
        assert refusal(proxy, database, user, password) == f'{WRONG} "{user}"'
    assert refusal(proxy, "nowhere_at_all", "alice", "guess") == f'{WRONG} "alice"'


def test_an_md5_secret_gets_in_here_but_not_where_the_server_wants_scram(proxy: Forebay, database: str) -> None:
    assert refusal(proxy, database, "bob", "guess") == f'{WRONG} "bob"'
    told = "the server asks for SCRAM, but the configured secret is not the password itself"
    assert refusal(proxy, database, "bob", "builder") == told


def test_a_password_in_clear_text_opens_the_server_too(postgres: Cluster, database: str, tmp_path: Path) -> None:
    with asking(postgres, tmp_path, method="password") as proxy:
        assert who(proxy, database, "alice", "wonder") == "alice"
        assert refusal(proxy, database, "alice", "guess") == f'{WRONG} "alice"'
        assert refusal(proxy, database, "late", "old") == f'{WRONG} "late"'


def test_a_new_password_counts_at_once(proxy: Forebay, postgres: Cluster, database: str) -> None:
    postgres.create_role("carol", "first")
    assert who(proxy, database, "carol", "first") == "carol"
    postgres.execute("ALTER ROLE carol PASSWORD 'second'")
    assert refusal(proxy, database, "carol", "first") == f'{WRONG} "carol"'
    assert who(proxy, database, "carol", "second") == "carol"
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'carol'")
    assert who(proxy, database, "carol", "second") == "carol"


def test_a_lost_connection_is_opened_again(proxy: Forebay, postgres: Cluster, database: str) -> None:
    assert who(proxy, database, "alice", "wonder") == "alice"
    gone = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'forebay auth_query'"
    assert postgres.execute(gone)[0][0] >= 1
    assert who(proxy, database, "alice", "wonder") == "alice"


def test_nothing_of_a_client_reaches_the_connection(proxy: Forebay, postgres: Cluster, database: str) -> None:
    options = {"options": "-c search_path=public -c statement_timeout=1", "application_name": "evil"}
    with contextlib.suppress(psycopg.Error):
        who(proxy, database, "alice", "wonder", **options)
    assert who(proxy, database, "alice", "wonder", application_name="x") == "alice"
    rows = postgres.execute(
        "SELECT DISTINCT usename::text FROM pg_stat_activity WHERE application_name = 'forebay auth_query'"
    )
    assert rows == [(ASKER,)]


def test_the_usual_query_asks_pg_catalog_and_nothing_in_its_place(
    postgres: Cluster, database: str, tmp_path: Path
) -> None:
    with asking(postgres, tmp_path, query_user=RULER, query=AUTH_QUERY) as proxy:
        assert who(proxy, database, "alice", "wonder") == "alice"
        # With public.now() in place of pg_catalog.now() this password would still be good.
        assert refusal(proxy, database, "late", "old") == f'{WRONG} "late"'


def test_answers_are_kept_and_a_wrong_password_asks_again(postgres: Cluster, database: str, tmp_path: Path) -> None:
    postgres.create_role("dora", "first")
    with asking(postgres, tmp_path, query_keep="1h") as proxy:
        assert who(proxy, database, "dora", "first") == "dora"
        postgres.execute("ALTER ROLE dora PASSWORD 'second'")
        assert who(proxy, database, "dora", "first") == "dora"  # its server connection stands
        assert refusal(proxy, database, "dora", "second") == f'{WRONG} "dora"'
        assert who(proxy, database, "dora", "second") == "dora"


@pytest.mark.parametrize(
    ("auth", "logged"),
    [
        ({"query": "SELECT nonsense($1)"}, "function nonsense(unknown) does not exist"),
        ({"query": "SELECT * FROM lookup($1)"}, "does not exist"),
        ({"query": "SELECT rolname FROM pg_roles WHERE rolname = $1"}, "at most one row, of a name and a secret"),
        ({"query": "SELECT 'asker', 'x' WHERE $1 <> ''"}, "of another user"),
        ({"query": "SELECT $1::text, 7"}, "not a text"),
        ({"query": "SELECT usename, 'x' FROM pg_user WHERE $1 <> ''"}, "at most one row"),
        ({"query": "SELECT $1::int, 'x'"}, "invalid input"),
        ({"query_user": "stranger"}, "authentication failed"),
    ],
    ids=str,
)
def test_what_fails_is_logged_and_refused(
    postgres: Cluster, database: str, tmp_path: Path, auth: dict[str, str], logged: str
) -> None:
    with asking(postgres, tmp_path, **auth) as proxy:
        for user in ("alice", "nobody"):
            assert refusal(proxy, database, user, "wonder") == "passwords cannot be looked up at the moment"
        assert logged in proxy.log()
        assert "wonder" not in proxy.log()


def test_a_query_that_hangs_holds_up_nobody_else(postgres: Cluster, database: str, tmp_path: Path) -> None:
    query = "SELECT n, s FROM own.lookup($1) AS f(n, s), LATERAL (SELECT pg_sleep(60) WHERE $1 = 'alice') AS z"
    with asking(postgres, tmp_path, query=query) as proxy:
        proxy.configure({"pool": {"connect_timeout": "1s"}})
        proxy.stop()
        proxy.start()
        proxy.wait_ready()
        assert refusal(proxy, database, "alice", "wonder") == "passwords cannot be looked up at the moment"
        assert who(proxy, database, ASKER, "asking") == ASKER
        assert "TimeoutError" in proxy.log()
