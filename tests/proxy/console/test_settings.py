from __future__ import annotations

from proxy.console.settings import config as rows
from tests.proxy.console.still import SECRET, SHOP, StillView, config


def shown(**keys: object) -> dict[str, tuple[str | None, ...]]:
    """SHOW CONFIG by key."""
    found = list(rows(StillView(config=config(**keys))))
    assert len({row[0] for row in found}) == len(found)
    return {str(row[0]): tuple(None if cell is None else str(cell) for cell in row[1:]) for row in found}


def test_values_defaults_and_what_a_reload_changes() -> None:
    found = shown(pool={"size": 33, "queue_timeout": "2m"}, auth={"stats_users": ["eve", "joe"]})
    assert found["pool.size"] == ("33", "20", "yes")
    assert found["pool.queue_timeout"] == ("120", "120", "yes")
    assert found["cache.memory"][:2] == (str(128 * 2**20), str(128 * 2**20))
    assert found["pool.rotate"] == ("false", "false", "yes")
    assert found["auth.stats_users"] == ("eve, joe", "", "yes")
    assert found["auth.admin_users"] == ("", "", "yes")
    assert found["workers"][2] == "no"
    assert found["listen"] == ("127.0.0.1:6432", "127.0.0.1:6432", "no")
    assert found["databases.shop.pool_size"][0] == "7"


def test_pgbouncers_names() -> None:
    found = shown(limits={"clients": 321})
    assert found["max_client_conn"][0] == "321"
    assert found["max_user_connections"][0] == "0"
    assert found["default_pool_size"][0] == "20"


def test_no_secret_is_shown() -> None:
    found = shown(url=SHOP)
    assert SECRET not in repr(found)
    expected = "postgresql://app@db.example:5433/shop_live?sslmode=disable"
    assert found["url"][0] == found["databases.shop.url"][0] == expected
