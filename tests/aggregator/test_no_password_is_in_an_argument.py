"""What all accounts of a machine read, arguments of programs, holds no password of the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.store.place import StorePlace
from aggregator.store.postgresql import dumping
from runtime.database import StorageError


def test_a_key_files_password_is_refused_before_any_program_gets_it(tmp_path: Path) -> None:
    url = "postgresql://u:secret@localhost/d?sslpassword=hidden"
    with pytest.raises(StorageError, match="sslpassword"):
        dumping._told(StorePlace(tmp_path / "ledger.db", url=url))
    told = dumping._told(StorePlace(tmp_path / "ledger.db", url=url.partition("?")[0]))
    assert "secret" not in told
