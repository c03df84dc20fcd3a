"""A puppet box of version 2 that keeps stills, and sends them as a board does: asked by an officer.

It verifies a request's signature and answers; which queries stand it does not judge.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from boxes_v2 import person as sighting_of
from puppet_box import MODEL, PuppetBox, Vector
from running_site import RunningSite

from protocol.epoch import announce, excluded_subsets
from protocol.keytree import DEPTH, EVIDENCE, FACE, META, ModalityKey, descend, tree_top
from protocol.names import (
    SLOT_MS,
    SightingName,
    SlotName,
    epoch_of,
    slot_of,
    still_requests_topic,
    stills_topic,
)
from protocol.sealing import SEGMENT
from protocol.v2 import VERSION
from protocol.v2.blocks import Space
from protocol.v2.envelopes import Batch, seal
from protocol.v2.evidence import SealedStill, evidence_key, evidence_value
from protocol.v2.header import CLOCK, Header
from protocol.v2.keys import row_key, row_value, slot_key
from protocol.v2.rows import Coverage
from protocol.v2.stills import answer_request, open_request
from runtime.mqtt import Delivery


class PuppetStillBox(PuppetBox):
    """Speaks for a box whose board keeps a still of everybody that it shows."""

    def __init__(self, site: RunningSite, box: str) -> None:
        super().__init__(site, box)
        self.stills: dict[SightingName, bytes] = {}
        self.heard: list[bytes] = []
        topic = still_requests_topic(site.plan.site, box)
        self._session.subscribe(topic, self._hear)

    def announcement(self, epoch: int, *, only: Sequence[str] = ()) -> bytes:
        """Return the signed announcement of a day of version 2."""
        assert not only
        custodians = self.site.directory.custodians()
        roots = [os.urandom(32) for _ in excluded_subsets(custodians, 2)]
        self._roots[epoch, self.generation] = roots
        made = announce(
            roots,
            address=self.address,
            epoch=epoch,
            generation=self.generation,
            sequence=self._next(),
            threshold=2,
            custodians=custodians,
            day_keys={name: self.site.day_keys(name)[epoch] for name in custodians},
            models={FACE: MODEL},
            announced_at_ms=self.now_ms,
            version=VERSION,
        )
        return made.sign(self.key).to_bytes()

    def watch(self, slot_ms: int, picture: bytes, *people: Vector) -> list[SightingName]:
        """Publish a segment of a slot with these people in it, and keep a still of each."""
        self.announce(slot_ms)
        epoch, slot = epoch_of(slot_ms), slot_of(slot_ms)
        name = SlotName(self.address, epoch, self.generation, slot)
        seen = [
            sighting_of(who, at_ms=slot_ms + 60_000 + 5000 * number)
            for number, who in enumerate(people)
        ]
        header = Header(
            SEGMENT, name, self._next(), "live", CLOCK, slot_ms + SLOT_MS, os.urandom(8), (), ()
        )
        envelope = seal(
            header,
            Batch(seen, {FACE: Space(MODEL)}, Coverage(watched_s=SLOT_MS // 1000), True),
            key=lambda label: slot_key(self._leaves(name, label), name, label),
            row_key=lambda row: self._row_key(name, row),
            board=self.key,
        )
        names = [SightingName.of(name, one.sighting_id) for one in seen]
        for one in names:
            leaves = self._leaves(name, EVIDENCE)
            values = [evidence_value(leaf, one.sighting_id) for leaf in leaves]
            key = evidence_key(values, one, self.address.site)
            sealed = SealedStill.seal(
                picture, key, site=self.address.site, name=one, nonce=os.urandom(12)
            )
            self.stills[one] = sealed.to_bytes()
        self.publish(envelope.to_bytes())
        return names

    def answer(self, data: bytes) -> None:
        """Send what a request asks for, whoever wrote it."""
        directory = self.site.directory
        officer, request = open_request(data, directory)
        to = directory.principals[officer].seal_key
        assert to is not None
        for name in request.sightings:
            made = answer_request(
                data, officer, request, name,
                answered_at_ms=self.now_ms, still=self.stills[name], to=to,
            )  # fmt: skip
            topic = stills_topic(self.address.site, self.box)
            self._session.publish(topic, made.sign(self.key).to_bytes(), timeout_s=60)

    def _hear(self, delivery: Delivery) -> None:
        self.heard.append(delivery.payload)
        try:
            self.answer(delivery.payload)
        finally:
            delivery.ack()

    def _leaves(self, name: SlotName, label: str) -> list[bytes]:
        return [
            descend(tree_top(root, label, VERSION), DEPTH, name.slot).key
            for root in self._roots[name.epoch, name.generation]
        ]

    def _row_key(self, name: SlotName, row: bytes) -> ModalityKey:
        values = [row_value(leaf, row) for leaf in self._leaves(name, META)]
        return row_key(values, name, row)
