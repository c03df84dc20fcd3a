"""Decide what of a request may be opened: this custodian's own judgement, from signatures.

Pure: the caller brings the time, the directory, the policy and the withdrawals it knows of. Nothing
that the aggregator merely says counts: the query, the approvals, the withdrawals and the boards'
announcements are each signed by those whose word it is (docs/protocol.md, "Queries").
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from custodian.trust import Site
from protocol import hpke
from protocol.about_queries import (
    APPROVAL_KIND,
    MATCHER_KEY_KIND,
    WITHDRAWAL_KIND,
    MatcherKey,
    Withdrawal,
)
from protocol.authorization import (
    AuthorizedQuery,
    authorize,
    check_withdrawal,
    parse_signed_query,
)
from protocol.directory import AGGREGATOR, BOX
from protocol.epoch import EPOCH_KIND, RECORDING, Announcement
from protocol.errors import (
    ClockSkew,
    MalformedMessage,
    PrincipalRevoked,
    ProtocolError,
    RetentionEnded,
    ScopeExceeded,
    SignatureInvalid,
    UnknownSigner,
    UnsupportedVersion,
)
from protocol.grant import GrantRequest, Scope
from protocol.names import epoch_of
from protocol.sharing import check_sharing
from protocol.signing import Signed
from protocol.v2.release import RowRequest


class Case(Protocol):
    """What whoever asks for anything brings: the query, and what was signed over and for it."""

    @property
    def query(self) -> bytes:
        """The signed query."""

    @property
    def approvals(self) -> tuple[bytes, ...]:
        """The signed approvals."""

    @property
    def withdrawals(self) -> tuple[bytes, ...]:
        """The signed withdrawals that the asker knows of."""

    @property
    def announcements(self) -> tuple[bytes, ...]:
        """The boards' signed announcements of what is to be opened."""

    @property
    def requested_at_ms(self) -> int:
        """When it was asked."""


CaseT = TypeVar("CaseT", bound=Case)


@dataclass(frozen=True, slots=True)
class Form(Generic[CaseT]):
    """A kind of request: what it is called, who may sign it, and how its payload is read."""

    kind: str
    duty: str
    parse: Callable[[bytes], CaseT]


@dataclass(frozen=True, slots=True)
class OpenedRequest(Generic[CaseT]):
    """A request that ``asker`` signed just now; what it brings has yet to be judged.

    ``withdrawals`` are genuine, for whatever query.
    """

    request: CaseT
    asker: str
    signed_query: Signed
    withdrawals: tuple[tuple[Signed, Withdrawal], ...]


@dataclass(frozen=True, slots=True)
class Opening:
    """An announcement of which ``scope`` may be opened now."""

    announcement: Announcement
    scope: Scope


@dataclass(frozen=True, slots=True)
class Refusal:
    """What cannot be opened, and why: a generation of a camera's day.

    Args:
        place: box, camera, epoch, generation.
    """

    place: tuple[str, str, int, int]
    error: ProtocolError

    @property
    def camera(self) -> str:
        """The camera's name."""
        return self.place[1]

    @property
    def epoch(self) -> int:
        """The day."""
        return self.place[2]


@dataclass(frozen=True, slots=True)
class Decision:
    """What may leave: the slots of ``openings``, by ``site`` and the withdrawals ``known`` then."""

    site: Site
    known: tuple[Signed, ...]
    signed_query: Signed
    approvals: tuple[Signed, ...]
    authorized: AuthorizedQuery
    openings: tuple[Opening, ...]
    refused: tuple[Refusal, ...]
    now_ms: int


def open_request(
    signed: Signed, form: Form[CaseT], site: Site, *, now_ms: int, clock_skew_ms: int
) -> OpenedRequest[CaseT]:
    """Verify who sent a request and when; read what it brings.

    Raises:
        SignatureInvalid, UnknownSigner, PrincipalRevoked: not signed by whom the form says, or a
            withdrawal in it is not genuine.
        MalformedMessage: it is not such a request.
        ClockSkew: it is dated more than ``clock_skew_ms`` from now.
    """
    directory = site.directory
    request = form.parse(signed.verify(directory.resolver(form.duty)))
    skew_ms = request.requested_at_ms - now_ms
    if abs(skew_ms) > clock_skew_ms:
        side = "after" if skew_ms > 0 else "before"
        raise ClockSkew(
            f"the request is dated {abs(skew_ms) // 1000} s {side} this custodian's time; at most "
            f"{clock_skew_ms // 1000} s are allowed: set the clock of whichever is wrong"
        )
    signed_query = parse_signed_query(request.query)
    withdrawals = []
    for data in request.withdrawals:
        withdrawal = Signed.parse(data, kind=WITHDRAWAL_KIND)
        withdrawals.append((withdrawal, check_withdrawal(withdrawal, directory)))
    return OpenedRequest(request, signed.signer, signed_query, tuple(withdrawals))


def decide(
    opened: OpenedRequest[CaseT],
    withdrawals: Sequence[Signed],
    site: Site,
    *,
    custodian: str,
    now_ms: int,
) -> Decision:
    """Judge an opened request, whatever it is for: the one way in which anything is decided.

    Args:
        withdrawals: every withdrawal known for its query.

    Raises:
        NotAuthorized: its subclass says why nothing may be opened.
        SignatureInvalid, MalformedMessage: the query or an approval is not a genuine one.
        ProtocolError: nothing of what was asked can be opened; the first reason why.
    """
    approvals = tuple(Signed.parse(data, kind=APPROVAL_KIND) for data in opened.request.approvals)
    authorized = authorize(
        opened.signed_query,
        approvals,
        withdrawals,
        directory=site.directory,
        policy=site.policy,
        now_ms=now_ms,
    )
    openings: list[Opening] = []
    refused: list[Refusal] = []
    taken: set[tuple[str, str, int, int]] = set()
    cameras = frozenset(authorized.query.cameras)
    for data in opened.request.announcements:
        signed = Signed.parse(data, kind=EPOCH_KIND)
        claimed = Announcement.parse(signed.payload, box=signed.signer)
        place = place_of(claimed)
        try:
            if place in taken:
                raise ScopeExceeded("the request brings this announcement twice")
            taken.add(place)
            announcement = _genuine(signed, claimed, site)
            check_sharing(announcement, site.sharing, now_ms=now_ms)
            scope = _scope(announcement, authorized, cameras, site, custodian, now_ms=now_ms)
        except ProtocolError as error:
            refused.append(Refusal(place, error))
        else:
            openings.append(Opening(announcement, scope))
    if not openings:
        raise nothing_left(refused)
    return Decision(
        site=site,
        known=tuple(withdrawals),
        signed_query=opened.signed_query,
        approvals=approvals,
        authorized=authorized,
        openings=tuple(openings),
        refused=tuple(refused),
        now_ms=now_ms,
    )


def place_of(announcement: Announcement) -> tuple[str, str, int, int]:
    """Return of which generation it is: box, camera, epoch, generation."""
    address = announcement.address
    return (address.box, address.camera, announcement.epoch, announcement.generation)


def nothing_left(refused: Sequence[Refusal]) -> ProtocolError:
    """Return the error that says why nothing of a request can be opened."""
    if not refused:
        return MalformedMessage("the request names no announcement: there is nothing to open")
    first = refused[0]
    more = f" (and {len(refused) - 1} more refusals)" if len(refused) > 1 else ""
    return type(first.error)(
        f"nothing can be opened: camera '{first.camera}', epoch {first.epoch}: {first.error}{more}"
    )


def retention_ended(epoch: int, *, retention_days: int, now_ms: int) -> bool:
    """Tell whether the sightings of a day must not be opened any more: its last is too old."""
    return epoch < first_retained(retention_days=retention_days, now_ms=now_ms)


def first_retained(*, retention_days: int, now_ms: int) -> int:
    """Return the first epoch whose retention has not ended."""
    return epoch_of(now_ms) - retention_days


def matcher_of(
    opened: OpenedRequest[GrantRequest] | OpenedRequest[RowRequest], site: Site
) -> hpke.PublicKey:
    """Return the key to which is sealed what the aggregator gets.

    Raises:
        SignatureInvalid, MalformedMessage: the aggregator that asks did not sign it.
        ScopeExceeded: it was made for another query.
    """
    signed = Signed.parse(opened.request.matcher_key, kind=MATCHER_KEY_KIND)
    key = MatcherKey.parse(signed.verify(site.directory.resolver(AGGREGATOR)))
    if signed.signer != opened.asker:
        raise SignatureInvalid("the matcher's key is not of the aggregator that asks")
    if not hmac.compare_digest(key.query_digest, opened.signed_query.digest):
        raise ScopeExceeded("the matcher's key was made for another query")
    return key.key


def _genuine(signed: Signed, claimed: Announcement, site: Site) -> Announcement:
    """Return the announcement if a box signed it that might speak for that camera when it did.

    What a box announced before it was revoked, or before its camera went to another box, can still
    be opened: what it saw before that is no less true. A thief who dates announcements back opens
    nothing of it: the aggregator takes nothing more from that box, and its earlier keys are gone.
    """
    if claimed.address.site != site.directory.site:
        raise UnknownSigner(f"the announcement is of site '{claimed.address.site}'")
    try:
        _check_present_right(signed, claimed, site)
    except SignatureInvalid:
        if not _had_right(signed, claimed, site):
            raise
    return claimed


def _check_present_right(signed: Signed, claimed: Announcement, site: Site) -> None:
    """Check that the directory in force says that the box may speak for that camera, or then might.

    Raises:
        SignatureInvalid: it does not, or somebody else signed.
        UnsupportedVersion: the box announced in version 1 after it had changed to version 2.
    """
    camera = claimed.address.camera
    box = site.directory.principals.get(signed.signer)
    if box is None or BOX not in box.duties:
        raise UnknownSigner(f"the directory lists no box '{signed.signer}'")
    if claimed.origin == RECORDING:
        if camera not in box.recordings:
            raise UnknownSigner(f"'{signed.signer}' may import no recordings of camera '{camera}'")
    elif camera not in box.cameras:
        raise UnknownSigner(f"'{signed.signer}' does not speak for camera '{camera}'")
    if box.revoked_at_ms is not None and claimed.announced_at_ms >= box.revoked_at_ms:
        raise PrincipalRevoked(f"the box '{signed.signer}' had been revoked when it announced this")
    signed.verify(lambda _name: box.verify_key)
    last_ms = box.version_1_until_ms
    if claimed.version == 1 and last_ms is not None and claimed.announced_at_ms > last_ms:
        raise UnsupportedVersion(
            f"the box '{signed.signer}' announced this in version 1 of the protocol after it had "
            "changed to version 2: whoever holds its key would have metadata open by slot"
        )


def _had_right(signed: Signed, claimed: Announcement, site: Site) -> bool:
    """Tell whether a former directory said that the box may speak for that camera, when it did."""
    for right in site.former_rights.of(
        signed.signer, claimed.address.camera, recording=claimed.origin == RECORDING
    ):
        if right.covers(claimed.announced_at_ms, claimed.version):
            try:
                signed.verify(lambda _name, key=right.verify_key: key)  # type: ignore[misc]
            except SignatureInvalid:
                continue
            return True
    return False


def _scope(
    announcement: Announcement,
    authorized: AuthorizedQuery,
    cameras: frozenset[str],
    site: Site,
    custodian: str,
    *,
    now_ms: int,
) -> Scope:
    """Return the slots of one announcement that may be opened now."""
    if announcement.address.camera not in cameras:
        raise ScopeExceeded("the query does not cover this camera")
    if retention_ended(
        announcement.epoch, retention_days=site.policy.retention_days, now_ms=now_ms
    ):
        raise RetentionEnded(
            f"retention of {site.policy.retention_days} days has ended: its key is destroyed"
        )
    slots = authorized.grantable_slots(announcement.epoch, now_ms=now_ms)
    if not slots:
        raise ScopeExceeded("no slot of this day is covered by the query, or has ended yet")
    if custodian not in announcement.custodians:
        raise ScopeExceeded(f"the board shared nothing with '{custodian}'")
    return Scope(
        announcement.address,
        announcement.epoch,
        announcement.generation,
        slots.start,
        slots.stop - 1,
    )
