"""An aggregator that does not keep to the rules: it has the real one's key, and asks for too much.

The demo and the system tests use it to show that custodians decide for themselves, and to learn
(with keys that *were* granted) the very bytes that must not be found on any disk or wire.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.local_site import PASSPHRASE, LocalSite
from protocol import hpke
from protocol.about_queries import MatcherKey
from protocol.epoch import Announcement
from protocol.epoch_keys import EpochKeys, combine
from protocol.errors import ScopeExceeded
from protocol.grant import Grant, GrantRequest
from protocol.keytree import COVER, LIVE
from protocol.sealing import LIVE_ENVELOPE
from protocol.signing import Signed, SigningKey
from protocol.v2.blocks import true_rows
from protocol.v2.envelopes import Envelope
from runtime.config import TlsConfig
from runtime.http import CBOR, ProblemError, client, raise_for_problem
from runtime.keyfiles import read_secret

_NEEDLE_BYTES = 24


@dataclass(frozen=True, slots=True)
class Answer:
    """What one custodian answered: a grant, or the name of the problem and its text."""

    custodian: str
    grant: Grant | None
    problem: str = ""
    detail: str = ""


class Intruder:
    """Speaks to the custodians of ``site`` with the aggregator's key and certificate."""

    def __init__(self, site: LocalSite) -> None:
        self._site = site
        folder = site.paths.aggregator.parent
        seed = read_secret(folder / "identity.secret", PASSPHRASE.encode(), "identity")
        self._key = SigningKey("aggregator", seed)
        self._tls = tls_of(folder)
        self.matcher = hpke.PrivateKey.generate()

    def ask(
        self,
        query: Signed,
        approvals: Sequence[Signed],
        announcements: Sequence[bytes],
        *,
        key_for: bytes | None = None,
    ) -> list[Answer]:
        """Ask every custodian for a query's keys and return what each says.

        Args:
            query: the signed query.
            approvals: those that are shown to the custodians.
            announcements: signed epoch announcements, as captured.
            key_for: the digest that the matcher key is made out to; the query's by default.
        """
        digest = key_for or query.digest
        now_ms = time.time_ns() // 1_000_000
        statement = MatcherKey(digest, self.matcher.public, now_ms).sign(self._key)
        request = GrantRequest(
            query.to_bytes(),
            tuple(approval.to_bytes() for approval in approvals),
            (),
            statement.to_bytes(),
            tuple(announcements),
            now_ms,
        ).sign(self._key)
        return [
            self._post(custodian.name, custodian.url, request.to_bytes())
            for custodian in self._site.plan.custodians
        ]

    def keys(self, answers: Sequence[Answer], announcement: bytes) -> EpochKeys:
        """Put the grants for one announcement together.

        Raises:
            SharesMissing: too few custodians granted it.
        """
        signed = Signed.parse(announcement, kind="epoch")
        stated = Announcement.parse(signed.payload, box=signed.signer)
        released = [
            keys
            for answer in answers
            if answer.grant is not None
            for keys in answer.grant.open(self.matcher)
            if keys.scope.address == stated.address
            and keys.scope.epoch == stated.epoch
            and keys.scope.generation == stated.generation
        ]
        return combine(stated, released)

    def _post(self, name: str, url: str, body: bytes) -> Answer:
        try:
            with client(url, self._tls) as http:
                response = http.post("/v1/grants", content=body, headers={"content-type": CBOR})
                raise_for_problem(response)
        except ProblemError as error:
            return Answer(name, None, error.type, str(error))
        grant = Grant.parse(Signed.parse(response.content, kind="grant").payload)
        return Answer(name, grant)


def tls_of(folder: Path) -> TlsConfig:
    """Return the certificates in a role's folder."""
    tls = folder / "tls"
    return TlsConfig(
        ca=tls / "ca.pem",
        certificate=tls / "certificate.pem",
        private_key=tls / "private-key.pem",
    )


def plain_needles(envelope: Envelope, keys: EpochKeys) -> list[bytes]:
    """Open an envelope with granted keys; return byte strings that only its plain content has.

    Pieces of template rows, and whole ids of sightings and episodes: what must be found nowhere
    else. Templates of modalities that the keys are not for stay closed, and are left out.

    Raises:
        ScopeExceeded: the keys do not cover the envelope's slot.
        SealError: they are not its keys.
    """
    slot = envelope.header.name.slot
    if envelope.header.kind == LIVE_ENVELOPE:
        envelope = envelope.inner(keys.key(slot, LIVE))
    needles = []
    for entry in envelope.header.blocks:
        if entry.space is None:
            continue
        try:
            key = keys.key(slot, entry.label)
        except ScopeExceeded:
            continue
        opened = envelope.open(entry.label, key)
        count, width = true_rows(memoryview(opened), entry.space), entry.space.width
        needles += [
            bytes(opened[row * width : row * width + _NEEDLE_BYTES]) for row in range(count)
        ]
    rows = envelope.rows(keys.key(slot, COVER))
    needles += [bytes(one) for ids in (rows.ids, rows.episodes) for one in ids]
    return list(dict.fromkeys(needles))
