"""Check one message from a box, without looking at the store: box, form, topic, signature, times.

The size and the box that the topic names are checked before anything is decoded, the signature
before what it covers is read. Messages are of either version of the protocol; which one an
envelope may be of, its generation's announcement says (`aggregator.ingest.numbered`).

Every function raises `Rejected`, whose ``reason`` is the word under which a refusal is counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from aggregator.store.envelopes import AnyEnvelope
from protocol.directory import BOX, Directory, Principal
from protocol.epoch import CAMERA_NOW, EPOCH_KIND, Announcement
from protocol.errors import (
    AuthenticationFailed,
    ClockSkew,
    EnvelopeRejected,
    MalformedMessage,
    MessageTooLarge,
    PrincipalRevoked,
    SignatureInvalid,
    UnknownSigner,
    UnsupportedVersion,
)
from protocol.names import (
    ENVELOPE,
    EPOCH,
    EPOCH_MS,
    HEALTH,
    TOPIC_ROOT,
    CameraAddress,
    epoch_of,
    parse_camera_topic,
    require_name,
    slot_start_ms,
)
from protocol.sealing import Envelope as EnvelopeOfVersion1
from protocol.signing import Signed
from protocol.telemetry import HEALTH_KIND, Health
from protocol.v2.envelopes import parse_envelope

MAX_HEALTH_BYTES = 128 * 1024
MAX_ANNOUNCEMENT_BYTES = 1024 * 1024
_REASONS: dict[type[Exception], str] = {
    MessageTooLarge: "too-large",
    UnsupportedVersion: "unsupported-version",
    MalformedMessage: "malformed",
    PrincipalRevoked: "revoked-box",
    UnknownSigner: "unknown-box",
    SignatureInvalid: "bad-signature",
    AuthenticationFailed: "altered-block",
}


class Rejected(EnvelopeRejected):
    """A message is refused; ``reason`` is the word under which it is counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def rejected_for(error: Exception) -> Rejected:
    """Return the refusal that a protocol error amounts to."""
    for kind in type(error).__mro__:
        if kind in _REASONS:
            return Rejected(_REASONS[kind], str(error))
    return Rejected("malformed", str(error))


@dataclass(frozen=True, slots=True)
class Checked:
    """A message whose signature held; ``slot`` of an announcement is 0.

    ``stamped_ms`` is when the box says that it made it.
    """

    address: CameraAddress
    sequence: int
    generation: int
    epoch: int
    slot: int
    stamped_ms: int
    origin: str
    body: AnyEnvelope | Announcement


def topic_box(topic: str, site: str) -> tuple[str, str, str]:
    """Split a topic of a box of ``site`` into box, camera (empty for its own health) and leaf.

    Raises:
        Rejected: it is none.
    """
    parts = topic.split("/")
    try:
        if len(parts) == 5 and "/".join(parts[:2]) == TOPIC_ROOT and parts[4] == HEALTH:
            address = CameraAddress(parts[2], require_name(parts[3], what="box"), "none")
            leaf, camera = HEALTH, ""
        else:
            address, leaf = parse_camera_topic(topic)
            camera = address.camera
    except MalformedMessage as error:
        raise Rejected("wrong-topic", str(error)) from error
    if address.site != site or leaf not in {ENVELOPE, EPOCH, HEALTH}:
        raise Rejected("wrong-topic", f"'{topic}' is no topic of a box of site '{site}'")
    return address.box, camera, leaf


def may_send(box: Principal, camera: str) -> bool:
    """Tell whether a box may send anything of a camera, of now or from recordings."""
    return camera in box.cameras or camera in box.recordings


def check_envelope(
    payload: bytes, *, box: str, camera: str, site: str, directory: Directory, max_bytes: int
) -> Checked:
    """Check an envelope that came under the topic of ``box`` and ``camera``.

    Raises:
        Rejected: too-large, malformed, unsupported-version, wrong-topic, unknown-box, revoked-box,
            foreign-camera, bad-signature or altered-block.
    """
    _check_size(payload, max_bytes)
    try:
        speaker = _speaker(directory, box, camera)
        envelope = parse_envelope(payload)
        checked = _checked(envelope)
        _check_address(checked.address, site=site, box=box, camera=camera)
        _check_origin(speaker, camera, checked.origin)
        envelope.verify(directory.resolver(BOX))
    except (MalformedMessage, SignatureInvalid, AuthenticationFailed) as error:
        raise rejected_for(error) from error
    return checked


def check_announcement(
    payload: bytes, *, box: str, camera: str, site: str, directory: Directory
) -> Checked:
    """Check an epoch announcement that came under the topic of ``box`` and ``camera``.

    Raises:
        Rejected: as `check_envelope`.
    """
    _check_size(payload, MAX_ANNOUNCEMENT_BYTES)
    try:
        speaker = _speaker(directory, box, camera)
        signed = Signed.parse(payload, kind=EPOCH_KIND, max_bytes=MAX_ANNOUNCEMENT_BYTES)
        if signed.signer != box:
            raise Rejected("wrong-topic", f"signed by '{signed.signer}', sent as '{box}'")
        announcement = Announcement.parse(signed.verify(directory.resolver(BOX)), box=box)
        _check_address(announcement.address, site=site, box=box, camera=camera)
        _check_origin(speaker, camera, announcement.origin)
    except (MalformedMessage, SignatureInvalid) as error:
        raise rejected_for(error) from error
    return Checked(
        announcement.address,
        announcement.sequence,
        announcement.generation,
        announcement.epoch,
        0,
        announcement.announced_at_ms,
        announcement.origin,
        announcement,
    )


def check_health(payload: bytes, *, box: str, site: str, directory: Directory) -> Health:
    """Check a health report that came under the topic of ``box``.

    Raises:
        Rejected: as `check_envelope`.
    """
    _check_size(payload, MAX_HEALTH_BYTES)
    try:
        directory.require(box, BOX)
        signed = Signed.parse(payload, kind=HEALTH_KIND, max_bytes=MAX_HEALTH_BYTES)
        if signed.signer != box:
            raise Rejected("wrong-topic", f"signed by '{signed.signer}', sent as '{box}'")
        health = Health.parse(signed.verify(directory.resolver(BOX)), box=box)
    except (MalformedMessage, SignatureInvalid) as error:
        raise rejected_for(error) from error
    if health.site != site:
        raise Rejected("wrong-topic", f"a health report of site '{health.site}'")
    return health


def check_clock(checked: Checked, *, now_ms: int, skew_ms: int) -> None:
    """Check that a message is not dated ahead of our clock.

    Raises:
        ClockSkew: it is, by more than ``skew_ms``.
    """
    ahead_ms = checked.stamped_ms - now_ms
    if ahead_ms > skew_ms:
        raise ClockSkew(
            f"dated {ahead_ms / 1000:.0f} s ahead of the aggregator's clock: set the clock of box "
            f"'{checked.address.box}' (or ours), then admit or drop its messages"
        )


def check_times(checked: Checked, *, now_ms: int, retention_days: int) -> None:
    """Check that the slot or epoch fits the message's own time, and is within retention.

    Raises:
        Rejected: slot-ahead or retention-ended.
    """
    if isinstance(checked.body, Announcement):
        begins_ms = (checked.epoch - 1) * EPOCH_MS  # announced at most a day ahead
    else:
        begins_ms = slot_start_ms(checked.epoch, checked.slot)
    if begins_ms > checked.stamped_ms:
        raise Rejected("slot-ahead", "its slot began after it was made, by its own account")
    if checked.epoch < epoch_of(now_ms) - retention_days:
        raise Rejected(
            "retention-ended", f"epoch {checked.epoch} is past the {retention_days} days kept"
        )


def _check_size(payload: bytes, limit: int) -> None:
    if len(payload) > limit:
        raise Rejected("too-large", f"{len(payload)} bytes; the limit is {limit}")


def _check_address(address: CameraAddress, *, site: str, box: str, camera: str) -> None:
    if (address.site, address.box, address.camera) != (site, box, camera):
        raise Rejected("wrong-topic", "the message is of another camera than its topic says")


def _speaker(directory: Directory, box: str, camera: str) -> Principal:
    """Return a box that may send something of a camera, of now or from recordings."""
    speaker = directory.require(box, BOX)
    if not may_send(speaker, camera):
        raise Rejected("foreign-camera", f"box '{box}' does not speak for camera '{camera}'")
    return speaker


def _check_origin(speaker: Principal, camera: str, origin: str) -> None:
    if origin == CAMERA_NOW:
        if camera not in speaker.cameras:
            reason = f"box '{speaker.name}' may import recordings of camera '{camera}', and no more"
            raise Rejected("foreign-camera", reason)
    elif camera not in speaker.recordings:
        reason = f"box '{speaker.name}' may not import recordings of camera '{camera}'"
        raise Rejected("foreign-camera", reason)


def _checked(envelope: AnyEnvelope) -> Checked:
    """Return what the header says, to be believed when the signature has held."""
    if isinstance(envelope, EnvelopeOfVersion1):
        first = envelope.header
        return Checked(
            first.address,
            first.sequence,
            first.generation,
            first.epoch,
            first.slot,
            first.sealed_at_ms,
            CAMERA_NOW,
            envelope,
        )
    header, name = envelope.header, envelope.header.name
    return Checked(
        name.address,
        header.sequence,
        name.generation,
        name.epoch,
        name.slot,
        header.sealed_at_ms,
        header.origin,
        envelope,
    )
