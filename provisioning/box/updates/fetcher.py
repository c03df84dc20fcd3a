"""Read a release repository: over HTTPS with this site's CA, or from a folder (a USB stick).

TLS only keeps onlookers out: what is read is believed for its signatures (`client`). So that a
mirror cannot tie a box up, nothing is redirected, decompressed, or waited for without end.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

import httpx
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    SlowRetrievalError,
)
from tuf.ngclient import FetcherInterface

from runtime.http import StreamingClient

_CHUNK = 1 << 18
_TIMEOUT_S = 30.0
PATIENCE_S = 60.0
MIN_BYTES_PER_S = 1024
"""Slower than this on average, after a minute, is taken for an attempt to hold the box up."""


class ReleaseFetcher(FetcherInterface):
    """Fetches what TUF asks for; each download is spooled to ``folder``, not to memory."""

    def __init__(self, folder: Path, context: ssl.SSLContext | None = None) -> None:
        """Prepare.

        Args:
            folder: where a download lies until its hash is checked.
            context: how to make TLS connections; None where there are none.
        """
        self._folder = folder
        self._client = StreamingClient(
            context,
            _TIMEOUT_S,
            least_per_s=MIN_BYTES_PER_S,
            patience_s=PATIENCE_S,
            headers={"User-Agent": "sealtrace-release"},
        )

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Yield the content at ``url``, at most ``max_length`` bytes of it.

        Raises:
            DownloadError: it cannot be had, or is longer.
        """
        received = 0
        with tempfile.TemporaryFile(dir=self._folder) as spool:
            for chunk in self.fetch(url):
                received += len(chunk)
                if received > max_length:
                    raise DownloadLengthMismatchError(
                        f"{url} goes on after {max_length} bytes, the most it may have"
                    )
                spool.write(chunk)
            spool.seek(0)
            yield spool

    def _fetch(self, url: str) -> Iterator[bytes]:
        return _from_folder(url) if urlsplit(url).scheme == "file" else self._from_server(url)

    def _from_server(self, url: str) -> Iterator[bytes]:
        try:
            with self._client.stream("GET", url) as response:
                if response.status_code != httpx.codes.OK:
                    raise DownloadHTTPError(
                        f"{url}: the server answered {response.status_code}", response.status_code
                    )
                yield from response.iter_raw()
        except httpx.TimeoutException as error:
            raise SlowRetrievalError(f"{url}: {error or type(error).__name__}") from error
        except (httpx.HTTPError, ssl.SSLError, OSError) as error:
            raise DownloadError(f"{url}: {error or type(error).__name__}") from error


def _from_folder(url: str) -> Iterator[bytes]:
    path = Path(unquote(urlsplit(url).path))
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except FileNotFoundError as error:
        raise DownloadHTTPError(f"{path} does not exist", 404) from error
    except OSError as error:
        raise DownloadError(f"{path}: {error.strerror}") from error
