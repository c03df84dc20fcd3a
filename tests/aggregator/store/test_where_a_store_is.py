"""Where the store is, is said in one line; what would give it away is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from aggregator.config import AggregatorConfig
from aggregator.store import StorePlace, open_store
from aggregator.store.postgresql.address import parameters
from runtime.config import ConfigError, parse
from runtime.database import StorageError

_BASE = {"site": "demo", "authority": "58" + "66" * 31}


def config(folder: Path, **store: str) -> AggregatorConfig:
    return parse({**_BASE, "store": store}, AggregatorConfig, source="t", folder=folder)


def test_without_a_url_it_is_the_file_and_with_one_the_server(tmp_path: Path) -> None:
    place = config(tmp_path).store_place
    assert (place.url, place.name) == ("", str(tmp_path / "state" / "aggregator.db"))
    url = "postgresql://sealtrace@db.example/site"
    place = config(tmp_path, url=url, password_file="db.secret").store_place
    assert (place.name, place.password_file) == (url, tmp_path / "db.secret")
    assert pickle.loads(pickle.dumps(place)) == place  # noqa: S301 - our own


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://u:secret@h/d", "password_file"),
        ("postgresql://u@h/d?password=secret", "password_file"),
        ("mysql://u@h/d", "postgresql://"),
        ("postgresql://u@h", "postgresql://"),
        ("postgresql://[h/d", "no URL"),
    ],
)
def test_a_url_with_a_password_or_of_something_else_is_refused(
    tmp_path: Path, url: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=why) as refused:
        config(tmp_path, url=url)
    assert "secret" not in str(refused.value)


def test_a_server_elsewhere_must_prove_who_it_is(tmp_path: Path) -> None:
    here = parameters(StorePlace(tmp_path / "a.db", "postgresql://u@localhost/d"))
    assert "sslmode" not in here
    assert parameters(StorePlace(tmp_path / "a.db", "postgresql://u@/d"))["host"].startswith("/")
    there = parameters(StorePlace(tmp_path / "a.db", "postgresql://u@db.example/d"))
    assert there["sslmode"] == "verify-full"
    for weak in ("disable", "prefer", "require", "verify-ca"):
        for host in ("db.example", "localhost,db.example"):
            with pytest.raises(StorageError, match="verify-full"):
                parameters(StorePlace(tmp_path, f"postgresql://u@{host}/d?sslmode={weak}"))
    with pytest.raises(StorageError, match="verify-full"):
        parameters(
            StorePlace(tmp_path, "postgresql://u@localhost/d?hostaddr=10.0.0.1&sslmode=allow")
        )
    with pytest.raises(StorageError, match="service"):
        parameters(StorePlace(tmp_path, "postgresql://u@localhost/d?service=other"))


def test_a_password_comes_from_a_file_that_only_we_may_read(tmp_path: Path) -> None:
    file = tmp_path / "db.secret"
    place = StorePlace(tmp_path / "a.db", "postgresql://u@localhost/d", file)
    with pytest.raises(StorageError, match="password_file"):
        parameters(place)
    file.write_text("pass word\n")
    file.chmod(0o640)
    with pytest.raises(StorageError, match="chmod 600"):
        parameters(place)
    file.chmod(0o600)
    assert parameters(place)["password"] == "pass word"
    assert "pass word" not in repr(place)


def test_a_path_is_a_file_of_the_embedded_backend(tmp_path: Path) -> None:
    store = open_store(tmp_path / "aggregator.db")
    store.close()
    assert (tmp_path / "aggregator.db").exists()
