"""Officers at the site of `edge_site`, and a query for stills of theirs that stands now."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace

import protocol_samples as s
import query_samples_v2 as v2
from edge_site import Site

from protocol.directory import APPROVER, INVESTIGATOR
from protocol.names import SLOT_MS, SightingName
from protocol.policy import parse_policy, sign_policy
from protocol.query import Asked
from protocol.signing import Signed
from protocol.v2.notices import Notice, NoticedQuery
from protocol.v2.stills import StillRequest

POLICY = b'cover = "off"\n' + v2.POLICY_TEXT.replace(b'site = "vectors"', b'site = "demo"')
DIGEST = parse_policy(POLICY).digest


def now_ms() -> int:
    """The time of day, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def add_officers(site: Site) -> None:
    """List ana and dan, who confirm, fay, who does not, and approvers; before a box reads it."""
    officers = [
        *(
            s.principal(name, INVESTIGATOR, seal_key=s.sealing_key(name).public)
            for name in ("ana", "dan", "fay")
        ),
        *(s.principal(name, APPROVER) for name in ("bo", "cy", "di")),
    ]
    everybody = {**site.directory.principals, **{one.name: one for one in officers}}
    site.directory = replace(site.directory, principals=everybody)
    site.installed.write_bytes(site.signed_directory())


def query_for_stills(stills: int = 2) -> Signed:
    """A query of ana's for this hour at cam-1."""
    begins_ms = now_ms() // SLOT_MS * SLOT_MS - 2 * SLOT_MS
    return v2.query(
        site="demo",
        policy_digest=DIGEST,
        window_from_ms=begins_ms,
        window_to_ms=begins_ms + 4 * SLOT_MS,
        requested_at_ms=now_ms() - 1000,
        not_after_ms=now_ms() + 3_600_000,
        confirmers=("dan",),
        asks=Asked(evidence_stills=stills),
    ).sign(s.signing_key("ana"))


def notice_of(site: Site, query: Signed, number: int = 1) -> bytes:
    """The aggregator's notice of a query that two approved."""
    approvals = tuple(
        s.approval(query, one, policy_digest=DIGEST).to_bytes() for one in ("bo", "cy")
    )
    signature = sign_policy(POLICY, site.authority)
    told = NoticedQuery(query.to_bytes(), approvals, ())
    made = Notice("demo", number, now_ms(), POLICY, signature, (told,))
    return made.sign(site.aggregator).to_bytes()


def request(query: Signed, *wanted: SightingName, by: str = "ana") -> bytes:
    """An officer's request to box-1, signed."""
    asked = StillRequest("demo", query.digest, "box-1", wanted, secrets.token_bytes(16), now_ms())
    return asked.sign(s.signing_key(by)).to_bytes()
