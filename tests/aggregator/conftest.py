"""For tests of the aggregator."""

from __future__ import annotations

import pytest


@pytest.fixture
def the_machines_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a library find the machine's certificates, which quick tests are kept from."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
