"""Conducts an import: gives passages to processes, puts quarter hours together, has them sealed.

A quarter hour of a camera is sealed when every passage that touches it has passed it. What is plain
is in memory until then, and wiped when the import ends for whatever reason.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_agent.batch import wipe
from edge_agent.footage.content import content_identity
from edge_agent.footage.desk import ImportRefused, Quarter, Standing
from edge_agent.footage.found import FoundFile
from edge_agent.footage.handover import Desk
from edge_agent.footage.planning import Fate, Film, Hours, Part, Passage, Plan, plan
from edge_agent.footage.processes import AnyOutfit, Ended, Failed, Ready, Told, Worker, tellings
from edge_agent.footage.seconds import Span, slots_of
from edge_agent.footage.work import PartEnded, Pulse, Seen
from edge_agent.video.url import SourceError
from protocol.names import EPOCH_MS, SLOT_MS
from protocol.v2.rows import SLOT_S
from protocol.v2.sightings import Sighting
from runtime.errors import OperationError

_HEARD_S = 30.0
_HOURS_S = 10.0
_POLL_S = 0.25


@dataclass(slots=True)
class Progress:
    """How far an import has come.

    Attributes:
        files, files_done: that are imported; those whose every quarter hour is sealed.
        film_s, film_done_s: seconds of film to look at, and looked at.
        sightings: people seen.
        sealed: quarter hours sealed.
    """

    files: int = 0
    files_done: int = 0
    film_s: float = 0.0
    film_done_s: float = 0.0
    sightings: int = 0
    sealed: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an import.

    Attributes:
        progress: as it ended.
        broken: files that could not be looked at to their end, and why.
        stopped: whether it was ended before it was done.
    """

    progress: Progress
    broken: tuple[tuple[Path, str], ...] = ()
    stopped: bool = False


def prepare(
    desk: Desk,
    files: Sequence[FoundFile],
    *,
    now_ms: int,
    workers: int = 1,
    anyway: bool = False,
    wait_s: float = _HEARD_S,
    pause: Callable[[float], object] = time.sleep,
    stopped: Callable[[], bool] = lambda: False,
    tell: Callable[[FoundFile], None] = lambda _file: None,
) -> Plan:
    """Find out what is known of files, and plan what is imported.

    Args:
        desk: of this box.
        files: what a scan found.
        now_ms: the wall clock.
        workers: processes among which passages are divided.
        anyway: import what was watched live all the same.
        wait_s: how long to wait for custodians' keys to come, and to hear of hours told elsewhere.
        pause: waits so many seconds.
        stopped: asked often: whether to end, with a plan of nothing.
        tell: called with each file that has been read through for its identity.

    Raises:
        ImportRefused: nothing can be imported here at all.
    """
    standing = _standing(desk, files, wait_s=wait_s, pause=pause, stopped=stopped)
    if standing.trouble:
        raise ImportRefused(standing.trouble)
    films = []
    for file in files:
        if stopped():
            return Plan((), ())
        film = Film(file)
        if file.usable and file.camera in standing.recordings:
            try:
                content = content_identity(file.path)
            except SourceError as error:
                film = Film(_with_trouble(file, str(error)))
            else:
                film = Film(file, content, desk.known(file.camera or "", content))
        tell(file)
        films.append(film)

    ends_s = time.monotonic() + min(wait_s, _HOURS_S if standing.heard else 0.0)

    def hours(camera: str, first: int, last: int) -> Hours:
        live, recorded = desk.told(camera, first, last)
        elsewhere = desk.elsewhere(camera, first, last)
        while elsewhere is None and time.monotonic() < ends_s and not stopped():
            pause(_POLL_S)
            elsewhere = desk.elsewhere(camera, first, last)
        return Hours(live, recorded, elsewhere)

    return plan(
        films, standing=standing, hours=hours, now_ms=now_ms, workers=workers, anyway=anyway
    )


def _standing(
    desk: Desk,
    files: Sequence[FoundFile],
    *,
    wait_s: float,
    pause: Callable[[float], object],
    stopped: Callable[[], bool],
) -> Standing:
    """Return what can be imported, once custodians' keys have had time to come."""
    days: set[int] = set()
    for file in files:
        if file.began_ms is not None and file.began_ms >= 0:
            ends_ms = max(file.began_ms, file.ends_ms or 0)
            # A clock that is far off would ask for thousands.
            days |= set(range(file.began_ms // EPOCH_MS, ends_ms // EPOCH_MS + 1)[:400])
    ends_s = time.monotonic() + wait_s
    while True:
        standing = desk.standing(sorted(days)[-4096:])
        if (standing.heard and standing.days) or time.monotonic() >= ends_s or stopped():
            return standing
        pause(_POLL_S)


def _with_trouble(file: FoundFile, trouble: str) -> FoundFile:
    return FoundFile(file.path, file.camera, file.began_ms, size=file.size, trouble=trouble)


@dataclass(slots=True)
class _OpenSlot:
    """A quarter hour that is not sealed yet: by whom it has to be passed, and what they saw."""

    waits_for: set[int] = field(default_factory=set)
    views: bytearray = field(default_factory=lambda: bytearray(SLOT_S))
    sightings: list[Sighting] = field(default_factory=list)
    parts: set[tuple[int, int]] = field(default_factory=set)


class Import:
    """One import, by a plan.

    Args:
        desk: seals.
        planned: what is imported.
        models: modality to model of the templates that are sealed there.
        tell: called as it goes on.
        stopped: asked often: whether to end.
    """

    def __init__(
        self,
        desk: Desk,
        planned: Plan,
        *,
        models: Mapping[str, str],
        tell: Callable[[Progress], None] = lambda _progress: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._desk = desk
        self._models = models
        self._passages = planned.passages
        self._whole = {id(one.file) for one in planned.verdicts if one.fate is Fate.IMPORT}
        self._tell = tell
        self._stopped = stopped
        self._progress = Progress(
            files=sum(len(passage.parts) for passage in planned.passages), film_s=planned.seconds
        )
        self._broken: list[tuple[Path, str]] = []
        self._slots: dict[tuple[str, int, str], _OpenSlot] = {}
        self._left: dict[str, Counter[int]] = {}  # slots of a camera that are not sealed
        self._open_of: dict[tuple[int, int], set[tuple[str, int, str]]] = {}
        self._looked_at: set[tuple[int, int]] = set()
        self._crashed: set[tuple[int, int]] = set()
        self._done: set[tuple[int, int]] = set()
        self._at: dict[int, int] = {}  # parts of a passage that have ended
        self._tried: dict[int, Passage] = {}  # what is left of one over which a process died
        self._waiting: list[tuple[int, Passage]] = []
        for number, passage in enumerate(planned.passages):
            for slot in passage.slots():
                key = (passage.camera, slot, passage.time_source)
                if key not in self._slots:
                    self._slots[key] = _OpenSlot()
                    self._left.setdefault(passage.camera, Counter())[slot] += 1
                self._slots[key].waits_for.add(number)
            for at, part in enumerate(passage.parts):
                mine = self._open_of.setdefault((number, at), set())
                for span in part.spans:
                    for slot in slots_of(span):
                        key = (passage.camera, slot, passage.time_source)
                        mine.add(key)
                        self._slots[key].parts.add((number, at))

    def run(self, outfit: AnyOutfit, *, workers: int) -> Outcome:
        """Look at everything with so many processes, and have it sealed.

        Raises:
            OperationError: it cannot go on; what is sealed stays, and the next run goes on from it.
        """
        crew: list[Worker] = []
        self._waiting = list(enumerate(self._passages))[::-1]
        most = min(max(1, workers), len(self._waiting))
        try:
            while True:
                while len(crew) < most and self._waiting:
                    crew.append(Worker(outfit))
                    crew[-1].give(*self._waiting.pop())
                busy = [worker for worker in crew if worker.passage is not None]
                if not busy:
                    return Outcome(self._progress, tuple(self._broken))
                if self._stopped():
                    return Outcome(self._progress, tuple(self._broken), stopped=True)
                for worker, told in tellings(busy, _POLL_S):
                    self._hear(worker, told)
                    if isinstance(told, Failed):
                        crew.remove(worker)
                self._tell(self._progress)
        finally:
            for worker in crew:
                worker.stop()
            for worker in crew:
                worker.join()
            self.wipe()

    def _hear(self, worker: Worker, told: Told) -> None:
        number = worker.passage
        if number is None:
            return
        worker.ready |= isinstance(told, Ready)
        if isinstance(told, Failed):
            worker.stop()
            worker.join()
            if not worker.ready:
                raise OperationError(f"films cannot be looked at here: {told.reason}")
            self.lost(number, told.reason)
        elif isinstance(told, Ended):
            worker.passage = None
            if self._waiting:
                worker.give(*self._waiting.pop())
        else:
            self.take(number, told)

    def lost(self, number: int, reason: str) -> None:
        """Go on without the film over which a process died: what is left of its passage waits.

        Of slots that it had not passed everything is looked at again, but for that film.
        """
        parts, tried = self._passages[number].parts, self._tried.get(number, self._passages[number])
        first = self._at.get(number, 0)
        at = next((n for n, one in enumerate(tried.parts) if n >= first and one.spans), -1)
        at %= len(parts)
        self._broken.append((parts[at].file.path, reason))
        self._crashed.add((number, at))
        self._looked_at.add((number, at))
        open_slots = {key[1] for key, slot in self._slots.items() if number in slot.waits_for}
        left = []
        for place, part in enumerate(parts):
            spans = () if (number, place) in self._crashed else part.spans
            within = tuple(piece for span in spans for piece in _within(span, open_slots))
            left.append(Part(part.file, part.content, within))
        passage = replace(self._passages[number], parts=tuple(left))
        for slot in sorted(open_slots.difference(passage.slots())):
            self._seen(number, Seen(slot, [], bytes(SLOT_S)))
        if passage.slots():
            self._at[number], self._tried[number] = 0, passage
            self._waiting.append((number, passage))

    def take(self, number: int, told: Told) -> None:
        """Take in what the process that looks at passage ``number`` tells.

        Raises:
            OperationError: what is complete cannot be sealed, or not with these models.
        """
        if isinstance(told, Ready) and dict(told.models) != dict(self._models):
            raise OperationError(
                "the agent of this box runs with other models than those that are installed: start "
                "it again, then run the same command"
            )
        if isinstance(told, Pulse):
            self._progress.film_done_s += told.film_ms / 1000
            self._progress.sightings += told.sightings
        elif isinstance(told, PartEnded):
            self._part_ended(number, told)
        elif isinstance(told, Seen):
            self._seen(number, told)

    def _seen(self, number: int, seen: Seen) -> None:
        passage = self._passages[number]
        key = (passage.camera, seen.number, passage.time_source)
        slot = self._slots[key]
        slot.sightings += seen.sightings
        for at, view in enumerate(seen.views):
            slot.views[at] = max(slot.views[at], view)
        slot.waits_for.discard(number)
        if slot.waits_for:
            return
        slot.sightings.sort(key=lambda one: one.row.last_ms)  # whichever process was first
        quarter = Quarter(
            passage.camera, seen.number, passage.time_source, slot.sightings, bytes(slot.views)
        )
        left = self._left[passage.camera]
        left[seen.number] -= 1
        if not left[seen.number]:
            del left[seen.number]
        if any(quarter.views) or quarter.sightings:
            self._desk.seal(quarter, floor=min(left, default=seen.number + 1))
            self._progress.sealed += 1
        del self._slots[key]
        for part in slot.parts:
            self._open_of[part].discard(key)
            self._note_if_done(part)

    def _part_ended(self, number: int, ended: PartEnded) -> None:
        part = self._passages[number].parts[ended.part]
        if ended.trouble and (number, ended.part) not in self._looked_at:
            self._broken.append((part.file.path, ended.trouble))
        self._at[number] = ended.part + 1
        self._looked_at.add((number, ended.part))
        self._note_if_done((number, ended.part))

    def _note_if_done(self, at: tuple[int, int]) -> None:
        """Note a film whose every quarter hour is sealed."""
        if self._open_of[at] or at not in self._looked_at or at in self._done:
            return
        self._done.add(at)
        passage = self._passages[at[0]]
        part = passage.parts[at[1]]
        self._progress.files_done += 1
        if at in self._crashed:
            return
        if id(part.file) in self._whole and not _grew(part.file):
            self._desk.note_film(passage.camera, part.content, began_ms=part.file.began_ms or 0)

    def wipe(self) -> None:
        """Wipe whatever was seen and is not sealed."""
        for slot in self._slots.values():
            wipe(slot.sightings)
            slot.sightings.clear()


def _grew(file: FoundFile) -> bool:
    """Tell whether a file has become another one while it was looked at."""
    try:
        return file.path.stat().st_size != file.size
    except OSError:
        return True


def _within(span: Span, numbers: Collection[int]) -> Iterator[Span]:
    """Yield what of a span lies in some slots."""
    for number in slots_of(span):
        if number in numbers:
            begins_ms, ends_ms = number * SLOT_MS, (number + 1) * SLOT_MS
            yield max(span[0], begins_ms), min(span[1], ends_ms)
