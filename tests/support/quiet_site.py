"""A headquarters with many live queries over many cameras, all granted, and a clock to set."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import protocol_samples as s
import pytest
from laid_down import new_store

import aggregator.circle
from aggregator.asking import Patience
from aggregator.config import LimitsSection
from aggregator.grants import Custodians
from aggregator.ingest.intake import Intake
from aggregator.ingest.messages import Incoming
from aggregator.matching.pool import Matcher
from aggregator.queries import QueryDesk
from aggregator.row_requests import RowRequests
from aggregator.runner import QueryRunner
from protocol.about_queries import MATCHER_KEY_KIND, MatcherKey
from protocol.auditlog import origin_of
from protocol.directory import BOX
from protocol.epoch import Announcement, announce, excluded_subsets, roots_of
from protocol.grant import GRANT_REQUEST_KIND, Grant, GrantRequest, Scope, release, seal_grant
from protocol.keytree import LABELS as ALL_LABELS
from protocol.keytree import PuncturableTree, modality_key
from protocol.names import ENVELOPE, EPOCH, SLOT_MS, CameraAddress
from protocol.query import Query
from protocol.sealing import SEGMENT, Header, seal_envelope
from protocol.sightings import encode_meta, encode_template_block
from protocol.signing import Signed
from protocol.templates import seal_templates
from runtime.auditlog import AuditLog
from runtime.lifecycle import Stop
from runtime.trust import Trust

FIRST_SLOT, LABELS = 38, ("face", "live", "meta")
CAMERAS_A_BOX = 50


class QuietSite:
    """Standing live queries of one investigator over all cameras.

    ``now_ms`` is everybody's clock. ``ids`` are the queries' ids, in the order of filing.
    """

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, queries: int, cameras: int
    ) -> None:
        self.now_ms = s.NOW_MS
        for name, module in list(sys.modules.items()):
            if name.startswith("aggregator") and hasattr(module, "system_ms"):
                monkeypatch.setattr(module, "system_ms", lambda: self.now_ms)
        names = tuple(sorted(f"cam-{number}" for number in range(1, cameras + 1)))
        self.roots = [s.fixed(f"r{n}", 32) for n in range(len(excluded_subsets(s.CUSTODIANS, 2)))]
        self.cameras = {
            name: CameraAddress(s.SITE, f"box-{1 + number // CAMERAS_A_BOX}", name)
            for number, name in enumerate(names)
        }
        listed = s.directory()
        people = {
            name: replace(one, url=f"https://{name}.test") if name in s.CUSTODIANS else one
            for name, one in listed.principals.items()
        }
        people = {name: one for name, one in people.items() if BOX not in one.duties}
        for box in {address.box for address in self.cameras.values()}:
            own = tuple(name for name, address in self.cameras.items() if address.box == box)
            people[box] = s.principal(box, BOX, cameras=own)
        self.directory = replace(listed, principals=people)
        installed = folder / "directory.cbor"
        installed.write_bytes(self.directory.sign(s.authority()).to_bytes())
        self.trust = Trust(
            site=s.SITE, authority=s.authority().verify_key, installed=installed, state_dir=None
        )
        self.policy = replace(s.POLICY, max_cameras=cameras)
        key = s.signing_key("aggregator")
        self.store = new_store(folder / "aggregator.db")
        auditors = {"eve": s.sealing_key("eve").public}
        self.log = AuditLog(folder / "audit.db", origin_of(s.SITE, "aggregator"), key, auditors)
        self.intake = Intake(
            self.store, site=s.SITE, directory=lambda: self.trust.directory,
            limits=LimitsSection(), retention_days=lambda: 14, now_ms=lambda: self.now_ms,
            audit=lambda _kind, _body: None,
        )  # fmt: skip
        self.desk = QueryDesk(self.store, self.trust, self.policy, self.log, key)
        self.runner = QueryRunner(
            desk=self.desk, store=self.store, trust=self.trust, policy=self.policy,
            custodians=Custodians(
                self.store, self.trust, self.log, key, None,
                patience=Patience(least_s=0.5, most_s=60.0),
            ),
            rows=RowRequests(self.trust, key, None),
            matcher=Matcher(self.store.segments, processes=1),
            log=self.log, actor="aggregator",
        )  # fmt: skip
        self.asked = 0
        self._asking = threading.Lock()
        self._sent: dict[bytes, bytes] = {}
        self.on_ask: Callable[[str, bytes, GrantRequest], object] = lambda *_: None
        self._sequences = dict.fromkeys(names, 0)
        monkeypatch.setattr(
            aggregator.circle,
            "client",
            lambda url, *_, **__: httpx.Client(
                base_url=url, transport=httpx.MockTransport(self._serve)
            ),
        )
        for name in names:
            self.announce(name)
        self.ids = [self._file(number) for number in range(queries)]

    def look(self) -> None:
        """Have the runner look once, and wait until what it began is done."""
        self.runner.look(Stop())
        assert self.runner.wait(30.0), "a step takes long"

    def close(self) -> None:
        """Close the files."""
        self.log.close()
        self.store.close()

    def announce(self, camera: str, *, generation: int = s.GENERATION) -> None:
        """Let a camera announce its day."""
        said = self._announcement(camera, generation)
        self._sequences[camera] += 1
        payload = said.sign(s.signing_key(self.cameras[camera].box)).to_bytes()
        self._take(camera, EPOCH, payload)

    def see(self, camera: str, *, slot: int = s.SLOT) -> None:
        """Let a camera seal whom the queries look for, and send it."""
        address = self.cameras[camera]
        seen = [
            replace(
                s.sighting("subject"), first_seen_ms=self.now_ms - 4000, last_seen_ms=self.now_ms
            )
        ]
        keys = {
            label: modality_key(
                [PuncturableTree(root, label).leaf(slot) for root in self.roots],
                site=s.SITE, camera=camera, epoch=s.EPOCH, generation=s.GENERATION, slot=slot,
                label=label,
            )
            for label in ALL_LABELS
        }  # fmt: skip
        header = Header(
            SEGMENT, address, s.EPOCH, s.GENERATION, slot, self._sequences[camera], len(seen),
            {"face": s.MODEL}, self.now_ms, s.fixed(f"salt {camera} {self._sequences}", 8),
        )  # fmt: skip
        sealed = seal_envelope(
            header,
            templates={"face": encode_template_block(seen, "face", s.DIMENSION)},
            meta=encode_meta(seen),
            keys=keys,
            board=s.signing_key(address.box),
        )
        self._sequences[camera] += 1
        self._take(camera, ENVELOPE, sealed.to_bytes())

    def next_slot(self) -> None:
        """Let a quarter of an hour go by."""
        self.now_ms += SLOT_MS

    # ------------------------------------------------------------------ inside

    def _take(self, camera: str, kind: str, payload: bytes) -> None:
        message = Incoming(self.cameras[camera].topic(kind), payload, self.now_ms)
        assert self.intake.process([message]).stored == 1

    def _announcement(self, camera: str, generation: int) -> Announcement:
        return announce(
            self.roots, address=self.cameras[camera], epoch=s.EPOCH, generation=generation,
            sequence=self._sequences[camera], threshold=2, custodians=s.CUSTODIANS,
            day_keys={name: s.day_key(name).public for name in s.CUSTODIANS},
            models={"face": s.MODEL}, announced_at_ms=self.now_ms,
        )  # fmt: skip

    def _file(self, number: int) -> bytes:
        case = s.case(
            query_id=s.fixed(f"quiet {number}", 16), cameras=tuple(self.cameras),
            policy_digest=self.policy.digest,
        )  # fmt: skip
        record = self.desk.file(case.query.to_bytes())
        signed = Signed.parse(self.desk.matcher_key(record.query_id), kind=MATCHER_KEY_KIND)
        sealed = seal_templates(
            {"P-17": (s.template(),)}, MatcherKey.parse(signed.payload).key,
            query_digest=record.digest,
        )  # fmt: skip
        self.desk.put_templates(record.query_id, sealed)
        for approval in case.approvals:
            self.desk.approve(record.query_id, approval.to_bytes())
        return record.query_id

    def _serve(self, request: httpx.Request) -> httpx.Response:
        name = request.url.host.removesuffix(".test")
        with self._asking:
            self.asked += 1
            asked_before = self.asked
        asked = GrantRequest.parse(Signed.parse(request.content, kind=GRANT_REQUEST_KIND).payload)
        if asked.query_digest is not None:
            asked = asked.having(self._sent[asked.query_digest])
        self._sent[Signed.parse(asked.query, kind="query").digest] = asked.query
        query = Query.parse(Signed.parse(asked.query, kind="query").payload)
        matcher = Signed.parse(asked.matcher_key, kind=MATCHER_KEY_KIND)
        digest = Signed.parse(asked.query, kind="query").digest
        last = min((asked.requested_at_ms - s.EPOCH * 86_400_000) // SLOT_MS, 43)
        assert query.live
        self.on_ask(name, query.query_id, asked)
        released = []
        for data in asked.announcements:
            signed = Signed.parse(data, kind="epoch")
            said = Announcement.parse(signed.payload, box=signed.signer)
            own = roots_of(name, said.subsets())
            scope = Scope(said.address, said.epoch, said.generation, FIRST_SLOT, last)
            released.append(release({n: self.roots[n] for n in own}, scope, LABELS))
        number = s.fixed(f"grant {name} {asked_before}", 16)
        grant = Grant(
            grant_id=number, query_digest=digest, labels=LABELS,
            scopes=tuple(one.scope for one in released), refused=(), entry_index=0,
            granted_at_ms=asked.requested_at_ms,
            sealed=seal_grant(
                released, MatcherKey.parse(matcher.payload).key, grant_id=number,
                query_digest=digest,
            ),
        )  # fmt: skip
        return httpx.Response(200, content=grant.sign(s.signing_key(name)).to_bytes())
