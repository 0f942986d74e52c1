from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from pool.tls import SslMode, TlsError
from proxy.tls import NO_TLS, client_tls
from tests.support.certificates import Certificates, make_certificates

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


def test_modes(files: Certificates) -> None:
    cert, key, ca = str(files.certificate), str(files.key), str(files.authority)
    assert client_tls("disable", cert, key, None) == NO_TLS
    assert client_tls("prefer", "", "", "") == NO_TLS
    for mode in SslMode:
        if mode is SslMode.DISABLE:
            continue
        made = client_tls(mode.value, cert, key, ca)
        assert made.mode is mode
        assert made.context is not None
        assert (made.context.verify_mode is ssl.CERT_REQUIRED) == mode.verifies
        assert made.endpoint is not None
        without = client_tls(mode.value, cert, key, None) if not mode.verifies else made
        assert without.context is not None
        assert (without.context.verify_mode is ssl.CERT_NONE) == (not mode.verifies)
        assert made.context.verify_mode is not ssl.CERT_NONE


def test_settings_and_files_that_do_not_do(files: Certificates, tmp_path: Path) -> None:
    cert, key = str(files.certificate), str(files.key)
    noise = tmp_path / "noise"
    noise.write_text("noise")
    for arguments, setting in (
        (("require", None, None, None), "tls.cert"),
        (("verify-ca", cert, key, None), "tls.client_ca"),
        (("verify-ca", cert, key, str(noise)), "tls.client_ca"),
        (("prefer", cert, str(files.client_key), None), "tls.cert"),
        (("prefer", str(noise), key, None), "tls.cert"),
        (("prefer", "/nonexistent", key, None), "tls.cert"),
    ):
        with pytest.raises(TlsError) as caught:
            client_tls(*arguments)
        assert caught.value.setting == setting
