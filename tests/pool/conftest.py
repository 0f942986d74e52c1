"""Certificates, and a server that has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pool.connecting import BindingServer
from tests.support.certificates import Certificates, make_certificates
from tests.support.listener import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


@pytest.fixture
def authority(certificates: Certificates) -> str:
    return str(certificates.authority)


@pytest.fixture
async def binding_server(certificates: Certificates) -> AsyncIterator[tuple[BindingServer, int]]:
    server = BindingServer(certificates)
    async with listening(server.serve) as port:
        yield server, port
