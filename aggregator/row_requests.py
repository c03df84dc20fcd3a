"""Ask custodians for the values of single rows, and take what each releases only if it is that.

docs/protocol.md, "Row requests and releases". What each one released is kept apart, with its
receipt: whether it is true shows when a row is opened with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from aggregator.asking import Late, Patience
from aggregator.circle import AnswerRejected, Circle, Question, Refusal
from aggregator.store.rows import EpochName, QueryRecord
from aggregator.wanted_rows import Values
from protocol import hpke
from protocol.about_queries import MatcherKey
from protocol.epoch import Announcement, roots_of
from protocol.errors import ProtocolError
from protocol.names import SightingName
from protocol.signing import Signed, SigningKey
from protocol.v2.release import ROW_RELEASE_KIND, RowRelease, RowRequest
from runtime.clock import system_ms
from runtime.config import TlsConfig
from runtime.trust import Trust

PATIENCE = Patience(least_s=0.5, most_s=30.0)
"""Whoever is slow can be asked again: what opens is there once enough have answered."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is put to custodians at once: rows, with the announcements that they are of."""

    announcements: Mapping[EpochName, tuple[bytes, Announcement]]
    rows: tuple[SightingName, ...]

    def check(self, custodian: str, values: Mapping[SightingName, Values]) -> None:
        """Check that a custodian released what was asked for, or some of it, as it can have it.

        Raises:
            AnswerRejected: other rows, or other roots than the box shared with it.
        """
        if not values.keys() <= set(self.rows):
            raise AnswerRejected("it released other rows than it was asked for")
        for name, of_row in values.items():
            _, announcement = self.announcements[generation_of(name)]
            own = set(roots_of(custodian, announcement.subsets()))
            if custodian not in announcement.custodians or set(of_row) != own:
                raise AnswerRejected("it released other roots than the box shared with it")


@dataclass(frozen=True, slots=True)
class Released:
    """A custodian's verified answer: ``receipt`` is the signed message as it came.

    ``values`` are of those rows that it could open, and of no other.
    """

    receipt: bytes
    release: RowRelease
    salt: bytes
    values: Mapping[SightingName, Values]


@dataclass(frozen=True, slots=True)
class Case:
    """The query for which rows are asked for, and to whose key they are to be sealed."""

    record: QueryRecord
    approvals: Sequence[Signed]
    withdrawals: Sequence[Signed]
    matcher: hpke.PrivateKey


class RowRequests:
    """Asks for rows.

    Args:
        trust: the site's directory, which says where custodians are.
        key: the aggregator's identity.
        tls: its client certificate.
        patience: how long custodians are waited for.
    """

    def __init__(
        self,
        trust: Trust,
        key: SigningKey,
        tls: TlsConfig | None,
        *,
        patience: Patience = PATIENCE,
    ) -> None:
        self._key = key
        self._circle: Circle[Released] = Circle(trust, tls, patience)

    def custodians(self) -> frozenset[str]:
        """Return the custodians in force."""
        return self._circle.names()

    def ask(
        self,
        case: Case,
        asked: Asked,
        *,
        of: Collection[str],
        needed: int,
        late: Late[Released | Refusal] | None = None,
    ) -> dict[str, Released | Refusal]:
        """Return what each of the custodians ``of`` released, or why it did not.

        Args:
            case: the query.
            asked: for which rows.
            of: whom to ask.
            needed: once so many have answered, slow ones are not waited for long.
            late: handed, from a thread of its own, what one says afterwards: what it released is
                verified as any other.
        """
        record = case.record
        statement = MatcherKey(record.digest, case.matcher.public, system_ms()).sign(self._key)
        request = RowRequest(
            query=record.signed,
            approvals=tuple(approval.to_bytes() for approval in case.approvals),
            withdrawals=tuple(withdrawal.to_bytes() for withdrawal in case.withdrawals),
            matcher_key=statement.to_bytes(),
            announcements=tuple(signed for signed, _ in asked.announcements.values()),
            rows=asked.rows,
            requested_at_ms=system_ms(),
        )

        def read(custodian: str, signed: Signed, payload: bytes) -> Released:
            release = RowRelease.parse(payload)
            if release.query_digest != record.digest:
                raise AnswerRejected("it answered with rows of another query")
            try:
                salt, values = release.open(case.matcher)
            except ProtocolError as error:
                raise AnswerRejected(f"its release is false: {error}") from error
            asked.check(custodian, values)
            return Released(signed.to_bytes(), release, salt, values)

        question = Question("/v1/rows", request.sign(self._key).to_bytes(), ROW_RELEASE_KIND, read)
        return self._circle.ask(question, of=of, needed=needed, late=late, lane=record.digest)


def generation_of(name: SightingName) -> EpochName:
    """Return of which announcement a row is."""
    return (name.box, name.camera, name.epoch, name.generation)
