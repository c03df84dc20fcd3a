"""The keys of a camera's day: drawn here, shared among the custodians, forgotten slot by slot.

docs/protocol.md, "Keys of a camera's day". Roots exist only while an announcement is made; what is
held after it cannot derive the key of a slot that has passed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from edge_agent.outbox import Outbox
from protocol import hpke
from protocol.daykeys import DAY_KEYS_KIND, DayKeys
from protocol.directory import CUSTODIAN
from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.epoch import CAMERA_NOW, RECORDING, announce, excluded_subsets
from protocol.errors import EnvelopeRejected, MalformedMessage, ProtocolError, ScopeExceeded
from protocol.grant import ROW_BY_ROW
from protocol.hmacs import KEY_BYTES
from protocol.keytree import (
    COUNTS,
    COVER,
    EVIDENCE,
    LIVE,
    META,
    ModalityKey,
    PuncturableTree,
    modality_key,
)
from protocol.names import SLOTS_PER_EPOCH, CameraAddress, SightingName, SlotName
from protocol.signing import Signed, SigningKey
from protocol.v2 import VERSION
from protocol.v2.evidence import evidence_key, evidence_value
from protocol.v2.keys import row_key, row_value
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, private_folder, read_file
from runtime.trust import Trust

_log = structlog.get_logger()

_BESIDE_TEMPLATES = {1: (META, LIVE), VERSION: (META, LIVE, COVER, COUNTS, EVIDENCE)}
FROM_THE_FUTURE_MS = 24 * 3600 * 1000
"""Day keys dated so far ahead of this box's clock were issued by a clock that was wrong."""


class CannotAnnounce(OperationError):
    """No epoch can be announced now; sightings have to wait. The message says for what."""


class DayKeyring:
    """The custodians' newest day keys, verified; kept on disk (they are public) for a restart.

    Args:
        trust: who is a custodian.
        site: of which site.
        folder: where they are kept; created if need be.
        now_ms: the wall clock.
    """

    def __init__(
        self,
        trust: Trust,
        *,
        site: str,
        folder: Path,
        now_ms: Callable[[], int] = system_ms,
    ) -> None:
        self._trust = trust
        self._site = site
        self._folder = private_folder(folder)
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._newest: dict[tuple[str, int], DayKeys] = {}  # by custodian and form
        self._unusable: dict[str, str] = {}
        for path in sorted(self._folder.glob("*.cbor")):
            try:
                self._take(read_file(path, MAX_MESSAGE_BYTES))
            except (ProtocolError, FileProblem) as error:
                _log.warning("kept_day_keys_unusable", file=path.name, reason=str(error))

    def accept(self, data: bytes) -> bool:
        """Take in a custodian's signed day keys; tell whether they were news.

        Raises:
            SignatureInvalid: not signed by a custodian in force.
            MalformedMessage: not day keys, or one to which nothing can be sealed: see `unusable`.
            EnvelopeRejected: of another site, or older than what is known.
            FileProblem: they cannot be kept on disk (they are used all the same).
        """
        taken = self._take(data)
        if taken is None:
            return False
        _log.info("day_keys_accepted", custodian=taken.custodian, days=len(taken.keys))
        form = "" if taken.form == 1 else f".{taken.form}"
        atomic_write(self._folder / f"{taken.custodian}{form}.cbor", data)
        return True

    def _take(self, data: bytes) -> DayKeys | None:
        signed = Signed.parse(data, kind=DAY_KEYS_KIND)
        payload = signed.verify(self._trust.directory.resolver(CUSTODIAN))
        try:
            keys = DayKeys.parse(payload, custodian=signed.signer)
        except MalformedMessage as error:
            self._note_unusable(signed.signer, str(error))
            raise
        if keys.site != self._site:
            raise EnvelopeRejected(f"day keys of site '{keys.site}', not '{self._site}'")
        with self._lock:
            known = self._newest.get((keys.custodian, keys.form))
            # A custodian whose clock had leapt ahead would else not be heard until that time comes.
            wrong = known is not None and known.issued_at_ms > self._now_ms() + FROM_THE_FUTURE_MS
            if known is not None and keys.issued_at_ms < known.issued_at_ms and not wrong:
                raise EnvelopeRejected(f"older day keys of '{keys.custodian}' than those known")
            if known is not None and known.issued_at_ms == keys.issued_at_ms:
                return None
            self._newest[keys.custodian, keys.form] = keys
            self._unusable.pop(keys.custodian, None)
        return keys

    def _note_unusable(self, custodian: str, reason: str) -> None:
        with self._lock:
            news = self._unusable.get(custodian) != reason
            self._unusable[custodian] = reason
        if news:
            _log.error(
                "day_keys_unusable",
                custodian=custodian,
                reason=reason,
                effect="sealed to the other custodians alone, if they are enough",
                remedy=f"tell whoever runs {custodian}",
            )

    def unusable(self) -> dict[str, str]:
        """Return the custodians in force whose latest day keys cannot be used, and why.

        What was known of them before stays in use.
        """
        custodians = self._trust.directory.custodians()
        with self._lock:
            return {name: why for name, why in self._unusable.items() if name in custodians}

    def for_epoch(self, epoch: int) -> dict[str, hpke.PublicKey]:
        """Return the day keys of the custodians in force, by name; of past days from form 2."""
        custodians = self._trust.directory.custodians()
        with self._lock:
            told = sorted(self._newest.values(), key=lambda one: (one.issued_at_ms, one.form))
            found = {one.custodian: one.keys[epoch] for one in told if epoch in one.keys}
        return {name: found[name] for name in custodians if name in found}


@dataclass(frozen=True, slots=True)
class Sharing:
    """Among whom an epoch is shared: threshold, all custodians, and the day key of each reached.

    ``version`` of the protocol is that in which it would be announced.
    """

    threshold: int
    custodians: tuple[str, ...]
    keys: Mapping[str, bytes]
    version: int = 1

    def improves(self, other: Sharing) -> bool:
        """Whether an announcement to these should replace one to ``other``."""
        if len(self.keys) < self.threshold:
            return False
        changed = (self.threshold, self.custodians) != (other.threshold, other.custodians)
        # A directory's first form may come a moment before its second: no reason to go back.
        return changed or self.version > other.version or set(self.keys) > set(other.keys)


@dataclass(slots=True)
class EpochKeys:
    """The keys of one announced generation of one camera's epoch, from its first slot on."""

    address: CameraAddress
    epoch: int
    generation: int
    sharing: Sharing
    _trees: dict[str, list[PuncturableTree]] = field(repr=False)

    @property
    def version(self) -> int:
        """Of the protocol, for every envelope of this generation."""
        return self.sharing.version

    def slot_name(self, slot: int) -> SlotName:
        """Return what a slot of this generation is called."""
        return SlotName(self.address, self.epoch, self.generation, slot)

    def slot_keys(self, slot: int) -> dict[str, ModalityKey]:
        """Return the keys of a slot by label; what opens row by row has none.

        Raises:
            ScopeExceeded: the slot has been forgotten, or was before the first one.
        """
        return {
            label: modality_key(
                self.leaves(label, slot),
                site=self.address.site,
                box=self.address.box,
                camera=self.address.camera,
                epoch=self.epoch,
                generation=self.generation,
                slot=slot,
                label=label,
                version=self.version,
            )
            for label in self._held()
            if self.version == 1 or label not in ROW_BY_ROW
        }

    def row_keys(self, slot: int) -> Callable[[bytes], ModalityKey]:
        """Return what makes the key of a row of a slot's metadata from the sighting's id.

        Raises:
            ScopeExceeded: as :meth:`slot_keys`.
        """
        leaves, name = self.leaves(META, slot), self.slot_name(slot)
        return lambda row_id: row_key([row_value(leaf, row_id) for leaf in leaves], name, row_id)

    def still_key(self, slot: int, sighting_id: bytes) -> ModalityKey:
        """Return the key of the still of a sighting in a slot.

        Raises:
            ScopeExceeded: as :meth:`slot_keys`.
            MalformedMessage: not a sighting's id.
        """
        values = [evidence_value(leaf, sighting_id) for leaf in self.leaves(EVIDENCE, slot)]
        name = SightingName.of(self.slot_name(slot), sighting_id)
        return evidence_key(values, name, self.address.site)

    def leaves(self, label: str, slot: int) -> list[bytes]:
        """Return one slot's leaves of one label under all roots, 32 bytes each.

        Raises:
            ScopeExceeded: as :meth:`slot_keys`.
        """
        return [tree.leaf(slot) for tree in self._held()[label]]

    def _held(self) -> Mapping[str, list[PuncturableTree]]:
        if not self._trees:
            raise ScopeExceeded(f"the keys of generation {self.generation} have been forgotten")
        return self._trees

    def forget_before(self, slot: int) -> None:
        """Drop everything from which the key of a slot before ``slot`` could be derived."""
        if slot >= SLOTS_PER_EPOCH:
            self._trees.clear()
        for trees in self._trees.values():
            for tree in trees:
                tree.forget_before(slot)


class BoardEpochs:
    """Announces the epochs of one camera.

    Args:
        address: the camera.
        trust: among whom to share.
        keyring: the custodians' day keys.
        board: signs.
        models: modality to model id of the templates to come; each is sealed under a key of its
            own.
        outbox: takes the announcements, and keeps sequence and generation.
        day_keys_wait_s: how long to wait for all custodians once there are enough.
        may_begin: asked before the camera's very first message: whether receipts that would show
            an earlier life of this box have had time to come.
        origin: whether the pictures are those of the camera now, or an imported recording's.
    """

    def __init__(
        self,
        address: CameraAddress,
        *,
        trust: Trust,
        keyring: DayKeyring,
        board: SigningKey,
        models: Mapping[str, str],
        outbox: Outbox,
        day_keys_wait_s: float = 0.0,
        may_begin: Callable[[], bool] = lambda: True,
        origin: str = CAMERA_NOW,
    ) -> None:
        self.address = address
        self._trust = trust
        self._keyring = keyring
        self._board = board
        self.models = dict(models)
        self._outbox = outbox
        self._wait_s = day_keys_wait_s
        self._may_begin = may_begin
        self.origin = origin
        self._enough_since: dict[int, float] = {}

    @property
    def version(self) -> int:
        """The version of the protocol in which a generation would be announced now.

        Nobody is told in the second unless the directory in force says that the site reads it.
        """
        return VERSION if self._trust.directory.form >= VERSION else 1

    def sharing(self, epoch: int) -> Sharing:
        """Return among whom an announcement of ``epoch`` would be shared now."""
        directory = self._trust.directory
        keys = self._keyring.for_epoch(epoch)
        return Sharing(
            threshold=directory.threshold,
            custodians=tuple(directory.custodians()),
            keys={name: key.key_id for name, key in keys.items()},
            version=self.version,
        )

    def announce(self, epoch: int, *, first_slot: int, now_ms: int) -> EpochKeys:
        """Draw the roots of a new generation, put its announcement in the outbox, return its keys.

        Args:
            epoch: the UTC day.
            first_slot: the first slot whose keys are needed; earlier ones cannot be derived.
            now_ms: the wall clock by which both were chosen.

        Raises:
            CannotAnnounce: too few day keys (yet), or what a first message needs is not known.
            StorageError: the outbox cannot be written.
        """
        sharing = self._ready(epoch)
        self._check_rights(sharing.version)
        camera = self.address.camera
        if not self._outbox.knows(camera):
            if not self._may_begin():
                raise CannotAnnounce(
                    f"{camera} has never published from this disk; waiting for the broker, to "
                    "learn whether it has from another"
                )
            self._outbox.begin_camera(camera)
        subsets = excluded_subsets(sharing.custodians, sharing.threshold)
        roots = [bytearray(os.urandom(KEY_BYTES)) for _ in subsets]
        try:
            generation = self._outbox.announce(
                camera,
                epoch,
                now_ms=now_ms,
                build=lambda generation, sequence: self._build(
                    [bytes(root) for root in roots],
                    sharing,
                    epoch=epoch,
                    generation=generation,
                    sequence=sequence,
                    now_ms=now_ms,
                ),
            )
            trees = {
                label: [
                    PuncturableTree(
                        bytes(root), label, first_slot=first_slot, version=sharing.version
                    )
                    for root in roots
                ]
                for label in (*self.models, *_BESIDE_TEMPLATES[sharing.version])
            }
        finally:
            for root in roots:
                root[:] = bytes(len(root))
        _log.info(
            "epoch_announced",
            camera=camera,
            epoch=epoch,
            generation=generation,
            first_slot=first_slot,
            custodians=sorted(sharing.keys),
            version=sharing.version,
        )
        self._enough_since.clear()
        return EpochKeys(self.address, epoch, generation, sharing, trees)

    def _build(
        self,
        roots: list[bytes],
        sharing: Sharing,
        *,
        epoch: int,
        generation: int,
        sequence: int,
        now_ms: int,
    ) -> bytes:
        announcement = announce(
            roots,
            address=self.address,
            epoch=epoch,
            generation=generation,
            sequence=sequence,
            threshold=sharing.threshold,
            custodians=sharing.custodians,
            day_keys=self._keyring.for_epoch(epoch),
            models=self.models,
            announced_at_ms=now_ms,
            version=sharing.version,
            origin=self.origin if sharing.version > 1 else CAMERA_NOW,
        )
        return announcement.sign(self._board).to_bytes()

    def _check_rights(self, version: int) -> None:
        """Check that the directory lets this box say that its pictures are of this origin.

        Custodians open nothing else, and headquarters keeps nothing else. Version 1 has no origin.

        Raises:
            CannotAnnounce: it does not.
        """
        box, camera = self.address.box, self.address.camera
        listed = self._trust.directory.principals.get(box)
        if version == 1 or listed is None:
            return
        if self.origin == CAMERA_NOW and camera not in listed.cameras:
            raise CannotAnnounce(
                f"the directory lets '{box}' import recordings of '{camera}', and no more: set "
                'pace = "fast" and recorded_at in box.toml, or have the box admitted with it'
            )
        if self.origin == RECORDING and camera not in listed.recordings:
            raise CannotAnnounce(
                f"the directory lets '{box}' import no recordings of '{camera}': have the site's "
                f"authority run `sealtrace box recordings DIR {box} --camera {camera}`"
            )

    def _ready(self, epoch: int) -> Sharing:
        sharing = self.sharing(epoch)
        have, wanted = len(sharing.keys), len(sharing.custodians)
        if have < sharing.threshold:
            bad = ", ".join(sorted(self._keyring.unusable()))
            raise CannotAnnounce(
                f"day keys of {have} of {wanted} custodians are known for epoch {epoch} and "
                f"{sharing.threshold} are needed; "
                + (f"those of {bad} cannot be used; " if bad else "")
                + "are the custodians and the aggregator running?"
            )
        since = self._enough_since.setdefault(epoch, time.monotonic())
        if have < wanted and time.monotonic() - since < self._wait_s:
            raise CannotAnnounce(f"waiting a little for the day keys of all {wanted} custodians")
        return sharing
