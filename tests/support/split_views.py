"""A log with two histories, each cosigned, with real keys, by those to whom it was shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import protocol_samples as s

from protocol.audit import AuditorKey, LogCopy, audit
from protocol.auditlog import (
    Checkpoint,
    cosign,
    origin_of,
    root_of,
    seal_entry,
    sign_checkpoint,
)
from protocol.directory import AGGREGATOR, AUDITOR, CUSTODIAN, Directory
from protocol.findings import Report
from protocol.names import SLOT_MS

AUDITORS = {"eve": s.sealing_key("eve").public}
EVE = AuditorKey("eve", s.sealing_key("eve"))
LATE_MS = s.NOW_MS + 100 * SLOT_MS


def site_of(custodians: int, threshold: int) -> Directory:
    """Return the directory of a site with so many custodians, c1 and up."""
    listed = [
        *(s.principal(f"c{number + 1}", CUSTODIAN) for number in range(custodians)),
        s.principal("aggregator", AGGREGATOR),
        s.principal("eve", AUDITOR, seal_key=s.sealing_key("eve").public),
    ]
    return Directory(s.SITE, 1, s.NOW_MS, threshold, {p.name: p for p in listed})


def entry(actor: str, word: str) -> bytes:
    """Return an entry that says ``word``."""
    body = {"version": word}
    made = seal_entry(
        "started", body, time_ms=s.NOW_MS, actor=actor, query_id=None, auditors=AUDITORS
    )
    return made.to_bytes()


def cosigned(actor: str, entries: Sequence[bytes], witnesses: Iterable[str]) -> str:
    """Return the checkpoint over ``entries`` under the log's signature and its witnesses'."""
    checkpoint = Checkpoint(origin_of(s.SITE, actor), len(entries), root_of(entries))
    lines = [
        cosign(
            checkpoint,
            witness=origin_of(s.SITE, name),
            key=s.signing_key(name),
            time_s=s.NOW_MS // 1000,
        )
        for name in witnesses
    ]
    return sign_checkpoint(checkpoint, s.signing_key(actor)) + "".join(lines)


class SplitLog:
    """The log of ``actor``: one beginning, then one entry in one view and another in the other."""

    def __init__(self, actor: str) -> None:
        self.actor = actor
        beginning = [entry(actor, "1")]
        self.views = tuple([*beginning, entry(actor, word)] for word in ("shown to one", "other"))

    def shown(self, view: int, witnesses: Iterable[str]) -> LogCopy:
        """Return the copy of whoever is shown a view that ``witnesses`` have cosigned."""
        entries = self.views[view]
        text = cosigned(self.actor, entries, witnesses)
        return LogCopy(origin_of(s.SITE, self.actor), tuple(entries), (text,))

    def says(self, view: int, witness: str) -> str:
        """Return what a witness that was shown a view says of it when it is asked."""
        return cosigned(self.actor, self.views[view], [witness])


def judged(directory: Directory, copy: LogCopy, **more: object) -> Report:
    """Audit one log long after it was written."""
    more.setdefault("now_ms", LATE_MS)
    return audit([copy], directory=directory, policies={}, auditor=EVE, **more)  # type: ignore[arg-type]
