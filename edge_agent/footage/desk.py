"""Seals imported quarter hours, where the box's outbox is: in the agent, or where none runs.

An importer looks at films and hands over what it saw of a quarter hour; here it gets its keys, its
sequence number and its place in the outbox. A camera's day has one open generation for recordings,
beside the one that the live camera has. It is not ended by slots coming in any order, only by a
segment that needs another one: a second segment of a slot, or more sightings than one holds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import structlog

from edge_agent.batch import why_unusable, wipe
from edge_agent.coverage import View
from edge_agent.envelopes import Contents, EnvelopeMaker
from edge_agent.epochs import BoardEpochs, CannotAnnounce, DayKeyring, EpochKeys
from edge_agent.footage import seconds as s
from edge_agent.footage.ledger import LIVE, RECORDED, Known, Ledger
from edge_agent.held import HeldSightings
from edge_agent.outbox import Outbox, OutboxFull, SlotName
from protocol.directory_forms import SECOND
from protocol.epoch import RECORDING
from protocol.errors import ProtocolError
from protocol.names import SLOT_MS, SLOTS_PER_EPOCH, CameraAddress, epoch_of, slot_start_ms
from protocol.sealing import SEGMENT, model_dimension
from protocol.sightings import MAX_BATCH
from protocol.signing import SigningKey
from protocol.v2.counts import Counts
from protocol.v2.header import TIME_SOURCES
from protocol.v2.hours import CameraHours
from protocol.v2.rows import SLOT_S, Coverage
from protocol.v2.sightings import Sighting
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.text import quoted
from runtime.trust import Trust

_log = structlog.get_logger()

MAX_DAYS_AHEAD_MS = 60_000
"""A film may end so far ahead of this machine's clock: clocks differ a little."""
HOURS_HOLD_MS = 2 * 3_600_000
"""What headquarters told of a camera's hours counts for so long; it tells anew each hour."""
KEPT_SLOTS = 200 * SLOTS_PER_EPOCH
"""What is remembered of slots lasts longer than any site keeps its sightings."""
_KEYS_WAIT_S = 30.0
_AGAIN_S = 0.2


class ImportRefused(OperationError):
    """What an importer asks for is not done; the message says why."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What an importer has to know before it looks at a film.

    Attributes:
        site, box: whose films these become.
        recordings: cameras whose films the directory lets this box import.
        days: days (UTC, since 1970) for which enough custodians' keys are known.
        models: modality to model of the templates that are sealed here.
        heard: whether custodians' keys have had time to come.
        trouble: why nothing at all can be imported now; empty if it can.
    """

    site: str
    box: str
    recordings: tuple[str, ...]
    days: frozenset[int]
    models: Mapping[str, str]
    heard: bool
    trouble: str = ""


@dataclass(slots=True)
class Quarter:
    """What films of one camera show of a slot, and by one kind of clock.

    Attributes:
        camera: whose.
        number: of the slot, since 1970.
        time_source: how the times are known (`protocol.v2.header`).
        sightings: of the slot; wiped when they are sealed.
        views: a byte a second (`edge_agent.coverage.View`), 0: nothing was looked at.
    """

    camera: str
    number: int
    time_source: str
    sightings: list[Sighting]
    views: bytes


class ImportDesk:
    """What the owner of the outbox does for an importer; safe to use from any thread.

    Args:
        site: the site's name.
        box: this box's.
        trust: whose directory is in force.
        keyring: the custodians' day keys.
        board: signs.
        models: modality to model of the templates to come.
        outbox: takes the segments.
        ledger: remembers them; left open by a killed process is settled here, so before anything
            is sealed.
        counting: tells whether the policy permits same-place counts.
        heard: tells whether what the broker retains for us must have come.
        max_segment_bytes: largest segment.
        busy: cameras of which this process seals films already, by a key of box.toml.
        keys_wait_s: how long to wait for day keys that are expected.
        elsewhere: gives what headquarters tells of a camera's hours; None if it has not.
        now_ms: the wall clock.
    """

    def __init__(
        self,
        *,
        site: str,
        box: str,
        trust: Trust,
        keyring: DayKeyring,
        board: SigningKey,
        models: Mapping[str, str],
        outbox: Outbox,
        ledger: Ledger,
        counting: Callable[[], bool] = lambda: False,
        heard: Callable[[], bool] = lambda: True,
        max_segment_bytes: int = 6 << 20,
        busy: Collection[str] = (),
        keys_wait_s: float = _KEYS_WAIT_S,
        elsewhere: Callable[[str], CameraHours | None] = lambda _camera: None,
        now_ms: Callable[[], int] = system_ms,
    ) -> None:
        self._site = site
        self._box = box
        self._trust = trust
        self._keyring = keyring
        self._board = board
        self._models = dict(models)
        self._dimensions = {name: model_dimension(model) for name, model in models.items()}
        self._outbox = outbox
        self._ledger = ledger
        self._counting = counting
        self._heard = heard
        self._max_segment_bytes = max_segment_bytes
        self._busy = frozenset(busy)
        self._keys_wait_s = keys_wait_s
        self._elsewhere = elsewhere
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._epochs: dict[str, BoardEpochs] = {}
        self._keys: dict[tuple[str, int], EpochKeys] = {}
        self._sealed: set[tuple[str, int, int]] = set()  # camera, generation, slot
        ledger.settle_all(self._numbered)
        ledger.forget_before(now_ms() // SLOT_MS - KEPT_SLOTS)

    def _numbered(self, camera: str) -> int:
        return self._outbox.next_sequence(camera) if self._outbox.knows(camera) else 0

    # ------------------------------------------------------------------ what is known

    def standing(self, days: Sequence[int]) -> Standing:
        """Return what can be imported now.

        Args:
            days: which are asked about; today is, besides.
        """
        directory = self._trust.directory
        listed = directory.principals.get(self._box)
        trouble = ""
        if directory.form < SECOND:
            trouble = (
                "the site reads version 1 of the protocol alone, which knows no recordings: have "
                "its authority go on to version 2"
            )
        today = epoch_of(self._now_ms())
        enough = {
            day
            for day in {*days, today}
            if len(self._keyring.for_epoch(day)) >= directory.threshold
        }
        return Standing(
            site=self._site,
            box=self._box,
            recordings=() if listed is None else listed.recordings,
            days=frozenset(enough),
            models=dict(self._models),
            heard=self._heard(),
            trouble=trouble,
        )

    def known(self, camera: str, content: bytes) -> Known | None:
        """Return what is known of a film by camera and content; None: never imported here."""
        return self._ledger.known(camera, content)

    def told(self, camera: str, first: int, last: int) -> tuple[dict[int, int], dict[int, int]]:
        """Return the seconds by slot that this box watched live, and those that it imported."""
        return (
            self._ledger.told(camera, LIVE, first, last),
            self._ledger.told(camera, RECORDED, first, last),
        )

    def elsewhere(self, camera: str, first: int, last: int) -> frozenset[int] | None:
        """Return the slots of which another box told; None: headquarters has not said.

        Of slots that this box watched or imported, `told` knows more; but those that it does not
        remember (its disk is a new one) count as another's.
        """
        hours = self._elsewhere(camera)
        if hours is None or hours.issued_at_ms < self._now_ms() - HOURS_HOLD_MS:
            return None
        live, recorded = self.told(camera, first, last)
        found: set[int] = set()
        for day, slots in hours.days.items():
            at = day * SLOTS_PER_EPOCH
            found |= {at + slot for slot in slots.live} - live.keys()
            found |= {at + slot for slot in slots.elsewhere}
            found |= {at + slot for slot in slots.own} - recorded.keys()
        return frozenset(slot for slot in found if first <= slot <= last)

    # ------------------------------------------------------------------ what is done

    def seal(self, quarter: Quarter, *, floor: int) -> int:
        """Seal what films show of a slot; return how many sightings that were.

        Seconds that have been told before are not told again.

        Args:
            quarter: what they show; its sightings are wiped, whatever happens.
            floor: slots of the camera before this one come no more: their keys are forgotten.

        Raises:
            ImportRefused: it cannot be sealed; nothing of it was, or what fitted before.
            StorageError: the outbox or the ledger cannot be written.
        """
        with self._lock:
            try:
                return self._seal(quarter, floor)
            finally:
                wipe(quarter.sightings)

    def _seal(self, quarter: Quarter, floor: int) -> int:
        self._check(quarter)
        camera, number = quarter.camera, quarter.number
        before = self._ledger.told(camera, RECORDED, number, number).get(number, 0)
        fresh = s.told_in(quarter.views) & ~before
        held = self._held(quarter)
        coverage: Coverage | None = _coverage(quarter.views, fresh)
        counts = Counts.of(held[number].sightings, from_ms=number * SLOT_MS)
        sealed = 0
        while held[number].sightings or (coverage is not None and fresh):
            batch = held.fitting(number, most=MAX_BATCH)
            last = len(batch) == len(held[number].sightings)
            self._store(
                quarter,
                Contents(
                    SEGMENT,
                    batch,
                    number % SLOTS_PER_EPOCH,
                    coverage or Coverage(),
                    counts if self._counting() else None,
                ),
                # A kill between two segments of a slot loses the second, rather than doubling the
                # first; only more sightings than one segment holds have two.
                fresh,
            )
            sealed += len(batch)
            held[number].drop_first(len(batch))
            coverage, counts = None, Counts()
            if last:
                break
        for (whose, day), keys in list(self._keys.items()):
            if whose == camera:
                keys.forget_before(min(SLOTS_PER_EPOCH, max(0, floor - day * SLOTS_PER_EPOCH)))
                if floor >= (day + 1) * SLOTS_PER_EPOCH:
                    del self._keys[whose, day]
        return sealed

    def _check(self, quarter: Quarter) -> None:
        listed = self._trust.directory.principals.get(self._box)
        of = () if listed is None else listed.recordings
        if quarter.camera not in of:
            raise ImportRefused(may_not(self._box, quarter.camera, of))
        if quarter.camera in self._busy:
            raise ImportRefused(
                f'a film of {quarter.camera} with pace = "fast" stands in box.toml: take it out '
                "and start the agent again, then import it"
            )
        if quarter.time_source not in TIME_SOURCES:
            raise ImportRefused(f"nobody says how the times of {quarter.camera} are known")
        if len(quarter.views) != SLOT_S or not set(quarter.views) <= {0, *map(int, View)}:
            raise ImportRefused("what was seen is not told for each second of a quarter hour")
        if quarter.number * SLOT_MS > self._now_ms() + MAX_DAYS_AHEAD_MS:
            raise ImportRefused("a quarter hour that has not begun cannot be imported")

    def _held(self, quarter: Quarter) -> HeldSightings:
        held = HeldSightings(self._dimensions, most=1 << 30, segment_bytes=self._max_segment_bytes)
        for sighting in quarter.sightings:
            if (reason := why_unusable(sighting, self._dimensions)) is not None:
                _log.error("sighting_unusable", camera=quarter.camera, reason=reason)
                self._outbox.count("unusable_sightings")
                continue
            held.put(quarter.number, sighting)
        return held

    def _store(self, quarter: Quarter, contents: Contents, seconds: int) -> None:
        camera, number = quarter.camera, quarter.number
        day, slot = divmod(number, SLOTS_PER_EPOCH)
        keys = self._keys_for(camera, day, slot)
        name = SlotName(day, keys.generation, slot)
        maker = EnvelopeMaker(self._models, self._board, RECORDING, quarter.time_source)

        def build(sequence: int, replaces: Sequence[int]) -> bytes:
            self._ledger.intend(camera, sequence, number, seconds)
            sealed_at_ms = max(self._now_ms(), slot_start_ms(day, slot))
            return maker.make(
                contents, keys, sequence, sealed_at_ms=sealed_at_ms, replaces=replaces
            )

        try:
            self._outbox.add_segment(camera, name, len(contents.sightings), build)
        except OutboxFull as error:
            self._ledger.settle(camera, self._numbered(camera))
            raise ImportRefused(
                f"{error}; then run the same command again, which goes on from here"
            ) from error
        except (OperationError, ProtocolError):
            # Else the number would be another message's, and these seconds taken for told.
            self._ledger.settle(camera, self._numbered(camera))
            raise
        self._sealed.add((camera, keys.generation, slot))
        self._outbox.count("imported_sightings", len(contents.sightings))
        self._outbox.count("imported_segments")
        if not self._outbox.stats().in_memory:  # else it is not on the disk yet
            self._ledger.settle(camera, self._numbered(camera))

    def _keys_for(self, camera: str, day: int, slot: int) -> EpochKeys:
        """Return keys of the open generation of a day, or of a new one, waiting a little for them.

        Raises:
            ImportRefused: there are none.
        """
        keys = self._keys.get((camera, day))
        if keys is not None and (camera, keys.generation, slot) not in self._sealed:
            return keys
        if keys is not None:
            keys.forget_before(SLOTS_PER_EPOCH)
            del self._keys[camera, day]
        epochs = self._epochs_of(camera)
        ends_s = time.monotonic() + self._keys_wait_s
        while True:
            try:
                # From the day's first slot on: those of other films of the day come in any order.
                keys = epochs.announce(day, first_slot=0, now_ms=self._now_ms())
            except CannotAnnounce as error:
                if time.monotonic() >= ends_s:
                    raise ImportRefused(str(error)) from error
                time.sleep(_AGAIN_S)
                continue
            self._keys[camera, day] = keys
            return keys

    def _epochs_of(self, camera: str) -> BoardEpochs:
        if camera not in self._epochs:
            self._epochs[camera] = BoardEpochs(
                CameraAddress(self._site, self._box, camera),
                trust=self._trust,
                keyring=self._keyring,
                board=self._board,
                models=self._models,
                outbox=self._outbox,
                day_keys_wait_s=min(3.0, self._keys_wait_s),
                may_begin=self._heard,
                origin=RECORDING,
            )
        return self._epochs[camera]

    def note_film(self, camera: str, content: bytes, *, began_ms: int) -> None:
        """Note that all of a film has been sealed."""
        self._ledger.note_film(camera, content, began_ms=began_ms, now_ms=self._now_ms())

    def end(self) -> None:
        """Forget all keys: the importer has gone."""
        with self._lock:
            for keys in self._keys.values():
                keys.forget_before(SLOTS_PER_EPOCH)
            self._keys.clear()
            self._sealed.clear()
            self._epochs.clear()


def may_not(box: str, camera: str, of: Collection[str]) -> str:
    """Return why films of a camera cannot be imported, and what to do.

    Args:
        box: the box that was to import them.
        camera: whose they are said to be.
        of: the cameras whose films it may import.
    """
    theirs = f"; or if the site calls it otherwise (here it may be {', '.join(sorted(of))}), say "
    return (
        f"the directory lets '{box}' import no recordings of '{camera}': have the site's authority "
        f"run `sealtrace box recordings DIR {box} --camera {camera}`"
        + (f"{theirs}--camera {quoted(camera)}={min(of)}" if of else "")
    )


def _coverage(views: bytes, fresh: int) -> Coverage:
    told = bytes(view for at, view in enumerate(views) if fresh >> at & 1)
    return Coverage(
        watched_s=told.count(View.WATCHED),
        blind_s=told.count(View.BLIND),
        dark_s=told.count(View.DARK),
        frozen_s=told.count(View.FROZEN),
        offline_s=told.count(View.OFFLINE),
        standing_in_s=told.count(View.STANDING_IN),
    )
