"""Asking a box for stills, and its answers: from one confirming officer to one box and back.

Custodians release what opens a still (`protocol.v2.evidence`); the picture itself stays on the
board until an officer who confirms hits asks for it by a sighting's name, in a message that they
sign. The aggregator carries both ways and is believed in neither: the box decides by `authorize()`
on its own directory and notice, and seals each still once more to the officer who asked
(docs/protocol.md, "Version 2").
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from protocol import hpke
from protocol.directory import BOX, INVESTIGATOR, Directory
from protocol.encoding import Fields, decode, encode
from protocol.errors import MalformedMessage, ScopeExceeded
from protocol.names import SightingName, require_name
from protocol.signing import Signed, SigningKey, sign
from protocol.v2 import VERSION
from protocol.v2.evidence import MAX_STILL_BYTES, SealedStill

STILL_REQUEST_KIND, STILL_ANSWER_KIND = "still-request", "still"
MAX_ASKED = 16
"""Sightings that one request names."""

NONCE_BYTES = 16
MAX_REQUEST_BYTES = 16 << 10
MAX_ANSWER_BYTES = MAX_STILL_BYTES + (8 << 10)
REQUEST_AGE_MS = 5 * 60 * 1000
"""A box answers no request that is older, or dated further ahead, by its own clock."""

SENT, GONE, NONE, REFUSED, LATER = "sent", "gone", "none", "refused", "later"
OUTCOMES = frozenset({SENT, GONE, NONE, REFUSED, LATER})
"""The still is here; it was deleted; none was made; the box may not; ask again in a minute."""

REASONS: Mapping[str, str] = {
    "off": "stills were not permitted when the sighting was made",
    "recording": "it is of a film that was imported, of which no stills are made",
    "no-body": "where the person ends was not certain",
    "others-near": "other people could not be covered with certainty",
    "stale": "no picture of the moment was at hand",
    "failed": "the board could not make it",
    "kept-no-longer": "it was older than stills are kept",
    "no-room": "newer stills took its room",
    "unknown": "the board knows of no such sighting",
    "too-old": "the request was too old, or dated ahead, by the board's clock",
    "seen-before": "the request had been answered before",
    "no-such-query": "no query that stands on the board asks for stills under that digest",
    "not-confirming": "who asked does not confirm hits of the query",
    "out-of-scope": "the sighting is of another camera or quarter hour than the query asks for",
    "over-cap": "the query's number of stills is used up",
    "too-many": "too many stills were asked for at once",
    "no-key": "the directory lists no key to seal to for who asked",
}
"""What a box says by a code. Codes that are not listed here come from newer boxes."""

_PURPOSE = "still"


@dataclass(frozen=True, slots=True)
class StillRequest:
    """A confirming officer asks one box for stills.

    Args:
        query_digest: of the signed query, 32 bytes.
        sightings: 1 to 16, all of ``box``, none twice.
        nonce: 16 random bytes: a request is answered once.
    """

    site: str
    query_digest: bytes
    box: str
    sightings: tuple[SightingName, ...]
    nonce: bytes
    requested_at_ms: int

    def payload(self) -> bytes:
        """Encode what is signed."""
        return encode(
            {
                "v": VERSION,
                "site": self.site,
                "query_digest": self.query_digest,
                "box": self.box,
                "sightings": [name.to_value() for name in self.sightings],
                "nonce": self.nonce,
                "requested_at_ms": self.requested_at_ms,
            }
        )

    def sign(self, officer: SigningKey) -> Signed:
        """Sign as an officer who confirms hits of the query."""
        return sign(STILL_REQUEST_KIND, self.payload(), officer)

    @classmethod
    def parse(cls, payload: bytes) -> StillRequest:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not a request for stills of one box, or names a sighting twice.
        """
        fields = Fields(
            decode(payload, what="still request", max_bytes=MAX_REQUEST_BYTES),
            what="still request",
        )
        fields.version(VERSION)
        request = cls(
            site=fields.name("site"),
            query_digest=fields.raw("query_digest", size=32),
            box=fields.name("box"),
            sightings=tuple(
                SightingName.from_value(item)
                for item in fields.array("sightings", max_items=MAX_ASKED, min_items=1)
            ),
            nonce=fields.raw("nonce", size=NONCE_BYTES),
            requested_at_ms=fields.integer("requested_at_ms"),
        )
        fields.done()
        if len(set(request.sightings)) != len(request.sightings):
            raise MalformedMessage("still request: a sighting is named twice")
        if any(name.box != request.box for name in request.sightings):
            raise MalformedMessage("still request: a sighting is of another box than is asked")
        return request


def request_digest(data: bytes) -> bytes:
    """Return what an answer names its request by: SHA-256 of the signed request, 32 bytes."""
    return hashlib.sha256(data).digest()


def open_request(data: bytes, directory: Directory) -> tuple[str, StillRequest]:
    """Verify a signed request as every reader of it does.

    Whether the query stands and who confirms its hits is each reader's own question.

    Returns:
        the officer who signed, and the request.

    Raises:
        MalformedMessage, MessageTooLarge: not a request for stills, or of another site.
        UnknownSigner, PrincipalRevoked, SignatureInvalid: not signed by an investigator in force.
    """
    signed = Signed.parse(data, kind=STILL_REQUEST_KIND, max_bytes=MAX_REQUEST_BYTES)
    request = StillRequest.parse(signed.verify(directory.resolver(INVESTIGATOR)))
    if request.site != directory.site:
        raise MalformedMessage(f"the request is of site '{request.site}', not '{directory.site}'")
    return signed.signer, request


@dataclass(frozen=True, slots=True)
class StillAnswer:
    """What a box answers of one sighting.

    Args:
        request: :func:`request_digest` of the request that it answers.
        officer: who asked.
        outcome: one of `OUTCOMES`.
        reason: a code, of `REASONS` if this machine knows it; empty with what was sent.
        sealed: the sealed still, sealed once more to the officer; empty unless it was sent.
    """

    site: str
    query_digest: bytes
    request: bytes
    name: SightingName
    officer: str
    outcome: str
    reason: str
    sealed: bytes
    answered_at_ms: int

    def payload(self) -> bytes:
        """Encode what is signed."""
        return encode(
            {
                "v": VERSION,
                "site": self.site,
                "query_digest": self.query_digest,
                "request": self.request,
                "name": self.name.to_value(),
                "officer": self.officer,
                "outcome": self.outcome,
                "reason": self.reason or None,
                "sealed": self.sealed,
                "answered_at_ms": self.answered_at_ms,
            }
        )

    def sign(self, box: SigningKey) -> Signed:
        """Sign as the box."""
        return sign(STILL_ANSWER_KIND, self.payload(), box)

    @classmethod
    def parse(cls, payload: bytes) -> StillAnswer:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is no answer, or sends nothing, or something beside a refusal.
        """
        fields = Fields(
            decode(payload, what="still answer", max_bytes=MAX_ANSWER_BYTES), what="still answer"
        )
        fields.version(VERSION)
        reason = fields.optional("reason", fields.name)
        answer = cls(
            site=fields.name("site"),
            query_digest=fields.raw("query_digest", size=32),
            request=fields.raw("request", size=32),
            name=SightingName.from_value(fields.value("name")),
            officer=fields.name("officer"),
            outcome=fields.choice("outcome", OUTCOMES),
            reason=reason or "",
            sealed=fields.raw("sealed", max_size=MAX_ANSWER_BYTES),
            answered_at_ms=fields.integer("answered_at_ms"),
        )
        fields.done()
        if (answer.outcome == SENT) != bool(answer.sealed) or bool(answer.sealed) == bool(reason):
            raise MalformedMessage("still answer: it sends a still, or gives a reason why not")
        return answer

    def open(self, officer: str, key: hpke.PrivateKey) -> SealedStill:
        """Open the outer seal; what is in it opens by what custodians release.

        Raises:
            ScopeExceeded: it is another officer's, nothing was sent, or it is another sighting's.
            AuthenticationFailed: altered, or sealed for another request, sighting or officer.
            MalformedMessage, MessageTooLarge: not a sealed still.
        """
        if officer != self.officer:
            raise ScopeExceeded(f"the answer is to '{self.officer}', not to '{officer}'")
        if self.outcome != SENT:
            raise ScopeExceeded("the box sent no still")
        context = _context(self.site, self.query_digest, self.request, self.name, self.officer)
        still = SealedStill.parse(key.open(self.sealed, purpose=_PURPOSE, context=context))
        if (still.site, still.name) != (self.site, self.name):
            raise ScopeExceeded("the box sent the still of another sighting than it names")
        return still


def answer_request(
    data: bytes,
    officer: str,
    request: StillRequest,
    name: SightingName,
    *,
    answered_at_ms: int,
    still: bytes = b"",
    to: hpke.PublicKey | None = None,
    outcome: str = SENT,
    reason: str = "",
) -> StillAnswer:
    """Make a box's answer of one sighting.

    Args:
        data: the signed request, as it came.
        officer, request: what :func:`open_request` returned of it.
        still: an encoded `SealedStill`, if it is sent.
        to: the officer's sealing key, with ``still``.
        reason: a code of `REASONS`, with any other outcome than `SENT`.

    Raises:
        MalformedMessage: a still without a key to seal to, or the other way round.
    """
    digest = request_digest(data)
    sealed = b""
    if outcome == SENT:
        if not still or to is None:
            raise MalformedMessage("a still is sent sealed to the officer who asked")
        context = _context(request.site, request.query_digest, digest, name, officer)
        sealed = to.seal(still, purpose=_PURPOSE, context=context)
    return StillAnswer(
        site=request.site,
        query_digest=request.query_digest,
        request=digest,
        name=name,
        officer=officer,
        outcome=outcome,
        reason=require_name(reason, what="reason") if outcome != SENT else "",
        sealed=sealed,
        answered_at_ms=answered_at_ms,
    )


def open_answer(data: bytes, directory: Directory) -> tuple[str, StillAnswer]:
    """Verify a signed answer as every reader of it does.

    Returns:
        the box that signed, and the answer.

    Raises:
        MalformedMessage, MessageTooLarge: not an answer, of another site, or of another box.
        UnknownSigner, PrincipalRevoked, SignatureInvalid: not signed by a box in force.
    """
    signed = Signed.parse(data, kind=STILL_ANSWER_KIND, max_bytes=MAX_ANSWER_BYTES)
    answer = StillAnswer.parse(signed.verify(directory.resolver(BOX)))
    if answer.site != directory.site:
        raise MalformedMessage(f"the answer is of site '{answer.site}', not '{directory.site}'")
    if answer.name.box != signed.signer:
        raise MalformedMessage(f"'{signed.signer}' answers for a sighting of '{answer.name.box}'")
    return signed.signer, answer


def _context(
    site: str, query_digest: bytes, request: bytes, name: SightingName, officer: str
) -> list[object]:
    return [site, query_digest, request, name.to_value(), officer]
