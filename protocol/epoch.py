"""The epoch announcement: the day's roots, shared among custodians so that only m together open.

For m of n custodians there is one root for each subset of m - 1 of them, and a custodian receives
every root whose subset it is not in. Any m custodians hold all roots together; m - 1 always lack
one (replicated secret sharing; M. Ito, A. Saito, T. Nishizeki, GLOBECOM 1987). docs/protocol.md,
"Keys of a camera's day", points 1 and 2.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from protocol import hpke
from protocol.encoding import Fields, decode, encode
from protocol.errors import MalformedMessage, ShareInvalid, UnsupportedVersion
from protocol.hmacs import KEY_BYTES
from protocol.keytree import LABELS_OF, context_of
from protocol.names import CameraAddress, require_name
from protocol.sealing import read_models
from protocol.signing import Signed, SigningKey, sign

EPOCH_KIND = "epoch"
MAX_CUSTODIANS = 9
MAX_ROOTS = 126
_SHARE = "epoch-share"
CAMERA_NOW, RECORDING = "live", "recorded"
"""Where the pictures are from: the camera as it sees, or a recording that was imported."""
ORIGINS = frozenset({CAMERA_NOW, RECORDING})


def excluded_subsets(custodians: Sequence[str], threshold: int) -> list[frozenset[str]]:
    """Return, in the order of the roots, the custodians that do **not** receive each root.

    Raises:
        MalformedMessage: not 1 <= threshold <= number of distinct custodians <= 9.
    """
    names = sorted(set(custodians))
    if len(names) != len(custodians) or not 1 <= threshold <= len(names) <= MAX_CUSTODIANS:
        raise MalformedMessage(f"{threshold} of {len(custodians)} custodians is not a sharing")
    return [frozenset(subset) for subset in combinations(names, threshold - 1)]


def roots_of(custodian: str, subsets: Sequence[frozenset[str]]) -> list[int]:
    """Return the numbers of the roots that ``custodian`` receives."""
    return [number for number, excluded in enumerate(subsets) if custodian not in excluded]


def commit_to_root(root: bytes, version: int = 1) -> bytes:
    """Return the public commitment to a root, 32 bytes."""
    return hmac.digest(root, f"{context_of(version)}/root-commitment".encode(), "sha256")


@dataclass(frozen=True, slots=True)
class SealedShare:
    """One custodian's roots, sealed to its key of the day with ``key_id``."""

    key_id: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Announcement:
    """The announcement of one generation of one camera's epoch.

    ``commitments[i]`` commits to root i, so that a custodian notices a share that would open
    nothing, and two custodians cannot be given different roots. ``shares`` may lack a custodian
    whose day key the board did not have. ``models`` maps a modality to the space of its templates;
    ``version`` is that of the protocol for all envelopes of this generation.
    """

    address: CameraAddress
    epoch: int
    generation: int
    sequence: int
    threshold: int
    custodians: tuple[str, ...]
    commitments: tuple[bytes, ...]
    shares: Mapping[str, SealedShare]
    models: Mapping[str, str]
    announced_at_ms: int
    version: int = 1
    origin: str = CAMERA_NOW

    def subsets(self) -> list[frozenset[str]]:
        """Return :func:`excluded_subsets` of this announcement."""
        return excluded_subsets(self.custodians, self.threshold)

    def sign(self, board: SigningKey) -> Signed:
        """Sign as the board."""
        payload = {
            "v": self.version,
            "site": self.address.site,
            "camera": self.address.camera,
            "epoch": self.epoch,
            "generation": self.generation,
            "sequence": self.sequence,
            "threshold": self.threshold,
            "custodians": list(self.custodians),
            "commitments": list(self.commitments),
            "shares": {name: [s.key_id, s.sealed] for name, s in self.shares.items()},
            "models" if self.version == 1 else "spaces": dict(self.models),
            "announced_at_ms": self.announced_at_ms,
        }
        if self.version > 1:
            payload["origin"] = self.origin
        return sign(EPOCH_KIND, encode(payload), board)

    @classmethod
    def parse(cls, payload: bytes, *, box: str) -> Announcement:
        """Read a verified payload signed by ``box``.

        Raises:
            MalformedMessage: it is not an announcement.
        """
        fields = Fields(decode(payload, what="epoch announcement"), what="epoch announcement")
        version = fields.integer("v")
        if version not in LABELS_OF:
            raise UnsupportedVersion(
                f"the announcement is of version {version} of the protocol: this machine needs "
                "its update"
            )
        address = CameraAddress(fields.text("site"), box, fields.text("camera"))
        custodians = fields.texts("custodians", max_items=MAX_CUSTODIANS, min_items=1)
        threshold = fields.integer("threshold", low=1, high=MAX_CUSTODIANS)
        subsets = excluded_subsets(custodians, threshold)
        commitments = fields.array("commitments", max_items=MAX_ROOTS)
        if len(commitments) != len(subsets) or not all(
            isinstance(item, bytes) and len(item) == KEY_BYTES for item in commitments
        ):
            raise MalformedMessage("an announcement has not one commitment a root")
        announcement = cls(
            address=address,
            epoch=fields.integer("epoch", high=2**31),
            generation=fields.integer("generation", low=1),
            sequence=fields.integer("sequence"),
            threshold=threshold,
            custodians=tuple(require_name(name, what="custodian") for name in custodians),
            commitments=tuple(commitments),
            shares=_read_shares(fields.mapping("shares", max_items=MAX_CUSTODIANS), custodians),
            models=read_models(fields.mapping("models" if version == 1 else "spaces", max_items=2)),
            announced_at_ms=fields.integer("announced_at_ms"),
            version=version,
            origin=CAMERA_NOW if version == 1 else fields.choice("origin", ORIGINS),
        )
        fields.done()
        return announcement

    def open_share(self, custodian: str, key: hpke.PrivateKey) -> dict[int, bytes]:
        """Open the roots of ``custodian``: number of the root to its 32 bytes.

        Raises:
            ShareInvalid: no share, for another key, or it does not fit the commitments.
            AuthenticationFailed: the share has been altered.
        """
        share = self.shares.get(custodian)
        # The seal would not open either; the id tells a share for another key from an altered one.
        if share is None or share.key_id != key.public.key_id:
            raise ShareInvalid(f"the announcement holds no share for this day key of {custodian}")
        opened = key.open(share.sealed, purpose=_SHARE, context=self._context(custodian))
        numbers = roots_of(custodian, self.subsets())
        if len(opened) != KEY_BYTES * len(numbers):
            raise ShareInvalid(f"the share of {custodian} has not {len(numbers)} roots")
        roots = {
            number: opened[place * KEY_BYTES : (place + 1) * KEY_BYTES]
            for place, number in enumerate(numbers)
        }
        for number, root in roots.items():
            if not hmac.compare_digest(
                commit_to_root(root, self.version), self.commitments[number]
            ):
                raise ShareInvalid(f"root {number} does not fit the board's commitment")
        return roots

    def _context(self, custodian: str) -> list[object]:
        return share_context(
            self.address, self.epoch, self.generation, custodian, version=self.version
        )


def share_context(
    address: CameraAddress, epoch: int, generation: int, custodian: str, *, version: int = 1
) -> list[object]:
    """Return the HPKE context of a custodian's share."""
    place = [address.site, address.box, address.camera, epoch, generation, custodian]
    return place if version == 1 else [*place, version]


def announce(
    roots: Sequence[bytes],
    *,
    address: CameraAddress,
    epoch: int,
    generation: int,
    sequence: int,
    threshold: int,
    custodians: Sequence[str],
    day_keys: Mapping[str, hpke.PublicKey],
    models: Mapping[str, str],
    announced_at_ms: int,
    version: int = 1,
    origin: str = CAMERA_NOW,
) -> Announcement:
    """Share freshly drawn ``roots`` (32 random bytes each, one a subset) among ``custodians``.

    Args:
        day_keys: custodian to its public key of the epoch; at least ``threshold`` of them.
        models: modality to the space of its templates.
        version: of the protocol, for every envelope of this generation.
        origin: a camera's pictures of now, or a recording's.

    Raises:
        ShareInvalid: too few day keys: nobody could ever open the epoch.
        MalformedMessage: not one root a subset.
    """
    names = sorted(custodians)
    subsets = excluded_subsets(names, threshold)
    if len(roots) != len(subsets) or any(len(root) != KEY_BYTES for root in roots):
        raise MalformedMessage(f"{len(subsets)} roots of {KEY_BYTES} bytes are needed")
    if len(set(day_keys) & set(names)) < threshold:
        raise ShareInvalid(
            f"day keys of {len(day_keys)} custodians are known for epoch {epoch}; "
            f"{threshold} are needed"
        )
    shares = {}
    for name in names:
        if name in day_keys:
            plaintext = b"".join(roots[number] for number in roots_of(name, subsets))
            sealed = day_keys[name].seal(
                plaintext,
                purpose=_SHARE,
                context=share_context(address, epoch, generation, name, version=version),
            )
            shares[name] = SealedShare(day_keys[name].key_id, sealed)
    return Announcement(
        address=address,
        epoch=epoch,
        generation=generation,
        sequence=sequence,
        threshold=threshold,
        custodians=tuple(names),
        commitments=tuple(commit_to_root(root, version) for root in roots),
        shares=shares,
        models=dict(models),
        announced_at_ms=announced_at_ms,
        version=version,
        origin=origin,
    )


def _read_shares(values: Mapping[str, object], custodians: Sequence[str]) -> dict[str, SealedShare]:
    shares = {}
    for name, value in values.items():
        if (
            name not in custodians
            or not isinstance(value, list)
            or len(value) != 2
            or not all(isinstance(part, bytes) for part in value)
        ):
            raise MalformedMessage("a share is not [key id, sealed] of a named custodian")
        shares[name] = SealedShare(value[0], value[1])
    return shares
