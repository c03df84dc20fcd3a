"""Ask the custodians for the keys of an authorized query, and put together what they release.

All custodians are asked at once; each decides for itself. Fewer than the site's threshold of them
means that nothing opens, and the error says who answered what.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from aggregator.store import Store, StoredAnnouncement
from aggregator.store.queries import QueryRecord
from protocol import hpke
from protocol.directory import CUSTODIAN, Principal
from protocol.encoding import MAX_MESSAGE_BYTES, encode
from protocol.epoch import EPOCH_KIND, Announcement
from protocol.errors import ProtocolError, SharesMissing
from protocol.grant import (
    GRANT_KIND,
    EpochKeys,
    Grant,
    GrantedKeys,
    GrantRequest,
    Scope,
    combine,
)
from protocol.query import MatcherKey
from protocol.signing import Signed, SigningKey
from runtime.auditlog import AuditLog
from runtime.clock import system_ms
from runtime.config import TlsConfig
from runtime.errors import OperationError
from runtime.http import CBOR, PeerUnreachable, ProblemError, client, raise_for_problem
from runtime.trust import Trust

_log = structlog.get_logger()
ANNOUNCEMENTS_A_REQUEST = 256
_TIMEOUT_S = 60.0
_FINAL = frozenset({400, 401, 403, 409, 410})
EpochName = tuple[str, str, int, int]
"""Box, camera, epoch, generation."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one custodian released nothing; ``final`` when asking again would not change it."""

    custodian: str
    reason: str
    final: bool


class GrantRejected(OperationError):
    """A custodian's answer is genuine but not what was asked for."""


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
        refused: camera and epoch to why it stayed closed although the query was granted.
        refusals: custodians that released nothing at all.
    """

    keys: tuple[EpochKeys, ...]
    grant_ids: tuple[bytes, ...]
    refused: Mapping[tuple[str, int], str]
    refusals: tuple[Refusal, ...]


class Custodians:
    """The custodians as the aggregator sees them.

    Args:
        store: where grants are noted (never their keys).
        trust: the site's directory, which says where the custodians are.
        log: the aggregator's audit log.
        key: the aggregator's identity.
        tls: its client certificate.
    """

    def __init__(
        self, store: Store, trust: Trust, log: AuditLog, key: SigningKey, tls: TlsConfig | None
    ) -> None:
        self._store = store
        self._trust = trust
        self._log = log
        self._key = key
        self._tls = tls

    def grant(
        self,
        record: QueryRecord,
        approvals: Sequence[Signed],
        withdrawals: Sequence[Signed],
        matcher: hpke.PrivateKey,
        announcements: Sequence[StoredAnnouncement],
    ) -> Granted:
        """Ask for the keys of ``announcements``, as far as the query covers them by now.

        Raises:
            TooFewGrants: fewer custodians than the threshold granted anything.
            ShareInvalid, ScopeExceeded: custodians contradict one another; nothing is used.
        """
        statement = MatcherKey(record.digest, matcher.public, system_ms()).sign(self._key)
        collected: list[Granted] = []
        for start in range(0, len(announcements), ANNOUNCEMENTS_A_REQUEST):
            part = announcements[start : start + ANNOUNCEMENTS_A_REQUEST]
            request = GrantRequest(
                query=record.signed,
                approvals=tuple(approval.to_bytes() for approval in approvals),
                withdrawals=tuple(withdrawal.to_bytes() for withdrawal in withdrawals),
                matcher_key=statement.to_bytes(),
                announcements=tuple(announcement.signed for announcement in part),
                requested_at_ms=system_ms(),
            )
            signed = request.sign(self._key).to_bytes()
            collected.append(self._ask_all(record, signed, part, matcher))
        return Granted(
            keys=tuple(keys for granted in collected for keys in granted.keys),
            grant_ids=tuple(g for granted in collected for g in granted.grant_ids),
            refused={k: v for granted in collected for k, v in granted.refused.items()},
            refusals=collected[-1].refusals if collected else (),
        )

    def _ask_all(
        self,
        record: QueryRecord,
        request: bytes,
        announcements: Sequence[StoredAnnouncement],
        matcher: hpke.PrivateKey,
    ) -> Granted:
        directory = self._trust.directory
        custodians = directory.with_duty(CUSTODIAN)
        with ThreadPoolExecutor(len(custodians) or 1, thread_name_prefix="grant") as pool:
            answers = list(pool.map(lambda c: self._ask(c, record, request), custodians))
        grants = [answer for answer in answers if isinstance(answer, tuple)]
        refusals = [answer for answer in answers if isinstance(answer, Refusal)]
        if len(grants) < directory.threshold:
            raise TooFewGrants(len(grants), directory.threshold, refusals)
        released: dict[EpochName, dict[str, GrantedKeys]] = {}
        refused: dict[tuple[str, int], str] = {}
        opened: list[Grant] = []
        for custodian, grant in grants:
            self._note(record, custodian, grant)
            try:
                granted = grant.open(matcher)
            except ProtocolError as error:
                _log.error("grant_does_not_open", custodian=custodian, reason=str(error))
                refusals.append(Refusal(custodian, f"its grant does not open: {error}", False))
                continue
            opened.append(grant)
            for keys in granted:
                released.setdefault(_name(keys.scope), {})[custodian] = keys
            refused.update({(camera, epoch): why for camera, epoch, why in grant.refused})
        if len(opened) < directory.threshold:
            raise TooFewGrants(len(opened), directory.threshold, refusals)
        return Granted(
            keys=tuple(_combine_each(announcements, released, refused)),
            grant_ids=tuple(grant.grant_id for grant in opened),
            refused=refused,
            refusals=tuple(refusals),
        )

    def _ask(
        self, custodian: Principal, record: QueryRecord, request: bytes
    ) -> tuple[str, Grant] | Refusal:
        """Return the custodian's verified grant, or why there is none."""
        name = custodian.name
        try:
            grant = self._fetch(custodian, record, request)
        except ProblemError as error:
            refusal = Refusal(name, str(error), final=error.status in _FINAL)
        except (OperationError, ProtocolError) as error:
            refusal = Refusal(name, str(error), final=False)
        else:
            return name, grant
        _log.warning("not_granted", custodian=name, reason=refusal.reason, final=refusal.final)
        return refusal

    def _fetch(self, custodian: Principal, record: QueryRecord, request: bytes) -> Grant:
        """Ask one custodian.

        Raises:
            ProblemError, PeerUnreachable: it refuses, or does not answer.
            SignatureInvalid, MalformedMessage: its answer is not a grant of its own.
            GrantRejected: its answer is for another query.
        """
        if custodian.url is None:
            raise PeerUnreachable("the directory gives no address for it")
        with client(
            custodian.url, self._tls, _TIMEOUT_S, max_answer_bytes=MAX_MESSAGE_BYTES
        ) as http:
            response = http.post("/v1/grants", content=request, headers={"content-type": CBOR})
            raise_for_problem(response)
        signed = Signed.parse(response.content, kind=GRANT_KIND)
        grant = Grant.parse(signed.verify(self._trust.directory.resolver(CUSTODIAN)))
        if signed.signer != custodian.name or grant.query_digest != record.digest:
            raise GrantRejected("it answered with a grant of another custodian or query")
        return grant

    def _note(self, record: QueryRecord, custodian: str, grant: Grant) -> None:
        scopes = [scope.to_value() for scope in grant.scopes]
        body = {
            "custodian": custodian,
            "grant_id": grant.grant_id,
            "query_digest": record.digest,
            "scopes": scopes,
        }
        self._log.append("grant-received", system_ms(), self._key.signer, record.query_id, body)
        with self._store.writing() as database:
            database.conn.execute(
                "INSERT OR IGNORE INTO grants (grant_id, custodian, query_digest, labels, scopes,"
                " refused, entry_index, granted_ms, received_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    grant.grant_id,
                    custodian,
                    record.digest,
                    json.dumps(list(grant.labels)),
                    encode(scopes),
                    json.dumps([list(item) for item in grant.refused]),
                    grant.entry_index,
                    grant.granted_at_ms,
                    system_ms(),
                ],
            )


def _combine_each(
    announcements: Sequence[StoredAnnouncement],
    released: Mapping[EpochName, Mapping[str, GrantedKeys]],
    refused: dict[tuple[str, int], str],
) -> list[EpochKeys]:
    """Combine what was released; what too few custodians released joins ``refused``."""
    combined = []
    for stored in announcements:
        address = stored.address
        mine = released.get((address.box, address.camera, stored.epoch, stored.generation))
        if not mine:
            continue
        signed = Signed.parse(stored.signed, kind=EPOCH_KIND)
        announcement = Announcement.parse(signed.payload, box=signed.signer)
        try:
            combined.append(combine(announcement, _agreed(mine)))
        except SharesMissing as error:
            refused.setdefault((address.camera, stored.epoch), str(error))
    return combined


def _agreed(released: Mapping[str, GrantedKeys]) -> list[GrantedKeys]:
    """Return what most custodians released alike, each of them counted once.

    Those whose clocks straddle a slot's beginning release different last slots; and one that lies
    about its scope does not keep closed what enough others have opened.
    """
    alike: dict[tuple[Scope, frozenset[str]], list[GrantedKeys]] = {}
    for keys in released.values():
        alike.setdefault((keys.scope, frozenset(keys.nodes)), []).append(keys)
    return max(alike.values(), key=lambda group: (len(group), -group[0].scope.last_slot))


def _name(scope: Scope) -> EpochName:
    return (scope.address.box, scope.address.camera, scope.epoch, scope.generation)
