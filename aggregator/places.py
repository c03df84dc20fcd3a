"""The register of places at the aggregator: handed to officers, as it is the one that is named.

Nothing is read of it here: it counts by its SHA-256 alone, which the directory names.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from protocol.directory import Directory
from protocol.places import MAX_REGISTER_BYTES, open_places
from runtime.fsio import FileProblem, read_file, write_if_new

_log = structlog.get_logger()
_KEPT = "places.register"


class PlacesShelf:
    """Keeps the register that the directory names, and gives it to who asks.

    Args:
        installed: a copy that the site's authority brought with the directory; may be missing.
        state_dir: where a copy that somebody brings is kept.
        directory: gives the directory in force.
    """

    def __init__(
        self, installed: Path, state_dir: Path, directory: Callable[[], Directory]
    ) -> None:
        self._files = (state_dir / _KEPT, installed)
        self._directory = directory
        self._lock = threading.Lock()
        self._held: tuple[bytes, bytes] | None = None

    def current(self) -> bytes | None:
        """Return the register that the directory names; None where it is not here, or none is."""
        named = self._directory().places
        if named is None:
            return None
        with self._lock:
            if self._held is None or self._held[0] != named:
                self._held = self._read(named)
            return None if self._held is None else self._held[1]

    def take(self, data: bytes) -> bool:
        """Keep a register that somebody brought; tell whether it was not here yet.

        Raises:
            SignatureInvalid: the directory in force names another, or none.
            MalformedMessage: it is no register.
            FileProblem: it cannot be kept on disk.
        """
        if self.current() == data:
            return False
        places = open_places(data, self._directory())
        with self._lock:
            write_if_new(self._files[0], data)
            self._held = (places.digest, data)
        _log.info("places_accepted", cameras=len(places.cameras), digest=places.digest.hex())
        return True

    def _read(self, named: bytes) -> tuple[bytes, bytes] | None:
        for path in self._files:
            try:
                data = read_file(path, MAX_REGISTER_BYTES)
            except FileProblem:
                continue
            if hmac.compare_digest(hashlib.sha256(data).digest(), named):
                return named, data
        return None
