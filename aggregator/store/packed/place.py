"""Where the files of packed segments are: a folder, or a bucket of any S3, by one library."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, S3Store

from protocol.textformats import parse_toml
from runtime.database import StorageError, StorageFull

S3 = "s3"
_CONNECT_S, _REQUEST_S, _RETRY_S = 5, 60, 15
_TRIES_AGAIN = 3
_CHUNK_BYTES = 1 << 20
_MAX_CREDENTIALS_BYTES = 64 * 1024
_KEYS = ("access_key_id", "secret_access_key", "session_token")


@dataclass(frozen=True, slots=True)
class ObjectsPlace:
    """Says where packed segments are; can be pickled, and holds no secret.

    Args:
        url: a folder's absolute path, or ``s3://bucket/prefix``.
        endpoint: of an S3 that is not Amazon's, ``https://host:port``.
        region: of the bucket.
        credentials: a TOML file with ``access_key_id`` and ``secret_access_key``; None: what the
            environment or the machine's role gives.
    """

    url: str
    endpoint: str = ""
    region: str = "us-east-1"
    credentials: Path | None = None

    @property
    def folder(self) -> Path | None:
        """The folder; None when it is an S3."""
        return None if self.url.startswith(f"{S3}://") else Path(self.url)

    def open(self) -> Objects:
        """Return the place; nothing of it is touched before it is used."""
        return Objects(self)


def require_objects_url(url: str) -> str:
    """Return ``url`` if it is empty, a folder, or ``s3://bucket/prefix`` without credentials.

    Raises:
        ValueError: it is none of them.
    """
    if "://" not in url:
        return url
    parts = urlsplit(url)
    if parts.scheme != S3 or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("it must be a folder, or look like s3://bucket/prefix")
    if parts.username or parts.password:
        raise ValueError("it carries credentials; put them into a file, named as credentials")
    return url


def require_endpoint(url: str) -> str:
    """Return ``url`` if it is empty or an address to which nothing goes in the clear.

    Raises:
        ValueError: it is none, or HTTP without TLS to another machine.
    """
    if not url:
        return url
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        raise ValueError("it must look like https://host:port")
    if parts.scheme == "http" and not _is_here(parts.hostname):
        raise ValueError("without TLS only an S3 on this machine may be used: https://host:port")
    return url


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Objects:
    """Files by name, in an opened place; safe to use from several threads. Raises StorageError."""

    def __init__(self, place: ObjectsPlace) -> None:
        self.place = place
        self._opened: LocalStore | S3Store | None = None

    def name_of(self, path: str) -> str:
        """Return what a file is called in messages."""
        return f"{self.place.url}/{path}"

    def put(self, path: str, data: bytes) -> None:
        """Write a file under a temporary name, put it in its place, have it survive a power cut."""
        with _about(self.name_of(path)):
            obstore.put(self._store, path, data, use_multipart=False)
            if self.place.folder is not None:
                _make_durable(self.place.folder, path)

    def get(self, path: str, *, most: int) -> memoryview | None:
        """Return a file; None when there is none of that name.

        Args:
            most: how many bytes it may have: of a larger one the first ``most + 1`` are given.
        """
        folder = self.place.folder
        with _about(self.name_of(path)):
            try:
                if folder is not None:  # without the library's threads: of a city there are many
                    with os.fdopen(open_plain(folder / path), "rb") as file:
                        size = min(os.fstat(file.fileno()).st_size, most)
                        return memoryview(file.read(size + 1))
                found = obstore.get(self._store, path)
                if found.meta["size"] <= most:
                    return memoryview(found.bytes())
                return _begins(found, most + 1)
            except (NotFoundError, FileNotFoundError) as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def delete(self, paths: Sequence[str]) -> None:
        """Delete files, those that are there."""
        for path in paths:
            with _about(self.name_of(path)):
                try:
                    obstore.delete(self._store, path)
                except (NotFoundError, FileNotFoundError):
                    continue

    def folders(self) -> list[str]:
        """Return the names of the folders at the top: days."""
        with _about(self.place.url):
            found = obstore.list_with_delimiter(self._store)
            return [prefix.rstrip("/") for prefix in found["common_prefixes"]]

    @property
    def _store(self) -> LocalStore | S3Store:
        """The library's own; a folder is made when it is missing."""
        if self._opened is None:
            folder = self.place.folder
            if folder is None:
                self._opened = _s3(self.place)
            else:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._opened = LocalStore(folder, automatic_cleanup=True)
        return self._opened

    def delete_folder(self, name: str) -> None:
        """Delete all that is in a folder, what a killed writer left there, too."""
        with _about(self.name_of(name)):
            if self.place.folder is not None:
                shutil.rmtree(self.place.folder / name)
                return
            for listed in obstore.list(self._store, f"{name}/"):
                self.delete([one["path"] for one in listed])


def open_plain(path: Path) -> int:
    """Open a file of a folder for reading; a pipe is not waited for.

    Raises:
        FileNotFoundError: there is none of that name, or what has it is no file.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _begins(found: obstore.GetResult, size: int) -> memoryview:
    """Return the first bytes of a file, and leave the others where they are."""
    read = bytearray()
    for chunk in found.stream(min_chunk_size=_CHUNK_BYTES):
        read += chunk
        if len(read) >= size:
            break
    return memoryview(read)[:size]


def _make_durable(folder: Path, path: str) -> None:
    """Have a file of a folder survive a power cut, and the folders that lead to it."""
    file = folder / path
    for place in (file, *(above for above in file.parents if above.is_relative_to(folder))):
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if place == file:
                os.fchmod(descriptor, 0o600)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _about(what: str) -> Iterator[None]:
    """Turn a library's error into a StorageError about ``what``; no credential stands in any."""
    try:
        yield
    except (BaseError, OSError) as error:
        said = " ".join(str(error).split())
        if getattr(error, "errno", None) == 28 or "No space left" in said:
            raise StorageFull(
                f"no room left to write {what}; free space there, then it goes on"
            ) from None
        raise StorageError(
            f"cannot use {what}: {said[:300]}; check that it is reachable, that its address and "
            "credentials are right, and what this account may do there"
        ) from None


def _s3(place: ObjectsPlace) -> S3Store:
    parts = urlsplit(place.url)
    options: dict[str, Any] = {"region": place.region} | _credentials(place.credentials)
    if place.endpoint:
        options["endpoint"] = place.endpoint
    return S3Store(
        parts.hostname,
        prefix=parts.path.strip("/") or None,
        client_options={
            "allow_http": place.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=_CONNECT_S),
            "timeout": timedelta(seconds=_REQUEST_S),
        },
        retry_config={
            "max_retries": _TRIES_AGAIN,
            "retry_timeout": timedelta(seconds=_RETRY_S),
        },
        **options,
    )


def _credentials(path: Path | None) -> dict[str, str]:
    """Read the file of credentials.

    Raises:
        StorageError: it is missing, open to others, or malformed; nothing of it is told.
    """
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise StorageError(f"others can read {path}: chmod 600 {path}")
            found = parse_toml(file.read(_MAX_CREDENTIALS_BYTES).decode())
    except (OSError, ValueError) as error:  # what is not UTF-8 or not TOML is a ValueError
        what = error.strerror if isinstance(error, OSError) else "it is no TOML"
        raise StorageError(f"cannot read the credentials in {path}: {what}") from None
    known = {key: found.get(key) for key in _KEYS if key in found}
    if not set(_KEYS[:2]) <= set(known) or not all(
        isinstance(value, str) and value for value in known.values()
    ):
        raise StorageError(
            f'{path} must have lines access_key_id = "..." and secret_access_key = "..."'
        )
    return {key: str(value) for key, value in known.items()}
