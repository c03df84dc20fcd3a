"""A query that found somebody on their way past five cameras, for the pages of results in tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import protocol_samples as s
from candidates import opened_candidate
from officer_site import PASSPHRASE, OfficerSite
from opened_rows import FIRST_ENTRY, RowsOf, opening_by

from officers import desk
from protocol.directory import Directory
from protocol.directory_forms import SECOND
from protocol.keytree import FOLLOWED
from protocol.names import SLOT_MS, SightingName, epoch_of, slot_of
from protocol.places import GLOBE, CameraPlace, Places, parse_places
from protocol.policy import sign_policy
from protocol.query import Asked
from protocol.results import Candidate
from protocol.sightings import MaskStatus
from protocol.v2.rows import SLOT_S
from protocol.v2.sightings import Encounter, MaskSpan, Row
from protocol.watching import NO_SEGMENT, Watching, tell_counts

CAMERAS = tuple(f"cam-{number}" for number in range(1, 6))
TWO_CONFIRM = (
    b'policy_schema = 2\nconfirmations = 2\nlive = true\ncontacts = "linked"\n'
    b"continuation = true\ncontinuation_minutes = 30\ncontinuation_cameras = 3\n"
    b"same_place_counts = true\nevidence_stills = 20\n"
    b'purposes = ["exercise"]\nenrolment_without_witness = true\n'
) + s.POLICY_TEXT
ONE_CONFIRMS = TWO_CONFIRM.replace(b"confirmations = 2", b"confirmations = 1")
READERS = ("ana", "dan")
MINUTE_MS = 60_000


def register(hostile: str = "") -> bytes:
    """Return the site's register of places; ``hostile`` stands in names that others write."""
    placed = (
        ("cam-1", f"City Hall{hostile}", "서울시청", (37.56637, 126.97794), "lobby"),
        ("cam-2", "Station, line 2", "시청역 2호선", (37.56495, 126.97722), None),
        ("cam-3", "Market", "남대문시장", (37.55927, 126.97763), None),
        ("cam-4", "Clinic", "중구보건소", (37.56345, 126.99702), f"ward 3{hostile}"),
        ("cam-5", "Library", "도서관", None, None),
    )
    cameras = {
        name: CameraPlace(name, place, position, {"ko": korean}, indoor=True, room=room)
        for name, place, korean, position, room in placed
    }
    walks = {("cam-1", "cam-2"): 360.0, ("cam-3", "cam-4"): 540.0, ("cam-2", "cam-3"): 480.0}
    return Places(b"", GLOBE, cameras, walks).to_bytes()


class TracedSite(OfficerSite):
    """The officers' site with five cameras and a register of places."""

    hostile = ""

    def _directory(self) -> Directory:
        base = super()._directory()
        principals = dict(base.principals)
        for name in CAMERAS:
            box = f"box-{name[-1]}"
            principals[box] = s.principal(box, "box", cameras=(name,))
        digest = parse_places(register(self.hostile)).digest
        return replace(base, principals=principals, form=SECOND, places=digest)

    def _write_site(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        signed = self.directory.sign(s.authority(), SECOND).to_bytes()
        (folder / "directory.cbor").write_bytes(signed)
        (folder / "policy.toml").write_bytes(self.policy)
        (folder / "policy.toml.sig").write_bytes(sign_policy(self.policy, s.authority()))
        (folder / "places.csv").write_bytes(register(self.hostile))

    def person(self, name: str) -> tuple[desk.Officer, desk.Keys]:
        """Return an officer, unlocked."""
        officer = desk.Officer.load(self.officer(name))
        return officer, desk.unlock(officer, PASSPHRASE.encode())


@dataclass
class TracedQuery:
    """A query of ana's that dan confirms, and what it has found so far."""

    site: OfficerSite
    id: str
    digest: bytes
    begins_ms: int
    readers: Sequence[str] = READERS
    custodians: tuple[RowsOf, ...] = ()
    found: int = 0
    rows: Mapping[int, SightingName] = field(default_factory=dict)

    def show(
        self,
        camera: str,
        from_s: float,
        to_s: float,
        *met: Encounter,
        score: float | None = 0.84,
        log10_lr: float | None = 5.6,
        mask: MaskStatus = MaskStatus.UNMASKED,
        episode: bytes | None = None,
        impossible: str | None = None,
        follows: int | None = None,
        quality: float = 0.8,
        masks: tuple[MaskSpan, ...] = (),
        clothes: bool = False,
    ) -> Candidate:
        """Have the query find a sighting, so many seconds after its window begins."""
        number = self.found = self.found + 1
        from_ms, to_ms = (self.begins_ms + round(at * 1000) for at in (from_s, to_s))
        name = SightingName(
            f"box-{camera[-1]}", camera, epoch_of(to_ms), 1, slot_of(to_ms),
            s.fixed(f"{self.id} {number}", 8),
        )  # fmt: skip
        row = Row(from_ms, to_ms, mask, 0.95, quality, masks=masks, encounters=met)
        one = opened_candidate(
            name, row, site=s.SITE, score=score, impossible=impossible,
            episode=episode or s.fixed(f"episode {number}", 8),
        )  # fmt: skip
        one = replace(one, log10_lr=log10_lr if score is not None else None)
        if follows is not None:
            one = replace(one, follows=self.rows[follows])
        if clothes or follows is not None:
            one = replace(one, modality=FOLLOWED, log10_lr=None)
        self.rows = {**self.rows, number: name}
        self.site.add_candidate(one, self.digest, readers=self.readers)
        opening = opening_by(self.custodians, [name])
        self.site.add_opening(opening, self.digest, readers=self.readers)
        for custodian in self.custodians:
            self.keep_receipt(custodian)
        return one

    def met(
        self, who: str, from_s: float, to_s: float, *, nearest_m: float = 0.6, bare: bool = True
    ) -> Encounter:
        """Somebody near meanwhile."""
        from_ms, to_ms = (self.begins_ms + round(at * 1000) for at in (from_s, to_s))
        status = MaskStatus.UNMASKED if bare else MaskStatus.MASKED
        span = MaskSpan(from_ms, to_ms, status, 0.95)
        return Encounter(
            s.fixed(f"sighting of {who}", 8), s.fixed(f"episode of {who}", 8), from_ms, to_ms,
            to_s - from_s, nearest_m, nearest_m, other_masks=(span,),
        )  # fmt: skip

    def watch(self, *, counts: Sequence[Sequence[int]] = ()) -> None:
        """Have headquarters tell what was watched: of cam-2 nothing came once, cam-3 was blind."""
        query = self.site.record(self.id).query
        slots = (query.window_to_ms - query.window_from_ms) // SLOT_MS
        by_slot = np.full((len(query.cameras), slots), SLOT_S, np.uint16)
        by_slot[1, 2:4] = NO_SEGMENT
        by_slot[2, 1], by_slot[2, 5] = 0, 300
        seconds = np.zeros((len(query.cameras), 8), np.uint32)
        seen = np.where(by_slot == NO_SEGMENT, 0, by_slot)
        seconds[:, 0] = seen.sum(axis=1)
        seconds[:, 6] = SLOT_S * (by_slot == NO_SEGMENT).sum(axis=1)
        seconds[:, 1] = slots * SLOT_S - seconds[:, 0] - seconds[:, 6]
        first = query.window_from_ms // SLOT_MS
        rows = [(at, first + slot, *rest) for at, slot, *rest in counts]
        told = Watching(
            query.window_from_ms, query.window_to_ms, tuple(query.cameras), seconds, by_slot,
            np.full(len(query.cameras), slots, np.uint32) if rows else None,
            tell_counts(np.array(rows, np.uint32).reshape(-1, 10)) if rows else None,
        )  # fmt: skip
        sealed = {
            name: told.seal(s.sealing_key(name).public, query_digest=self.digest)
            for name in self.readers
        }
        with self.site.aggregator.store.writing() as unit:
            unit.ledger.put_watching(self.digest, sealed)

    def decide(self, officer: str, verdict: str, *numbers: int) -> None:
        """Have an officer decide, as their command does."""
        me = desk.Officer.load(self.site.officer(officer))
        keys = desk.unlock(me, PASSPHRASE.encode())
        with desk.connect(me) as session:
            results = desk.open_results(session, desk.sealed_to_me(session, self.id), keys.sealing)
            chosen = desk.numbered(results, numbers)
            desk.decide(session, results, verdict, chosen, keys.identity)

    def keep_receipt(self, opened: RowsOf) -> None:
        """Have a custodian keep the receipt that it signed last."""
        for custodian in self.site.custodians:
            if custodian.config.name == opened.custodian:
                custodian.store.keep_receipt(
                    opened.query_digest, "rows", opened.signed[-1],
                    entry_index=FIRST_ENTRY + len(opened.signed) - 1, readers=self.readers,
                )  # fmt: skip


def traced(
    site: OfficerSite,
    *,
    purpose: str = "contact tracing",
    subjects: Sequence[str] = ("P-17",),
    asks: Asked | None = None,
) -> TracedQuery:
    """File a query of ana's over all cameras and the two hours up to now, that dan confirms."""
    me = desk.Officer.load(site.officer("ana"))
    keys = desk.unlock(me, PASSPHRASE.encode())
    now = datetime.now(UTC)
    with desk.connect(me) as session:
        scope = desk.scope(session, CAMERAS, now - timedelta(hours=2), now)
        request = desk.Request(
            scope, tuple(site.subject_file(name) for name in subjects), purpose=purpose,
            confirmers=("dan",), asks=asks or Asked(),
        )  # fmt: skip
        draft = desk.draft(session, request, keys.sealing)
        try:
            signed = desk.to_file(session, draft).by_key(keys.identity)
            query_id = desk.file(session, draft, signed).id
        finally:
            draft.close()
    record = site.record(query_id)
    digest, begins_ms = record.digest, record.query.window_from_ms
    opened = (RowsOf("c1", digest), RowsOf("c2", digest))
    return TracedQuery(site, query_id, digest, begins_ms, custodians=opened)


def on_their_way(site: OfficerSite) -> TracedQuery:
    """Somebody at four cameras: one cannot be together with another, one cannot be at all."""
    query = traced(site)
    query.show("cam-1", 300, 420, query.met("A", 305, 415), query.met("B", 400, 408, bare=False))
    query.show("cam-2", 1500, 1511, mask=MaskStatus.MASKED, log10_lr=3.2, score=0.71)
    query.show("cam-3", 1570, 1600, log10_lr=0.4, score=0.55, quality=0.4)
    query.show("cam-4", 5400, 6300, query.met("C", 5405, 6290))
    query.show("cam-5", 2000, 2010, impossible="its times contradict each other")
    query.watch()
    return query
