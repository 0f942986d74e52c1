from __future__ import annotations

from pathlib import Path

import pytest

from proxy.reference import reference
from proxy.sections import Config, Database

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_page_in_the_repository_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == reference(), "run `make docs`"


@pytest.mark.parametrize("name", ["pool", "timeouts", "limits", "auth", "tls", "cache", "stats", "log"])
def test_every_key_of_every_section_is_described(name: str) -> None:
    fields = type(getattr(Config(), name)).model_fields
    part = reference().split(f"\n## [{name}]\n")[1].split("\n## ")[0]
    for key, field in fields.items():
        assert field.description, f"{name}.{key} has no description"
        assert f"| `{key}`" in part


def test_databases_are_described() -> None:
    part = reference().split("\n## [databases.NAME]\n")[1].split("\n## ")[0]
    assert all(f"| `{key}`" in part and field.description for key, field in Database.model_fields.items())


def test_defaults_are_written_as_one_would_write_them() -> None:
    page = reference()
    assert '| `ttl` *restart* | `"1m"` |' in page
    assert '| `memory` *restart* | `"128MiB"` |' in page
    assert '| `listen` *restart* | `"127.0.0.1:6432"` |' in page
    assert "| a duration |" in page
