"""Check that a custodian's files fit together, without starting it (`serve --check`)."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

from custodian.config import CustodianConfig
from custodian.custodian import read_identity
from custodian.store import Store
from custodian.trust import Trust
from runtime.tls import server_context


def check_installed(settings: CustodianConfig, passphrase: bytes) -> None:
    """Open what the configuration names, and judge it as the service would.

    Raises:
        OperationError: something is not as it should be.
    """
    key = read_identity(settings.identity, settings.name, passphrase)
    server_context(settings.tls)
    if settings.database.exists():
        with closing(Store(settings.database)) as store:
            Trust(settings, store, key.verify_key)
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Store(Path(folder) / "check.db")) as store,
    ):
        Trust(settings, store, key.verify_key)
