"""Ask the custodians for the keys of an authorized query, and put together what they release.

All custodians are asked at once; each decides for itself. Fewer than the site's threshold of them
means that nothing opens, and the error says who answered what. One that answers falsely keeps
nothing closed that enough others opened, and is named: what shows at once here (slots, cameras or
keys that were not asked for, a seal that does not open, an old grant), a false key when something
is opened with it (`protocol.reconcile`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from aggregator.asking import Patience
from aggregator.circle import AnswerRejected, ByDigest, Circle, Question, Refusal, Told
from aggregator.records import AnyLog, Records
from aggregator.store import Store
from aggregator.store.rows import EpochName, GrantRow, QueryRecord, StoredAnnouncement
from protocol import hpke
from protocol.about_queries import MatcherKey
from protocol.authorization import AuthorizedQuery
from protocol.encoding import encode
from protocol.epoch import EPOCH_KIND, Announcement
from protocol.epoch_keys import EpochKeys
from protocol.errors import ProtocolError, SharesMissing
from protocol.grant import GRANT_KIND, Grant, GrantedKeys, GrantRequest, Scope
from protocol.reconcile import check_released, reconcile
from protocol.signing import Signed, SigningKey
from runtime.clock import system_ms
from runtime.config import TlsConfig
from runtime.errors import OperationError
from runtime.trust import Trust

_log = structlog.get_logger()
ANNOUNCEMENTS_A_REQUEST = 256


class TooFewGrants(OperationError):
    """Fewer custodians than the threshold granted: nothing opens."""

    def __init__(self, granted: int, threshold: int, refusals: Sequence[Refusal]) -> None:
        """Explain who said what; ``final`` if so many refused that asking again is no use."""
        total = granted + len(refusals)
        words = "; ".join(f"{refusal.custodian}: {refusal.reason}" for refusal in refusals)
        super().__init__(
            f"{granted} of {total} custodians granted, {threshold} are needed, so nothing was "
            f"opened ({words})"
        )
        self.refusals = tuple(refusals)
        self.final = total - sum(refusal.final for refusal in refusals) < threshold


@dataclass(frozen=True, slots=True)
class Granted:
    """What m custodians released together.

    Args:
        keys: the keys, one a scope.
        grant_ids: the grants that they came from.
        answered: whose keys went into each scope: with another's it might come out otherwise.
        refused: why a generation stayed closed although the query was granted. Custodians name
            the camera and the day alone: of two boxes' generations of one day it is said of both.
        refusals: custodians that released nothing that counts.
    """

    keys: tuple[EpochKeys, ...]
    grant_ids: tuple[bytes, ...]
    answered: Mapping[EpochName, frozenset[str]]
    refused: Mapping[EpochName, str]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Portion:
    """Announcements of which keys are asked for in one request.

    Args:
        signed: as the boxes signed them.
        announcements: the same, read.
        spoilt: those that are spoilt in the store are left out, or they would spoil all; and why.
        wait_for_all: slow custodians are waited for although enough others have answered.
    """

    signed: tuple[bytes, ...]
    announcements: Mapping[EpochName, Announcement]
    spoilt: Mapping[EpochName, str]
    wait_for_all: bool = False

    @classmethod
    def of(cls, stored: Sequence[StoredAnnouncement], *, wait_for_all: bool = False) -> Portion:
        """Read announcements as they are stored."""
        announcements: dict[EpochName, Announcement] = {}
        kept: list[bytes] = []
        spoilt: dict[EpochName, str] = {}
        for one in stored:
            try:
                signed = Signed.parse(one.signed, kind=EPOCH_KIND)
                announcements[one.name] = Announcement.parse(signed.payload, box=signed.signer)
                kept.append(one.signed)
            except ProtocolError as error:
                _log.error("announcement_altered", camera=one.address.camera, reason=str(error))
                spoilt[one.name] = f"its announcement is spoilt: {error}"
        return cls(tuple(kept), announcements, spoilt, wait_for_all)


class Custodians:
    """The custodians as the aggregator sees them.

    Args:
        store: where grants are noted (never their keys).
        trust: the site's directory, which says where the custodians are.
        log: the aggregator's audit log.
        key: the aggregator's identity.
        tls: its client certificate.
        patience: how long custodians are waited for.
    """

    def __init__(
        self,
        store: Store,
        trust: Trust,
        log: AnyLog,
        key: SigningKey,
        tls: TlsConfig | None,
        *,
        patience: Patience | None = None,
    ) -> None:
        self._store = store
        self._trust = trust
        self._records = Records(store, log, key.signer)
        self._key = key
        self._told = Told()
        self._circle: Circle[Grant] = Circle(trust, tls, patience or Patience())

    def grant(
        self,
        record: QueryRecord,
        authorized: AuthorizedQuery,
        approvals: Sequence[Signed],
        withdrawals: Sequence[Signed],
        matcher: hpke.PrivateKey,
        *,
        announcements: Sequence[StoredAnnouncement],
        wait_for_all: bool = False,
    ) -> Granted:
        """Ask for the keys of a portion of announcements, and take in what comes.

        Args:
            record, authorized: the query as it is kept, and as it was authorized.
            approvals, withdrawals: what is known of either.
            matcher: to whose public half the keys are to be sealed.
            announcements: of the days and cameras to be opened; `ANNOUNCEMENTS_A_REQUEST` at most.
            wait_for_all: wait for slow custodians although enough others have answered.

        Raises:
            TooFewGrants: fewer custodians than the threshold granted anything.
        """
        portion = Portion.of(announcements, wait_for_all=wait_for_all)
        answers = self.ask(record, approvals, withdrawals, matcher, portion)
        return self.take_in(record, authorized, matcher, portion, answers)

    def ask(
        self,
        record: QueryRecord,
        approvals: Sequence[Signed],
        withdrawals: Sequence[Signed],
        matcher: hpke.PrivateKey,
        portion: Portion,
    ) -> dict[str, Grant | Refusal]:
        """Return what each custodian says to a portion; safe in any thread, and keeps nothing."""
        if not portion.signed:
            return {}
        statement = MatcherKey(record.digest, matcher.public, system_ms()).sign(self._key)
        request = GrantRequest(
            query=record.signed,
            approvals=tuple(approval.to_bytes() for approval in approvals),
            withdrawals=tuple(withdrawal.to_bytes() for withdrawal in withdrawals),
            matcher_key=statement.to_bytes(),
            announcements=portion.signed,
            requested_at_ms=system_ms(),
        )
        return self._ask_all(record, request, portion.wait_for_all)

    def take_in(
        self,
        record: QueryRecord,
        authorized: AuthorizedQuery,
        matcher: hpke.PrivateKey,
        portion: Portion,
        answers: Mapping[str, Grant | Refusal],
    ) -> Granted:
        """Open and check what custodians said to a portion, note it, put it together.

        Raises:
            TooFewGrants: fewer custodians than the threshold granted anything.
        """
        if not portion.signed:
            return Granted((), (), {}, portion.spoilt, ())
        asked = _Asked(authorized, portion.announcements)
        granted = self._take_in(record, asked, answers, matcher)
        return replace(granted, refused={**portion.spoilt, **granted.refused})

    def note_unused(self, record: QueryRecord, answers: Mapping[str, Grant | Refusal]) -> None:
        """Have the log tell of grants that came when nobody wanted them any more; raises nothing.

        Custodians have logged them: an auditor asks what became of them.
        """
        for custodian, grant in answers.items():
            if isinstance(grant, Grant):
                try:
                    self._note(record, custodian, grant)
                except OperationError as error:
                    _log.error("grant_not_noted", custodian=custodian, reason=str(error))

    def _ask_all(
        self, record: QueryRecord, request: GrantRequest, wait_for_all: bool
    ) -> dict[str, Grant | Refusal]:
        """Return what each custodian says, for those that say nothing a refusal."""

        def read(_custodian: str, _signed: Signed, payload: bytes) -> Grant:
            grant = Grant.parse(payload)
            if grant.query_digest != record.digest:
                raise AnswerRejected("it answered with a grant for another query")
            return grant

        named = request.naming(record.digest).sign(self._key).to_bytes()
        question = Question(
            "/v1/grants",
            request.sign(self._key).to_bytes(),
            GRANT_KIND,
            read,
            by_digest=ByDigest(record.digest, named, self._told),
        )
        needed = self._trust.directory.threshold
        return self._circle.ask(
            question, needed=needed, wait_for_all=wait_for_all, lane=record.digest
        )

    def _take_in(
        self,
        record: QueryRecord,
        asked: _Asked,
        answers: Mapping[str, Grant | Refusal],
        matcher: hpke.PrivateKey,
    ) -> Granted:
        """Open and check what came, note it, put it together."""
        threshold = self._trust.directory.threshold
        refusals = [answer for answer in answers.values() if isinstance(answer, Refusal)]
        if len(answers) - len(refusals) < threshold:
            raise TooFewGrants(len(answers) - len(refusals), threshold, refusals)
        released: dict[EpochName, dict[str, GrantedKeys]] = {}
        reasons: dict[tuple[str, int], str] = {}
        counted: list[Grant] = []
        for custodian, grant in answers.items():
            if not isinstance(grant, Grant):
                continue
            try:
                self._note(record, custodian, grant)
                granted = asked.check(custodian, grant, grant.open(matcher))
            except (AnswerRejected, ProtocolError) as error:
                _log.error("grant_is_false", custodian=custodian, reason=str(error))
                refusals.append(Refusal(custodian, f"its grant is false: {error}", false=True))
                continue
            counted.append(grant)
            for name, keys in granted.items():
                released.setdefault(name, {})[custodian] = keys
            reasons.update({(camera, epoch): why for camera, epoch, why in grant.refused})
        if len(counted) < threshold:
            raise TooFewGrants(len(counted), threshold, refusals)
        combined: dict[EpochName, EpochKeys] = {}
        for name, keys_of in released.items():
            try:
                combined[name] = reconcile(asked.announcements[name], keys_of)
            except SharesMissing as error:
                reasons.setdefault((name[1], name[2]), str(error))
        known: dict[frozenset[str], frozenset[str]] = {}  # a city's query holds one, not thousands
        answered = {
            name: known.setdefault(who, who)
            for name, who in ((name, frozenset(released[name])) for name in combined)
        }
        return Granted(
            keys=tuple(combined.values()),
            grant_ids=tuple(grant.grant_id for grant in counted),
            answered=answered,
            refused={
                name: reasons[name[1], name[2]]
                for name in asked.announcements
                if name not in combined and (name[1], name[2]) in reasons
            },
            refusals=tuple(refusals),
        )

    def _note(self, record: QueryRecord, custodian: str, grant: Grant) -> None:
        """Write a grant down before it is used.

        Raises:
            AnswerRejected: it came before, so this is an old one.
        """
        scopes = [scope.to_value() for scope in grant.scopes]
        body = {
            "custodian": custodian,
            "grant_id": grant.grant_id,
            "query_digest": record.digest,
            "scopes": scopes,
            "labels": list(grant.labels),
        }
        row = GrantRow(
            grant_id=grant.grant_id,
            custodian=custodian,
            query_digest=record.digest,
            labels=tuple(grant.labels),
            scopes=encode(scopes),
            refused=tuple(grant.refused),
            entry_index=grant.entry_index,
            granted_ms=grant.granted_at_ms,
            received_ms=system_ms(),
        )
        with self._records.writing() as unit:
            if unit.ledger.knows_grant(grant.grant_id):
                raise AnswerRejected("it is a grant that came before")
            unit.ledger.add_grant(row)
            self._records.note("grant-received", record.query_id, body)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What custodians were asked for."""

    authorized: AuthorizedQuery
    announcements: Mapping[EpochName, Announcement]

    def check(
        self, custodian: str, grant: Grant, released: Sequence[GrantedKeys]
    ) -> dict[EpochName, GrantedKeys]:
        """Hold an opened grant against what was asked; return its keys by announcement.

        A custodian states its time, and grants what the query covers at that time. So what an
        honest one releases is known exactly, but for the keys themselves.

        Raises:
            AnswerRejected, ScopeExceeded, ShareInvalid: it is something else.
        """
        found: dict[EpochName, GrantedKeys] = {}
        for keys in released:
            scope, name = keys.scope, name_in(keys.scope)
            announcement = self.announcements.get(name)
            if announcement is None:
                raise AnswerRejected(
                    f"nobody asked for keys of camera '{name[1]}', epoch {name[2]}"
                )
            if name in found:
                raise AnswerRejected(f"it releases camera '{name[1]}', epoch {name[2]} twice")
            check_released(announcement, custodian, keys)
            wanted = set(self.authorized.labels(announcement.version))
            if set(keys.nodes) != wanted:
                raise AnswerRejected(
                    f"it releases keys for {', '.join(sorted(keys.nodes)) or 'nothing'}; "
                    f"{', '.join(sorted(wanted))} were asked for"
                )
            slots = self.authorized.grantable_slots(scope.epoch, now_ms=grant.granted_at_ms)
            if range(scope.first_slot, scope.last_slot + 1) != slots:
                raise AnswerRejected(
                    f"it releases slots {scope.first_slot} to {scope.last_slot} of camera "
                    f"'{name[1]}', epoch {name[2]}, which is not what the query covers at the time "
                    "that it states"
                )
            found[name] = keys
        return found


def name_in(scope: Scope) -> EpochName:
    """Return of which announcement a scope is part."""
    return (scope.address.box, scope.address.camera, scope.epoch, scope.generation)
