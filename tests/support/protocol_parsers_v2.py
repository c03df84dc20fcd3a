"""Every parser of version 2 of the formats, each with a genuine message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import protocol_samples as s
import protocol_samples_v2 as v2
from authenticator import PASSKEY

from protocol.boxterms import BoxTerms
from protocol.daykeys import DayKeys
from protocol.directory import Directory, OutsideWitness
from protocol.epoch import Announcement
from protocol.keytree import COVER
from protocol.links import Links
from protocol.names import SLOT_MS, SightingName
from protocol.passkey_offers import PasskeyOffer
from protocol.places import parse_places
from protocol.policy import sign_policy
from protocol.v2.counts import Counts
from protocol.v2.envelopes import Envelope, parse_envelope
from protocol.v2.evidence import EvidenceRelease, EvidenceRequest, SealedStill
from protocol.v2.header import Header
from protocol.v2.hours import CameraHours, DayHours
from protocol.v2.notices import Notice, NoticedQuery
from protocol.v2.release import (
    MAX_ROWS,
    RowRelease,
    RowRequest,
    decode_values,
    encode_values,
)
from protocol.v2.rows import Rows, coverage_in
from protocol.v2.sightings import Row
from protocol.v2.stills import StillAnswer, StillRequest
from protocol.watching import NO_SEGMENT, Watching, tell_counts

ROW = SightingName.of(v2.NAME, s.fixed("id one", 8))


def _directory() -> bytes:
    directory = s.directory()
    box = replace(directory.principals["box-1"], recordings=("cam-2",), version_1_until_ms=5)
    witness = OutsideWitness("univ", s.signing_key("univ").verify_key, "https://univ.example")
    both = replace(
        directory,
        principals={**directory.principals, "box-1": box},
        places=bytes(32),
        outside_witnesses=(witness,),
        admitted={"box-9": BoxTerms(("cam-7",), 6)},
    )
    return both.sign(s.authority(), 2).payload


def _notice() -> bytes:
    case = s.case()
    approvals = tuple(approval.to_bytes() for approval in case.approvals)
    queries = (NoticedQuery(case.query.to_bytes(), approvals, ()),)
    signature = sign_policy(s.POLICY_TEXT, s.authority())
    notice = Notice(s.SITE, 1, s.NOW_MS, s.POLICY_TEXT, signature, queries)
    return notice.sign(s.signing_key("aggregator")).payload


def _watching() -> bytes:
    slot = s.NOW_MS // SLOT_MS
    counts = tell_counts(np.array([[0, slot, 50, 11, 1, 12, 9, 0, 13, 11]], np.uint32))
    watching = Watching(
        slot * SLOT_MS,
        (slot + 2) * SLOT_MS,
        ("cam-1", "cam-2"),
        np.array([[840, 0, 60, 0, 0, 0, 900, 0], [0] * 6 + [1800, 0]], np.uint32),
        np.array([[840, NO_SEGMENT], [NO_SEGMENT] * 2], np.uint16),
        np.array([1, 0], np.uint32),
        counts,
        counts_left_out=1,
        counted_by_slot=np.array([[1, 0], [0, 0]], np.uint8),
    )
    return watching.to_bytes()


PARSERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "passkey offer": (PasskeyOffer.parse, PasskeyOffer(s.SITE, PASSKEY, s.NOW_MS).payload()),
    "linked contacts": (Links.parse, v2.LINKS.to_bytes()),
    "register of places, second form": (parse_places, v2.PLACES.to_bytes()),
    "register of places": (parse_places, b"camera,place,lat,lon\ncam-1,Ward 3,37.5,126.7\n"),
    "envelope of version 2": (Envelope.parse, v2.envelope().to_bytes()),
    "envelope of either version": (parse_envelope, v2.envelope("live").to_bytes()),
    "header of version 2": (Header.parse, v2.envelope().header_bytes),
    "rows": (Rows.parse, bytes(v2.envelope().open(COVER, v2.key(COVER)))),
    "coverage in rows": (coverage_in, bytes(v2.envelope().open(COVER, v2.key(COVER)))),
    "counts": (Counts.parse, bytes(v2.COUNTS.to_bytes())),
    "watching": (Watching.parse, _watching()),
    "metadata row": (Row.parse, v2.sighting("one").row.to_bytes()),
    "announcement of version 2": (
        lambda d: Announcement.parse(d, box="box-1"),
        v2.announcement().sign(s.signing_key("box-1")).payload,
    ),
    "day keys of form 2": (
        lambda d: DayKeys.parse(d, custodian="c1"),
        DayKeys(s.SITE, "c1", 5, {3: s.day_key("c1").public}, 2).sign(s.signing_key("c1")).payload,
    ),
    "directory of form 2": (Directory.parse, _directory()),
    "row request": (
        RowRequest.parse,
        RowRequest(b"q", (b"a",), (), b"k", (b"n",), (ROW,), 5)
        .sign(s.signing_key("aggregator"))
        .payload,
    ),
    "row release": (
        RowRelease.parse,
        RowRelease(bytes(16), bytes(32), 1, 1, bytes(32), 4, 5, b"sealed")
        .sign(s.signing_key("c1"))
        .payload,
    ),
    "released values": (
        lambda d: decode_values(d, most=MAX_ROWS),
        encode_values(bytes(32), {ROW: {0: bytes(32), 1: bytes(32)}}),
    ),
    "sealed still": (SealedStill.parse, SealedStill(s.SITE, ROW, bytes(12), b"s").to_bytes()),
    "evidence request": (
        EvidenceRequest.parse,
        EvidenceRequest(b"q", (b"a",), (), (b"n",), (ROW,), 5).sign(s.signing_key("ana")).payload,
    ),
    "evidence release": (
        EvidenceRelease.parse,
        EvidenceRelease(bytes(16), bytes(32), 1, 1, bytes(32), 4, 5, {"ana": b"sealed"})
        .sign(s.signing_key("c1"))
        .payload,
    ),
    "still request": (
        StillRequest.parse,
        StillRequest(s.SITE, bytes(32), ROW.box, (ROW,), bytes(16), 5).payload(),
    ),
    "still answer": (
        StillAnswer.parse,
        StillAnswer(s.SITE, bytes(32), bytes(32), ROW, "ana", "sent", "", b"s", 5).payload(),
    ),
    "notice": (Notice.parse, _notice()),
    "camera hours": (
        CameraHours.parse,
        CameraHours(s.ADDRESS, s.NOW_MS, {s.EPOCH: DayHours(frozenset({4, 5}), frozenset({95}))})
        .sign(s.signing_key("aggregator"))
        .payload,
    ),
}
