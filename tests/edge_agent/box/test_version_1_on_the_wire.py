"""What a box sends for the same input, byte for byte as the first version of the protocol did."""

from __future__ import annotations

import hashlib

import protocol_samples as s
import pytest
from edge_site import MODEL, NOON_MS, make_sighting

from edge_agent.version1 import as_version_1, sealed
from protocol.keytree import FACE, META
from protocol.sealing import LIVE_ENVELOPE, SEGMENT, Envelope, Header, open_block
from protocol.sightings import META_PADDING

SEEN = [
    as_version_1(
        make_sighting(NOON_MS + 1000 * seed, seed=seed, encounters=seed % 3, face=seed % 4 != 3)
    )
    for seed in range(9)
]


def sealed_as(kind: str) -> bytes:
    header = Header(
        kind, s.ADDRESS, s.EPOCH, s.GENERATION, s.SLOT, 7, len(SEEN), {FACE: MODEL}, s.NOW_MS,
        s.fixed("salt", 8),
    )  # fmt: skip
    return sealed(header, SEEN, s.slot_keys(), s.signing_key("box-1"))


@pytest.mark.parametrize(
    ("kind", "digest"),
    [
        (SEGMENT, "e2315dfda24e81cbb2ed025e935dd45afa3c85261208001da22ac902387fc536"),
        (LIVE_ENVELOPE, "95633b32e4e814ed3adfc94cdfb7a3560b71f7bf8c55ce6d5f322ba16ee667bc"),
    ],
)
def test_the_same_sightings_are_sealed_to_the_same_bytes_as_ever(kind: str, digest: str) -> None:
    assert hashlib.sha256(sealed_as(kind)).hexdigest() == digest


def test_those_bytes_hold_people_without_a_template_beside_people_with_one() -> None:
    envelope = Envelope.parse(sealed_as(SEGMENT))
    meta = open_block(
        s.slot_keys()[META], envelope.blocks().meta,
        header=envelope.header_bytes, label=META, nonce=envelope.nonce,
    )  # fmt: skip
    assert len(meta) % META_PADDING == 0
    assert envelope.header.count == len(SEEN)
