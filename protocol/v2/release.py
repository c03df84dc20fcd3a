"""Metadata row by row: what the aggregator asks for after matching, and what custodians answer.

A grant opens templates, so that they can be compared; it holds nothing of the label ``meta``. For
what was found the aggregator names the rows, each custodian decides again, counts them against the
query's ``max_candidates``, writes its log, and only then releases one value a root and row. Its
signed receipt says how many rows of this query it has opened so far and commits to which, so that
officers can hold the results that they are shown against what was opened (docs/protocol.md,
"Version 2").
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from protocol import hpke
from protocol.encoding import Fields, decode, encode
from protocol.epoch import Announcement, roots_of
from protocol.epoch_keys import Opening
from protocol.errors import (
    MalformedMessage,
    ScopeExceeded,
    ShareInvalid,
    SharesMissing,
)
from protocol.grant import MAX_ANNOUNCEMENTS, MAX_APPROVALS
from protocol.hmacs import KEY_BYTES
from protocol.keytree import DEPTH, META, ModalityKey, descend, tree_top
from protocol.names import SightingName
from protocol.reconcile import true_key
from protocol.signing import Signed, SigningKey, sign
from protocol.v2 import VERSION
from protocol.v2.keys import row_key, row_value

ROW_REQUEST_KIND, ROW_RELEASE_KIND = "row-request", "row-release"
RELEASE_ID_BYTES, SALT_BYTES = 16, 32
MAX_ROWS = 10_000
"""In one request; a policy's ``max_candidates`` is never above it."""
_RELEASE = "row-release"


Values = Mapping[SightingName, Mapping[int, bytes]]
"""What one custodian releases: for each sighting, number of the root to 32 bytes."""


def digest_of(salt: bytes, rows: Iterable[SightingName]) -> bytes:
    """Return what a receipt says of its rows: it commits to them and tells none, 32 bytes."""
    value = encode([salt, [row.to_value() for row in sorted(set(rows))]])
    return hashlib.sha256(value).digest()


@dataclass(frozen=True, slots=True)
class RowRequest:
    """What the aggregator asks a custodian; every member but the rows and the time is signed."""

    query: bytes
    approvals: tuple[bytes, ...]
    withdrawals: tuple[bytes, ...]
    matcher_key: bytes
    announcements: tuple[bytes, ...]
    rows: tuple[SightingName, ...]
    requested_at_ms: int

    def sign(self, aggregator: SigningKey) -> Signed:
        """Sign as the aggregator."""
        payload = {
            "v": VERSION,
            "query": self.query,
            "approvals": list(self.approvals),
            "withdrawals": list(self.withdrawals),
            "matcher_key": self.matcher_key,
            "announcements": list(self.announcements),
            "rows": [row.to_value() for row in self.rows],
            "requested_at_ms": self.requested_at_ms,
        }
        return sign(ROW_REQUEST_KIND, encode(payload), aggregator)

    @classmethod
    def parse(cls, payload: bytes) -> RowRequest:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not a request for rows, or names a row twice.
        """
        fields = Fields(decode(payload, what="row request"), what="row request")
        fields.version(VERSION)
        request = cls(
            query=fields.raw("query"),
            approvals=fields.raws("approvals", max_items=MAX_APPROVALS),
            withdrawals=fields.raws("withdrawals", max_items=MAX_APPROVALS),
            matcher_key=fields.raw("matcher_key"),
            announcements=fields.raws("announcements", max_items=MAX_ANNOUNCEMENTS),
            rows=tuple(
                SightingName.from_value(item)
                for item in fields.array("rows", max_items=MAX_ROWS, min_items=1)
            ),
            requested_at_ms=fields.integer("requested_at_ms"),
        )
        fields.done()
        if len(set(request.rows)) != len(request.rows):
            raise MalformedMessage("row request: a row is named twice")
        return request


def release_rows(
    roots: Mapping[int, bytes], announcement: Announcement, rows: Sequence[SightingName]
) -> Values:
    """Derive what one custodian releases of its roots of one announcement.

    Args:
        roots: number of the root to its 32 bytes.
        rows: of this announcement's generation.

    Returns:
        For each row, root number to 32 bytes.

    Raises:
        ScopeExceeded: a row is of another generation, or the generation's metadata opens by slot.
    """
    return release_values(roots, announcement, rows, label=META, value_of=row_value)


def release_values(
    roots: Mapping[int, bytes],
    announcement: Announcement,
    names: Sequence[SightingName],
    *,
    label: str,
    value_of: Callable[[bytes, bytes], bytes],
) -> Values:
    """Derive one value a root and sighting, as :func:`release_rows`, from the leaves of ``label``.

    Args:
        value_of: makes it of a leaf, 32 bytes, and a sighting's id.
    """
    if announcement.version != VERSION:
        raise ScopeExceeded(
            "the metadata of this generation opens by slot, not row by row: it is of version 1"
        )
    address = announcement.address
    mine = (address.box, address.camera, announcement.epoch, announcement.generation)
    if any((name.box, name.camera, name.epoch, name.generation) != mine for name in names):
        raise ScopeExceeded("a row is not of this announcement's generation")
    tops = {number: tree_top(root, label, VERSION) for number, root in roots.items()}
    released: dict[SightingName, Mapping[int, bytes]] = {}
    leaves: dict[int, dict[int, bytes]] = {}
    for name in names:
        if name.slot not in leaves:
            leaves[name.slot] = {
                number: descend(top, DEPTH, name.slot).key for number, top in tops.items()
            }
        released[name] = {
            number: value_of(leaf, name.sighting_id) for number, leaf in leaves[name.slot].items()
        }
    return released


@dataclass(frozen=True, slots=True)
class RowRelease:
    """A custodian's answer.

    Args:
        rows: how many this answer opens.
        total: distinct rows of this query that this custodian has opened so far, these included.
        digest: :func:`digest_of` the rows under the salt that is sealed beside their values.
        entry_index: where it stands in the custodian's log, written before this left.
        sealed: salt and values, to the matcher.
    """

    release_id: bytes
    query_digest: bytes
    rows: int
    total: int
    digest: bytes
    entry_index: int
    released_at_ms: int
    sealed: bytes

    def sign(self, custodian: SigningKey) -> Signed:
        """Sign as the custodian."""
        payload = {
            "v": VERSION,
            "release_id": self.release_id,
            "query_digest": self.query_digest,
            "rows": self.rows,
            "total": self.total,
            "digest": self.digest,
            "entry_index": self.entry_index,
            "released_at_ms": self.released_at_ms,
            "sealed": self.sealed,
        }
        return sign(ROW_RELEASE_KIND, encode(payload), custodian)

    @classmethod
    def parse(cls, payload: bytes) -> RowRelease:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not a release of rows.
        """
        fields = Fields(decode(payload, what="row release"), what="row release")
        fields.version(VERSION)
        release = cls(
            release_id=fields.raw("release_id", size=RELEASE_ID_BYTES),
            query_digest=fields.raw("query_digest", size=32),
            rows=fields.integer("rows", low=1, high=MAX_ROWS),
            total=fields.integer("total", low=1),
            digest=fields.raw("digest", size=32),
            entry_index=fields.integer("entry_index"),
            released_at_ms=fields.integer("released_at_ms"),
            sealed=fields.raw("sealed"),
        )
        fields.done()
        if release.total < release.rows:
            raise MalformedMessage("row release: it opens more rows than it has opened in all")
        return release

    def open(self, matcher: hpke.PrivateKey) -> tuple[bytes, Values]:
        """Open salt and values.

        Raises:
            AuthenticationFailed: altered, or for another matcher or query.
            MalformedMessage: not values of rows.
            ScopeExceeded: they are of other rows than the release states.
        """
        opened = matcher.open(
            self.sealed, purpose=_RELEASE, context=[self.release_id, self.query_digest]
        )
        return read_stated_values(opened, self.rows, self.digest, most=MAX_ROWS, what="rows")


def seal_rows(
    values: Values,
    matcher: hpke.PublicKey,
    *,
    salt: bytes,
    release_id: bytes,
    query_digest: bytes,
) -> bytes:
    """Seal released values to the matcher.

    Args:
        salt: 32 random bytes, for :func:`digest_of`.
    """
    context: list[object] = [release_id, query_digest]
    return matcher.seal(encode_values(salt, values), purpose=_RELEASE, context=context)


def encode_values(salt: bytes, values: Values) -> bytes:
    """Encode salt and values, to be sealed."""
    return encode(
        {
            "salt": salt,
            "rows": [
                [name.to_value(), [[number, one[number]] for number in sorted(one)]]
                for name, one in sorted(values.items())
            ],
        }
    )


def read_stated_values(
    data: bytes, count: int, digest: bytes, *, most: int, what: str
) -> tuple[bytes, Values]:
    """Read salt and values as :func:`decode_values`, if they are of what the release states.

    Args:
        count: of how many sightings.
        digest: :func:`digest_of` those sightings.
        what: they are called, in the refusal.

    Raises:
        MalformedMessage: they are none.
        ScopeExceeded: they are of other sightings.
    """
    salt, values = decode_values(data, most=most)
    if len(values) != count or not hmac.compare_digest(digest_of(salt, values), digest):
        raise ScopeExceeded(f"a custodian released other {what} than it states")
    return salt, values


def decode_values(data: bytes, *, most: int) -> tuple[bytes, Values]:
    """Read salt and values of at most so many sightings.

    Raises:
        MalformedMessage: they are none.
    """
    fields = Fields(decode(data, what="released values"), what="released values")
    salt = fields.raw("salt", size=SALT_BYTES)
    values: dict[SightingName, Mapping[int, bytes]] = {}
    for item in fields.array("rows", max_items=most, min_items=1):
        if not isinstance(item, list) or len(item) != 2 or not isinstance(item[1], list):
            raise MalformedMessage("a released row is not [row, [[root, value]]]")
        values[SightingName.from_value(item[0])] = _read_values(item[1])
    fields.done()
    return salt, values


def open_row_key(
    announcement: Announcement,
    row: SightingName,
    released: Mapping[str, Mapping[int, bytes]],
    commitment: bytes,
) -> Opening:
    """Return the row's key that ``commitment`` commits to, and who released something else.

    Args:
        released: custodian to root number to value; each for exactly the roots shared with it.
        commitment: the first 32 bytes of the row's seal.

    Raises:
        ShareInvalid: a custodian released other roots than the box shared with it.
        SharesMissing: fewer than m custodians released it.
        KeyCommitmentMismatch: no m of them released the key that the row was sealed under.
    """
    name = row.slot_name(announcement.address.site)
    return open_value_key(
        announcement,
        released,
        lambda values: row_key(values, name, row.sighting_id),
        commitment,
        what="the row",
    )


def open_value_key(
    announcement: Announcement,
    released: Mapping[str, Mapping[int, bytes]],
    derive: Callable[[tuple[bytes, ...]], ModalityKey],
    commitment: bytes,
    *,
    what: str,
) -> Opening:
    """Return the key of one sighting's row or still; as :func:`open_row_key`.

    Args:
        derive: makes it of the values of all roots.
        what: was sealed, for the errors.
    """
    subsets = announcement.subsets()
    for custodian, values in released.items():
        if custodian not in announcement.custodians or set(values) != set(
            roots_of(custodian, subsets)
        ):
            raise ShareInvalid(f"'{custodian}' released other roots than the box shared with it")
    if len(released) < announcement.threshold:
        raise SharesMissing(
            f"{len(released)} custodians released {what}; {announcement.threshold} are needed"
        )
    return true_key(released, announcement.threshold, derive, commitment, what=what)


def _read_values(items: Sequence[object]) -> dict[int, bytes]:
    values: dict[int, bytes] = {}
    for item in items:
        if (
            not isinstance(item, list)
            or [type(part) for part in item] != [int, bytes]
            or item[0] in values
            or len(item[1]) != KEY_BYTES
        ):
            raise MalformedMessage("a released value is not [root, 32 bytes]")
        values[item[0]] = item[1]
    return values
