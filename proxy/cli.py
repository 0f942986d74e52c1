"""The command line: `forebay serve`, `check`, `top`, `import-pgbouncer`, `demo`.

An operator's mistake ends in one line for each thing that is wrong and exit 2; what fails at run time in one
line and exit 1. A traceback is a bug of ours. Values of options are read by the same rules as the file's, so
they stay texts here.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy import logs
from proxy.config import Config, ConfigError, load
from proxy.version import VERSION, compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BUILD = " (compiled)" if compiled() else ""
OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="forebay", message=f"%(prog)s %(version)s{_BUILD}")
def cli() -> None:
    """A PostgreSQL proxy: pooling, a query cache that is never wrong, and a clock on every query."""


def _configured(command: Callable[..., int]) -> Callable[..., int]:
    """The argument and the options that say what the configuration is."""
    for option in reversed(
        [
            click.argument("config", required=False, type=click.Path(path_type=Path)),
            click.option("--url", help="The server: postgresql://user:password@host:port/database."),
            click.option("--listen", metavar="HOST:PORT", help="Where clients connect."),
            click.option("--http", metavar="HOST:PORT", help='Metrics, health and the page; "" = off.'),
            click.option("--redis", metavar="URL", help="The store shared by several instances."),
            click.option("--workers", metavar="N", help="Processes."),
            click.option("--pool-size", metavar="N", help="Server connections of one pool."),
            click.option("--pool-mode", metavar="MODE", help="transaction, session or statement."),
            click.option("--cache", metavar="MODE", help="auto, hinted or off."),
            click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any key, dotted."),
        ]
    ):
        command = option(command)
    return command


@cli.command()
@_configured
def serve(config: Path | None, settings: tuple[str, ...], **options: str | None) -> int:
    """Run the proxy until it is told to stop; SIGHUP reads the configuration again."""
    reload = _loader(config, settings, options)
    first = reload()
    logs.setup(first.log.level, first.log.format)
    from proxy.app import run  # what only this command needs stays out of the others

    try:
        return run(first, reload)
    except OSError as error:
        raise click.ClickException(error.strerror or str(error)) from error


@cli.command()
@_configured
def check(config: Path | None, settings: tuple[str, ...], **options: str | None) -> int:
    """Say whether the configuration is right and its servers answer, and what is promised."""
    from proxy import check as checking

    return asyncio.run(checking.run(_loader(config, settings, options)(), click.echo))


@cli.command()
@click.argument("url", default="http://127.0.0.1:9432")
@click.option("--interval", type=click.FloatRange(0.1, 3600), default=1.0, help="Seconds between two looks.")
@click.option("--once", is_flag=True, help="Print the state once and end.")
def top(url: str, interval: float, once: bool) -> int:
    """Show the state of a running Forebay, asked for at its http address."""
    from proxy import top as view

    return view.run(url, interval, once)


@cli.command("import-pgbouncer")
@click.argument("ini", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The new file; default: standard output.")
def import_pgbouncer(ini: Path, output: Path | None) -> int:
    """Write a PgBouncer configuration as one of Forebay, and name what has no equivalent."""
    from proxy.pgbouncer import main as importing

    return importing.run(ini, output, click.echo, lambda line: click.echo(f"forebay: {logs.escape(line)}", err=True))


@cli.command()
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="End after so long; default: Ctrl-C.")
@click.option("--no-view", is_flag=True, help="No live page in the terminal.")
def demo(seconds: float | None, no_view: bool) -> int:
    """Show it: a PostgreSQL with a shop, Forebay in front of it, customers, and what they see."""
    from proxy.demo import main as show

    return show.run(seconds, not no_view)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its status."""
    sys.exit(status_of(arguments))


def status_of(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; every error of the operator is told in lines, never in a traceback."""
    try:
        answer: Any = cli.main(args=arguments, prog_name="forebay", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.ClickException as error:
        return _complain(error.format_message(), error.exit_code)
    except ConfigError as error:
        return _complain(str(error), USAGE)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone. Keep the interpreter from complaining again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return answer if isinstance(answer, int) else OK


def _complain(text: str, status: int) -> int:
    for line in text.splitlines():
        click.echo(f"forebay: {logs.escape(line)}", err=True)
    return status


def _loader(path: Path | None, settings: Sequence[str], options: dict[str, str | None]) -> Callable[[], Config]:
    """What reads the configuration now, and again at each reload."""
    names = {"pool_size": "pool.size", "pool_mode": "pool.mode", "cache": "cache.mode"}
    flags: dict[str, object] = {names.get(name, name): value for name, value in options.items()}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise click.UsageError("--set needs KEY=VALUE, such as --set pool.size=30")
        flags[key.strip()] = value
    return lambda: load(path, os.environ, flags)
