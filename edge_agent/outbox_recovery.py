"""Open a box's outbox whatever has become of its file, so that the box goes on."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

import structlog

from edge_agent.outbox import Outbox
from edge_agent.outbox_salvage import salvage
from edge_agent.outbox_store import Store
from runtime.database import StorageDamaged, forget_damage

_log = structlog.get_logger()


def open_outbox(path: Path, *, max_bytes: int, memory_bytes: int) -> Outbox:
    """Open the outbox; a damaged file is put aside and a new one begun, so that the box goes on.

    What can be read of the damaged one is in the new one, under the same numbers; beyond it, the
    new one begins where the aggregator's receipts say that the old one was.

    Raises:
        StorageError: it cannot be opened for another reason (permissions, a newer version).
    """
    mark = _mark_of(path)
    try:
        if mark.exists():
            raise StorageDamaged.of(path, "this was found when it was last read through")
        return Outbox(path, max_bytes=max_bytes, memory_bytes=memory_bytes)
    except StorageDamaged as error:
        aside = path.with_name(f"{path.name}.damaged-{time.time_ns() // 1_000_000}")
        _log.critical("outbox_damaged", reason=str(error), put_aside=str(aside))
        for suffix in ("-wal", "-shm", ""):  # what the log holds belongs to the file
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        forget_damage(path)
        mark.unlink(missing_ok=True)
    with contextlib.closing(Store(path, max_bytes=sys.maxsize)) as store:
        saved = salvage(aside, store)
    _log.critical("outbox_salvaged", messages=saved, kept=str(aside))
    outbox = Outbox(path, max_bytes=max_bytes, memory_bytes=memory_bytes)
    outbox.count("outboxes_damaged")
    outbox.count("salvaged_messages", saved)
    return outbox


def mark_damaged(path: Path) -> None:
    """Have the next `open_outbox` put the file aside; it goes on being used until then."""
    with contextlib.suppress(OSError):
        _mark_of(path).touch(mode=0o600)


def _mark_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.spoilt")
