"""A box whose strings a test holds: it seals as a real one does, with the site's own keys.

It has a real box's identity and shares its roots among the real custodians, so what it publishes is
genuine; but it says what the test wants, when the test wants it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np
from running_site import PUPPET_MODEL, RunningSite

from protocol.epoch import EPOCH_KIND, Announcement, announce, excluded_subsets
from protocol.keytree import FACE, LIVE, META, ModalityKey, expand, modality_key, window_nodes
from protocol.names import (
    ENVELOPE,
    EPOCH,
    SLOT_MS,
    CameraAddress,
    box_health_topic,
    epoch_of,
    slot_of,
)
from protocol.sealing import LIVE_ENVELOPE, SEGMENT, Envelope, Header, seal_envelope
from protocol.sightings import (
    Encounter,
    MaskStatus,
    Sighting,
    encode_meta,
    encode_template_block,
    quantise_template,
)
from protocol.signing import Signed, SigningKey
from protocol.telemetry import ONLINE, Health
from runtime.mqtt import Outcome, Session

DIMENSION = 32
MODEL = PUPPET_MODEL
LABELS = (FACE, META, LIVE)
Vector = np.ndarray


def now_ms() -> int:
    """This machine's clock."""
    return time.time_ns() // 1_000_000


def slots_ago(count: int, *, of_ms: int | None = None) -> int:
    """Return the beginning, in ms, of the slot that lies ``count`` slots back."""
    return ((now_ms() if of_ms is None else of_ms) // SLOT_MS - count) * SLOT_MS


def person(seed: int) -> Vector:
    """A made-up person's template, (32,), of length 1; it depends on ``seed`` alone."""
    vector = np.random.default_rng(seed).standard_normal(DIMENSION)
    return vector / np.linalg.norm(vector)


def seen(
    who: Vector,
    at_ms: int,
    *,
    mask: MaskStatus = MaskStatus.UNMASKED,
    encounters: Sequence[Encounter] = (),
) -> Sighting:
    """A sighting of four seconds that ended at ``at_ms``."""
    templates = {FACE: quantise_template(who)}
    return Sighting(os.urandom(8), at_ms - 4000, at_ms, mask, 0.9, 0.8, templates, (*encounters,))


class PuppetBox:
    """Speaks for a box of the site, over the broker.

    Args:
        site: running.
        box: a box of it, whose real process must not run.
        camera: of that box; by default ``cam-N`` for ``box-N``.
        clock_ahead_ms: by how much its clock is wrong.
    """

    def __init__(
        self, site: RunningSite, box: str, camera: str = "", *, clock_ahead_ms: int = 0
    ) -> None:
        self.site = site
        self.box = box
        self.camera = camera or box.replace("box-", "cam-")
        self.address = CameraAddress(site.plan.site, box, self.camera)
        self.key: SigningKey = site.signing(box)
        self.clock_ahead_ms = clock_ahead_ms
        self.sequence = 0
        self.generation = now_ms() // 1000
        self._roots: dict[tuple[int, int], list[bytes]] = {}
        self._session = Session(site.mqtt(box), client_id=box, window=256)

    def __enter__(self) -> PuppetBox:
        self._session.start()
        assert self._session.wait_connected(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._session.stop()

    @property
    def now_ms(self) -> int:
        """What its clock says."""
        return now_ms() + self.clock_ahead_ms

    # ------------------------------------------------------------------ making messages

    def announcement(self, epoch: int, *, only: Sequence[str] = ()) -> bytes:
        """Return the signed announcement of a day; ``only`` these custodians get a share."""
        custodians = self.site.directory.custodians()
        roots = [os.urandom(32) for _ in excluded_subsets(custodians, 2)]
        self._roots[epoch, self.generation] = roots
        made = announce(
            roots,
            address=self.address,
            epoch=epoch,
            generation=self.generation,
            sequence=self._next(),
            threshold=2,
            custodians=custodians,
            day_keys={
                name: self.site.day_keys(name)[epoch]
                for name in custodians
                if not only or name in only
            },
            models={FACE: MODEL},
            announced_at_ms=self.now_ms,
        )
        return made.sign(self.key).to_bytes()

    def key_of(self, epoch: int, slot: int, label: str) -> ModalityKey:
        """Return the key of one modality of one slot in the present generation."""
        leaves = [
            expand(window_nodes(root, label, slot, slot))[slot]
            for root in self._roots[epoch, self.generation]
        ]
        return modality_key(
            leaves,
            site=self.address.site,
            camera=self.camera,
            epoch=epoch,
            generation=self.generation,
            slot=slot,
            label=label,
        )

    def envelope(
        self,
        sightings: Sequence[Sighting],
        slot_ms: int,
        *,
        kind: str = SEGMENT,
        signer: SigningKey | None = None,
        **header: Any,
    ) -> Envelope:
        """Seal sightings into the slot that begins at ``slot_ms``; ``header`` replaces fields."""
        epoch, slot = epoch_of(slot_ms), slot_of(slot_ms)
        fields: dict[str, Any] = {
            "kind": kind,
            "address": self.address,
            "epoch": epoch,
            "generation": self.generation,
            "slot": slot,
            "sequence": header["sequence"] if "sequence" in header else self._next(),
            "count": len(sightings),
            "models": {FACE: MODEL},
            "sealed_at_ms": self.now_ms,
            "salt": os.urandom(8),
        }
        return seal_envelope(
            Header(**(fields | header)),
            templates={FACE: encode_template_block(sightings, FACE, DIMENSION)},
            meta=encode_meta(sightings),
            keys={label: self.key_of(epoch, slot, label) for label in LABELS},
            board=signer or self.key,
        )

    def live(self, sightings: Sequence[Sighting], slot_ms: int, **header: Any) -> Envelope:
        """Seal a live envelope."""
        return self.envelope(sightings, slot_ms, kind=LIVE_ENVELOPE, **header)

    def restart(self) -> None:
        """Begin a new generation, as after a start."""
        self.generation += 1

    def _next(self) -> int:
        self.sequence += 1
        return self.sequence - 1

    # ------------------------------------------------------------------ publishing

    def announce(self, *days_ms: int) -> list[bytes]:
        """Announce the days in which these moments lie, unless they have been; publish."""
        made = []
        for epoch in sorted({epoch_of(ms) for ms in days_ms or (self.now_ms,)}):
            if (epoch, self.generation) not in self._roots:
                made.append(self.announcement(epoch))
                self.publish(made[-1], EPOCH)
        return made

    def publish(self, message: Envelope | bytes, leaf: str = ENVELOPE) -> bytes:
        """Publish a message as this camera's and return its bytes."""
        data = message if isinstance(message, bytes) else message.to_bytes()
        self._session.publish_and_wait(self.address.topic(leaf), data, retain=leaf == EPOCH)
        return data

    def publish_all(self, messages: Sequence[Envelope | bytes]) -> list[bytes]:
        """Publish envelopes as fast as the broker takes them; return their bytes."""
        answers: SimpleQueue[Outcome] = SimpleQueue()
        sent = [m if isinstance(m, bytes) else m.to_bytes() for m in messages]
        for data in sent:
            topic = self.address.topic(ENVELOPE)
            self._session.publish(topic, data, on_done=answers.put, timeout_s=60)
        outcomes = [answers.get(timeout=30).result for _ in sent]
        assert set(outcomes) <= {"acknowledged"}
        return sent

    def publish_at(self, topic: str, data: bytes) -> None:
        """Publish anything anywhere."""
        self._session.publish_and_wait(topic, data)

    def report(self) -> None:
        """Publish a health report."""
        health = Health(self.address.site, self.box, ONLINE, self.now_ms, "1.0", {"fps": 5.0})
        topic = box_health_topic(self.address.site, self.box)
        self._session.publish_and_wait(topic, health.sign(self.key).to_bytes(), retain=True)

    def show(self, slot_ms: int, *people: Vector, **options: Any) -> Envelope:
        """Announce the day if need be, publish a segment of a slot with these people in it."""
        self.announce(slot_ms)
        found = [seen(who, slot_ms + 60_000 + 1000 * n) for n, who in enumerate(people)]
        envelope = self.envelope(found, slot_ms, **options)
        self.publish(envelope)
        return envelope


def announced(data: bytes) -> Announcement:
    """Read a signed announcement."""
    signed = Signed.parse(data, kind=EPOCH_KIND)
    return Announcement.parse(signed.payload, box=signed.signer)
