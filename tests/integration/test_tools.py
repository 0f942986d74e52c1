"""PostgreSQL's own clients: psql, pgbench, pg_dump and pg_restore."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.target import Target


pytestmark = pytest.mark.parametrize("target", ["direct", "forebay", "rotating"], indirect=True)


def run(target: Target, program: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program of the wheel against the target; its own status is checked by the caller."""
    env = {
        "PATH": os.defpath,
        "PGHOST": target.host,
        "PGPORT": str(target.port),
        "PGUSER": target.user,
        "PGPASSWORD": target.password,
        "PGDATABASE": target.database,
        "PGSSLMODE": "disable",
        "LC_ALL": "C.UTF-8",
    }
    return subprocess.run(
        [program, *arguments], input=stdin, env=env, capture_output=True, text=True, timeout=100, check=False
    )


def test_psql_session(target: Target) -> None:
    """A script with everything in it: variables, copies, cursors, errors, temporary tables, several statements."""
    script = """
\\set ON_ERROR_STOP 0
\\pset format unaligned
\\pset tuples_only on
CREATE TEMP TABLE script (a int, b text);
\\copy script FROM STDIN
1	one
2	two
\\.
COPY script TO STDOUT;
SELECT 1/0;
SELECT count(*) FROM script; SELECT max(b) FROM script;
BEGIN; DECLARE c CURSOR FOR SELECT a FROM script ORDER BY a; FETCH 1 FROM c; FETCH 1 FROM c; COMMIT;
SELECT 'bound ' || $1 \\bind 'value' \\g
SELECT a, b FROM script ORDER BY a \\gset row_
PREPARE p(int) AS SELECT $1 * 2; EXECUTE p(21); DEALLOCATE p;
SET TimeZone = 'Asia/Tokyo'; SHOW TimeZone;
SELECT 'last';
"""
    done = run(target, target.cluster.psql, "-X", "-q", stdin=script)
    assert done.returncode == 0, done.stderr
    expected = "1\tone\n2\ttwo\n2\ntwo\n1\n2\nbound value\n42\nAsia/Tokyo\nlast\n"
    assert done.stdout == expected
    assert "division by zero" in done.stderr
    assert "more than one row" in done.stderr


def test_psql_describes(target: Target) -> None:
    """The backslash commands ask the catalogs in ways that nobody else does."""
    commands = ("\\d", "\\dt+ pg_catalog.pg_class", "\\d pg_class", "\\df int4pl", "\\du", "\\l", "\\dn+", "\\conninfo")
    done = run(target, target.cluster.psql, "-X", *(f"-c{command}" for command in commands))
    assert done.returncode == 0, done.stderr
    assert "relfilenode" in done.stdout
    assert target.database in done.stdout


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_pgbench(target: Target, protocol: str) -> None:
    """The built-in transactions lose nothing: the sums over all tables agree."""
    pgbench = target.cluster.pgbench
    assert run(target, pgbench, "-i", "-s", "1", "-q").returncode == 0
    done = run(target, pgbench, "-n", "-M", protocol, "-c", "8", "-j", "2", "-t", "60")
    assert done.returncode == 0, done.stderr
    assert "number of transactions actually processed: 480/480" in done.stdout
    assert "number of failed transactions: 0" in done.stdout
    sums = target.cluster.execute(
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),"
        " (SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history),"
        " (SELECT count(*) FROM pgbench_history)",
        database=target.database,
    )[0]
    assert len(set(sums[:4])) == 1
    assert sums[4] == 480


def test_pgbench_pipelines(target: Target, tmp_path: Path) -> None:
    """\\startpipeline sends everything before it reads anything."""
    script = tmp_path / "pipeline.sql"
    one = "SELECT :client_id AS a;\n"
    script.write_text(
        "\\startpipeline\nBEGIN;\n" + one * 20 + "COMMIT;\n\\syncpipeline\n" + one * 5 + "\\endpipeline\n"
    )
    for protocol in ("extended", "prepared"):
        done = run(target, target.cluster.pgbench, "-n", "-M", protocol, "-c", "10", "-t", "20", "-f", str(script))
        assert done.returncode == 0, done.stderr
        assert "actually processed: 200/200" in done.stdout


def test_dump_and_restore(target: Target, tmp_path: Path) -> None:
    """pg_dump runs in one REPEATABLE READ transaction with many settings; the copy equals the original."""
    bin_directory = target.cluster.bin
    setup = "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT a, md5(a::text) FROM generate_series(1, 5000) a"
    assert run(target, target.cluster.psql, "-X", "-q", "-c", setup).returncode == 0
    dump = tmp_path / "dump"
    done = run(target, bin_directory / "pg_dump", "-Fc", "-t", "kept", "-f", str(dump))
    assert done.returncode == 0, done.stderr
    done = run(target, bin_directory / "pg_restore", "--clean", "-d", target.database, str(dump))
    assert done.returncode == 0, done.stderr
    rows = target.cluster.execute("SELECT count(*), max(md5) FROM kept", database=target.database)
    assert rows[0][0] == 5_000
