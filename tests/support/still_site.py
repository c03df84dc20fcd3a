"""A site whose query asks for stills: rows opened by its custodians, and a box that answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np
import protocol_samples as s
from custodian_site import make_announcement
from rows_asked import RowsAsked
from traced_query import TracedQuery, TracedSite, traced

from aggregator.stills import StillDesk
from protocol.authorization import parse_signed_query
from protocol.keytree import DEPTH, EVIDENCE, ModalityKey, descend, tree_top
from protocol.names import SightingName, stills_topic
from protocol.query import Asked
from protocol.v2.evidence import SealedStill, evidence_key, evidence_value
from protocol.v2.stills import SENT, StillAnswer, answer_request, open_request
from runtime.clock import system_ms
from runtime.lifecycle import Stop

Change = Callable[[StillAnswer], StillAnswer]


def picture(width: int = 240, height: int = 320) -> bytes:
    """Return a JPEG as a board writes one."""
    drawn = np.random.default_rng(7).integers(0, 255, (height, width, 3), np.uint8)
    done, data = cv2.imencode(".jpg", cv2.blur(drawn, (15, 15)), [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert done
    return data.tobytes()


def still_key(name: SightingName) -> ModalityKey:
    """Return what a still is sealed under, by the roots that `make_announcement` shares."""
    leaves = [
        descend(tree_top(s.fixed(f"root {number}", 32), EVIDENCE, 2), DEPTH, name.slot).key
        for number in range(3)
    ]
    return evidence_key([evidence_value(leaf, name.sighting_id) for leaf in leaves], name, s.SITE)


@dataclass
class BoxThatAnswers:
    """Stands where the broker and the boxes would be: what is published to it, it answers.

    Args:
        desk: the aggregator's.
        pictures: what it has, by sighting.
        outcome: and reason, with which it answers; of ``sent`` the still.
        change: makes another answer of it, before it is signed.
    """

    desk: StillDesk
    site: TracedSite
    pictures: Mapping[SightingName, bytes]
    outcome: tuple[str, str] = (SENT, "")
    change: Change = lambda answer: answer
    silent: bool = False
    heard: list[bytes] = field(default_factory=list)

    def publish_and_wait(self, topic: str, payload: bytes) -> None:
        self.heard.append(payload)
        if self.silent:
            return
        officer, request = open_request(payload, self.site.directory)
        for name in request.sightings:
            outcome, reason = self.outcome
            if name not in self.pictures and outcome == SENT:
                outcome, reason = "none", "others-near"
            sealed = b""
            if outcome == SENT:
                key = still_key(name)
                sealed = SealedStill.seal(
                    self.pictures[name], key, site=s.SITE, name=name, nonce=bytes(12)
                ).to_bytes()
            made = answer_request(
                payload, officer, request, name, answered_at_ms=system_ms(), still=sealed,
                to=s.sealing_key(officer).public, outcome=outcome, reason=reason,
            )  # fmt: skip
            signed = self.change(made).sign(s.signing_key(name.box)).to_bytes()
            self.desk.take(stills_topic(s.SITE, name.box), signed)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Have the aggregator hand on what is asked meanwhile."""
        stop = Stop()
        thread = threading.Thread(target=self.desk.run, args=(stop, self))
        thread.start()
        try:
            yield
        finally:
            stop.set("the test is over")
            thread.join(30)


def with_stills(site: TracedSite, stills: int = 2, *, opened: int = 3) -> TracedQuery:
    """File and approve a query that asks for stills, and have it find four sightings at cam-1.

    Args:
        stills: of how many sightings.
        opened: of so many of them custodians have opened the rows.
    """
    query = traced(site, asks=Asked(evidence_stills=stills))
    for number in range(4):
        query.show("cam-1", 300 + number, 310 + number)
    record = site.record(query.id)
    digest, signed = record.query.policy_digest, parse_signed_query(record.signed)
    approvals = [s.approval(signed, name, policy_digest=digest) for name in ("bo", "cy")]
    for approval in approvals:
        site.aggregator.desk.approve(record.query_id, approval.to_bytes())
    name = query.rows[1]
    made, message = make_announcement(
        site.custodians, now_ms=query.begins_ms, epoch=name.epoch, box=name.box,
        camera=name.camera, generation=name.generation, version=2,
    )  # fmt: skip
    with site.aggregator.store.writing() as unit:
        stream = unit.ledger.add_stream(made.address)
        assert unit.ledger.add_announcement(stream.number, made, message)
    case = s.Case(signed, approvals)
    rows = [query.rows[number] for number in range(1, opened + 1)]
    for custodian in site.custodians:
        RowsAsked(case, [message], rows, now_ms=system_ms()).opened_by(custodian)
    return query
