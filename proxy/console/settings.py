"""SHOW CONFIG: every key with its value in force and its default, and PgBouncer's names for the same things.

Values of keys that may hold a secret are never shown: a url without its password, others not at all.
Durations are seconds, sizes bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from proxy.config import needs_restart
from proxy.console.table import columns
from proxy.dsn import ServerUrl
from proxy.problems import is_secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

    from proxy.config import Config
    from proxy.console.table import Row
    from proxy.console.view import View

CONFIG = columns("key value default changeable")


def config(view: View) -> Iterator[Row]:
    """SHOW CONFIG."""
    current = view.config
    for key, value, field in _leaves("", current):
        default = field.get_default(call_default_factory=False)
        shown = "" if default is PydanticUndefined else _shown(default, field)
        yield (key, _shown(value, field), shown, "no" if needs_restart(key) else "yes")
    for name, value in _aliases(current).items():
        yield (name, _plain(value), None, "yes")


def _leaves(prefix: str, model: BaseModel) -> Iterator[tuple[str, Any, FieldInfo]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _leaves(f"{prefix}{name}.", value)
        elif isinstance(value, dict):
            for key, entry in value.items():
                yield from _leaves(f"{prefix}{name}.{key}.", entry)
        else:
            yield f"{prefix}{name}", value, field


def _shown(value: object, field: FieldInfo) -> str:
    if isinstance(value, ServerUrl):
        return str(value)  # leaves the password out
    return ("(not shown)" if value else "") if is_secret(field) else _plain(value)


def _plain(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _aliases(config: Config) -> dict[str, object]:
    """What PgBouncer's exporters and scripts ask for by its names."""
    pool, limits, timeouts = config.pool, config.limits, config.timeouts
    return {
        "max_client_conn": limits.clients,
        "max_db_client_connections": limits.clients_per_database,
        "max_user_client_connections": limits.clients_per_user,
        "max_db_connections": 0,
        "max_user_connections": 0,
        "default_pool_size": pool.size,
        "min_pool_size": pool.min_size,
        "reserve_pool_size": pool.reserve_size,
        "reserve_pool_timeout": pool.reserve_timeout,
        "pool_mode": pool.mode,
        "server_lifetime": pool.lifetime,
        "server_idle_timeout": pool.idle_timeout,
        "server_connect_timeout": pool.connect_timeout,
        "server_check_delay": pool.check_after_idle,
        "query_wait_timeout": pool.queue_timeout,
        "cancel_wait_timeout": pool.cancel_timeout,
        "query_timeout": timeouts.query,
        "client_idle_timeout": timeouts.client_idle,
        "client_login_timeout": timeouts.login,
        "idle_transaction_timeout": timeouts.idle_in_transaction,
        "auth_type": config.auth.method,
    }
