"""Tells a recording by its content, wherever it lies and however it is called."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from edge_agent.video.reasons import reason_of
from edge_agent.video.url import SourceError


def content_identity(path: Path) -> bytes:
    """Return the SHA-256 (32 bytes) of all that a file holds.

    It tells who has the same file that this is it: keep it with a key (HMAC), and on this machine.

    Raises:
        SourceError: it cannot be read, or is no regular file.
    """
    try:
        # No link, and no pipe on which this would wait for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as film:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise SourceError(f"{path} is not a file.")
            return hashlib.file_digest(film, "sha256").digest()
    except (OSError, ValueError) as error:
        raise SourceError(f"Video file {path} cannot be read: {reason_of(error)}.") from error
