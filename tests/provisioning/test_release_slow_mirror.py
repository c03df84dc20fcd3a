"""A mirror that drips holds no box up, whatever it drips."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from dripping import dripping
from tuf.api.exceptions import DownloadError, DownloadLengthMismatchError

import provisioning.box.updates.fetcher
from provisioning.box.updates.fetcher import ReleaseFetcher


@pytest.mark.slow
@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 OK\r\nx: ",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;",
    ],
    ids=["headers", "body", "parts"],
)
def test_a_download_that_drips_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    monkeypatch.setattr(provisioning.box.updates.fetcher, "PATIENCE_S", 0.5)
    fetcher = ReleaseFetcher(tmp_path)
    with dripping(begin) as port:
        began_s = time.monotonic()
        with (
            pytest.raises(DownloadError, match="bytes in"),
            fetcher.download_file(f"http://127.0.0.1:{port}/a", 1 << 20),
        ):
            pass
        assert time.monotonic() - began_s < 15
    fetcher.close()


def test_a_download_that_goes_on_is_not_spooled(tmp_path: Path) -> None:
    fetcher = ReleaseFetcher(tmp_path)
    with (
        dripping(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(200_000)) as port,
        pytest.raises(DownloadLengthMismatchError),
        fetcher.download_file(f"http://127.0.0.1:{port}/a", 100_000),
    ):
        pass
    fetcher.close()
