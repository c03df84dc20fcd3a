"""Looks at one passage of films, quarter hour by quarter hour: what a process of an import does.

Pictures are wiped as they are looked at; sightings go to the importer when their quarter hour has
been passed. Nothing is written anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from edge_agent.capture import Frame
from edge_agent.coverage import View
from edge_agent.footage import seconds as s
from edge_agent.footage.found import FoundFile
from edge_agent.footage.planning import Part, Passage
from edge_agent.vision.view import OFFLINE_AFTER_MS, Watch
from protocol.names import SLOT_MS
from protocol.v2.rows import SLOT_S
from protocol.v2.sightings import Sighting
from runtime.errors import OperationError

PASSED_MS = 30_000
"""A slot is passed when a picture is so much later: whoever was seen in it has been told of."""
PULSE_MS = 5_000
"""Progress is told after so much of film."""
_MAX_ERRORS = 50

Frames = Callable[[FoundFile], Iterator[Frame]]
"""Gives a file's pictures with their times; each is wiped here."""


class Eyes(Protocol):
    """What finds people in pictures (`edge_agent.vision.pipeline.CameraPipeline`)."""

    def process(self, frame: Frame) -> list[Sighting]:
        """Take in a picture; give who has gone by then."""

    def expire(self, now_ms: int) -> list[Sighting]:
        """Give who has gone by the clock alone."""

    def flush(self) -> list[Sighting]:
        """Give whoever is in view: nothing more comes."""


@dataclass(slots=True)
class Seen:
    """What a passage shows of a slot; ``views`` as `edge_agent.footage.desk.Quarter` has them."""

    number: int
    sightings: list[Sighting]
    views: bytes


@dataclass(frozen=True, slots=True)
class Pulse:
    """How far a passage has come: so many more milliseconds of film, people seen."""

    film_ms: int
    sightings: int


@dataclass(frozen=True, slots=True)
class PartEnded:
    """A file has been looked at; ``trouble`` says why not to its end, in words, if it was not."""

    part: int
    trouble: str = ""


Message = Seen | Pulse | PartEnded


@dataclass(slots=True)
class _Slots:
    """What has been seen of slots that are not passed yet."""

    numbers: list[int]
    floor: int = 0
    views: dict[int, bytearray] = field(default_factory=dict)
    sightings: dict[int, list[Sighting]] = field(default_factory=dict)
    spans: tuple[s.Span, ...] = ()

    def tell(self, view: View, from_ms: int, until_ms: int) -> None:
        """Note what was seen, within the spans of the file that is being looked at."""
        for begin, end in self.spans:
            first, last = max(begin, from_ms), min(end, max(until_ms, from_ms + 1))
            while first < last:
                number = first // SLOT_MS
                stop = min(last, (number + 1) * SLOT_MS)
                if number >= self.floor:
                    self._put(number, view, first, stop)
                first = stop

    def _put(self, number: int, view: View, from_ms: int, until_ms: int) -> None:
        views = self.views.setdefault(number, bytearray(SLOT_S))
        begin = (from_ms - number * SLOT_MS) // 1000
        end = -((number * SLOT_MS - until_ms) // 1000)
        views[begin:end] = bytes(max(one, int(view)) for one in views[begin:end])

    def add(self, sightings: list[Sighting]) -> int:
        """Put sightings into the slots that they end in, or the first that is not passed yet."""
        for one in sightings:
            number = one.row.last_ms // SLOT_MS
            fitting = [n for n in self.numbers if n >= max(number, self.floor)]
            at = fitting[0] if fitting else self.numbers[-1]
            self.sightings.setdefault(at, []).append(one)
        return len(sightings)

    def pass_by(self, time_ms: int | None) -> Iterator[Seen]:
        """Give up the slots that ended before ``time_ms``, all for None."""
        while self.numbers:
            number = self.numbers[0]
            if time_ms is not None and (number + 1) * SLOT_MS > time_ms:
                return
            if time_ms is not None and len(self.numbers) == 1:
                return  # who ends late is put into the last one
            self.numbers.pop(0)
            self.floor = number + 1
            views = self.views.pop(number, bytearray(SLOT_S))
            yield Seen(number, self.sightings.pop(number, []), bytes(views))


def look_through(
    passage: Passage, *, eyes: Eyes, frames: Frames, stopped: Callable[[], bool] = lambda: False
) -> Iterator[Message]:
    """Look at a passage; each of its slots is told once, in order, also when nobody was in it.

    Args:
        passage: which files, and which spans of them.
        eyes: find people; for this passage alone.
        frames: read a file.
        stopped: asked after each picture: whether to end at once, telling nothing more.
    """
    slots = _Slots(passage.slots())
    watch = Watch(slots.tell)
    for number, part in enumerate(passage.parts):
        if not part.spans:
            continue
        trouble, film_ms, people = "", 0, 0
        slots.spans = part.spans
        at_ms: int | None = None
        pictures = step_ms = 0
        try:
            for frame, sightings in _pictures(part, eyes, watch, frames):
                if stopped():
                    return
                pictures += 1
                people += slots.add(sightings)
                step_ms = 0 if at_ms is None else max(0, min(frame - at_ms, 60_000))
                film_ms += step_ms
                at_ms = frame
                if film_ms >= PULSE_MS:
                    yield Pulse(film_ms, people)
                    film_ms = people = 0
                    yield from slots.pass_by(at_ms - PASSED_MS)
        except OperationError as error:
            trouble = str(error)
        if not trouble and not pictures:
            trouble = "no picture of it could be read"
        if at_ms is not None:
            _last_picture(watch, at_ms, step_ms)
        yield Pulse(film_ms, people)
        yield PartEnded(number, trouble)
    people = slots.add(eyes.flush())
    yield Pulse(0, people)
    yield from slots.pass_by(None)


def _pictures(
    part: Part, eyes: Eyes, watch: Watch, frames: Frames
) -> Iterator[tuple[int, list[Sighting]]]:
    """Look at each picture that lies in a file's spans; give its time and who had gone by then."""
    errors, span = 0, 0
    last_ms: int | None = None
    for frame in frames(part.file):
        time_ms = frame.captured_at_ms
        try:
            while span < len(part.spans) and time_ms >= part.spans[span][1]:
                span += 1
                if last_ms is not None:
                    _last_picture(watch, last_ms, time_ms - last_ms)
                    last_ms = None
                watch.begin_again()  # what lies between is another's to tell
            if span == len(part.spans):
                return
            if time_ms < part.spans[span][0]:
                continue
            watch.frame(frame.image, time_ms)
            last_ms = time_ms
            sightings = eyes.process(frame) if watch.sees else eyes.expire(time_ms)
            errors = 0
        except OperationError:
            raise
        except Exception as error:  # one picture that a library stumbles over is not the end
            errors += 1
            if errors >= _MAX_ERRORS:
                raise OperationError(
                    f"{errors} pictures in a row could not be looked at; the last: {error}"
                ) from error
            continue
        finally:
            frame.wipe()
        yield time_ms, sightings


def _last_picture(watch: Watch, at_ms: int, step_ms: int) -> None:
    """Have the last picture of a span speak for as long as one does in that film.

    Beyond that nothing is told: a whole copy of a film that broke off may still come.
    """
    watch.silence(at_ms + min(step_ms, OFFLINE_AFTER_MS))
