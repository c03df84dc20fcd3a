"""How one box was over the last days: lines to be drawn, and the same by day for a table.

A quarter hour without a report breaks a line, and is told as silence: what is not known is not
drawn as if it had been well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from itertools import pairwise

from officers.desk.api_client import AnswerInvalid
from officers.desk.fleet_answers import HistorySaid, SlotSaid
from officers.desk.phrases import Phrase, phrase
from officers.desk.session import Session
from officers.desk.site_clock import by_clocks
from protocol.names import SLOT_MS

DAYS = 7
MOST_CAMERAS = 16
WIDTH, HEIGHT = 640.0, 96.0
"""Of the area in which lines are drawn, in units of the drawing."""
_GIB = 1 << 30
_DAY_MS = 86_400_000
_MOST_DAYS = 32


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark on an axis: where (units of the drawing), and what stands at it."""

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure over time.

    Args:
        title: what is drawn.
        unit: of its values.
        lines: each unbroken run, its points as x, y in the drawing, y down.
        silences: from and to in x, of which nothing is known.
        heights: marks of the values.
        worst: the worst value, None where nothing is known.
    """

    title: Phrase
    unit: str
    lines: tuple[tuple[tuple[float, float], ...], ...]
    silences: tuple[tuple[float, float], ...]
    heights: tuple[Mark, ...]
    worst: float | None

    @property
    def paths(self) -> tuple[str, ...]:
        """The lines as an SVG ``points`` attribute each."""
        return tuple(" ".join(f"{x:.1f},{y:.1f}" for x, y in line) for line in self.lines)


@dataclass(frozen=True, slots=True)
class DayRow:
    """One day of a box: the worst of each, None where nothing is known."""

    from_ms: int
    silent_ms: int
    fps: float | None
    queued: int | None
    disk_free_gib: float | None
    temperature_c: float | None
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BoxHistory:
    """One box over some days.

    Args:
        from_ms: where the plots begin.
        to_ms: where they end.
        plots: of the box, then one a camera.
        midnights: of the site's clocks, in x of the plots.
        days: the same as a table, the newest first.
        not_drawn: cameras for which there was no room.
    """

    from_ms: int
    to_ms: int
    plots: tuple[Plot, ...]
    camera_plots: tuple[Plot, ...]
    midnights: tuple[Mark, ...]
    days: tuple[DayRow, ...]
    not_drawn: tuple[str, ...]


def box_history(
    session: Session, box: str, cameras: Sequence[str], zone: tzinfo | None, *, days: int = DAYS
) -> BoxHistory | None:
    """Ask headquarters how a box was; None of headquarters that keep no history.

    Raises:
        PeerUnreachable, ProblemError, AnswerInvalid: it does not say.
    """
    said = session.client.box_history(box, days=days)
    return None if said is None else history_of(said, cameras, zone)


def history_of(said: HistorySaid, cameras: Sequence[str], zone: tzinfo | None) -> BoxHistory:
    """Make plots and table of what headquarters said.

    Args:
        said: within which quarter hours outside of its own bounds are left out.
        cameras: of the box, each of which has a plot of its own.
        zone: whose days are told.

    Raises:
        AnswerInvalid: it is of no stretch of days.
    """
    if not 0 < said.to_ms - said.from_ms <= _MOST_DAYS * _DAY_MS:
        raise AnswerInvalid(phrase("headquarters' history of a box is of no stretch of days"))
    slots = _slots(said)
    drawing = _Drawing(said.from_ms, min(said.to_ms, max(said.told_ms, said.from_ms + 1)), slots)
    plots = (
        drawing.plot(phrase("Frames a second, slowest camera"), "fps", _slowest(cameras)),
        drawing.plot(phrase("Messages waiting on the box"), "", _figure("outbox.queued")),
        drawing.plot(phrase("Disk free"), "GiB", _figure("disk_free_bytes", _GIB), worst=min),
        drawing.plot(phrase("Temperature"), "°C", _figure("temperature_c")),
    )
    drawn = cameras[:MOST_CAMERAS]
    return BoxHistory(
        from_ms=said.from_ms,
        to_ms=drawing.to_ms,
        plots=tuple(plot for plot in plots if plot.lines or plot.unit in {"fps", ""}),
        camera_plots=tuple(
            drawing.plot(
                phrase("Frames a second, {camera}", camera=camera),
                "fps",
                _figure(f"camera.{camera}.fps"),
                worst=min,
            )
            for camera in drawn
        )
        if len(cameras) > 1
        else (),
        midnights=tuple(drawing.midnights(zone)),
        days=tuple(reversed(_days(said, slots, cameras, zone, drawing.to_ms))),
        not_drawn=tuple(cameras[MOST_CAMERAS:]),
    )


def _slots(said: HistorySaid) -> dict[int, SlotSaid]:
    """Return the quarter hours by number, those that are within the bounds."""
    return {
        one.from_ms // SLOT_MS: one
        for one in said.slots
        if said.from_ms <= one.from_ms < said.to_ms and one.reports
    }


Value = Callable[[SlotSaid], float | None]


def _figure(name: str, divisor: float = 1) -> Value:
    def read(slot: SlotSaid) -> float | None:
        value = slot.worst.get(name)
        return None if value is None or value < 0 else value / divisor

    return read


def _slowest(cameras: Sequence[str]) -> Value:
    def read(slot: SlotSaid) -> float | None:
        told = [slot.worst.get(f"camera.{camera}.fps") for camera in cameras]
        return min((value for value in told if value is not None), default=None)

    return read


class _Drawing:
    """Draws figures of quarter hours over one stretch of time."""

    def __init__(self, from_ms: int, to_ms: int, slots: dict[int, SlotSaid]) -> None:
        self.from_ms = from_ms
        self.to_ms = to_ms
        self._slots = slots
        self._numbers = range(from_ms // SLOT_MS, -(-to_ms // SLOT_MS))

    def x(self, time_ms: float) -> float:
        """Return where a moment is."""
        share = (time_ms - self.from_ms) / (self.to_ms - self.from_ms)
        return WIDTH * min(1.0, max(0.0, share))

    def plot(
        self,
        title: Phrase,
        unit: str,
        read: Value,
        *,
        worst: Callable[[Sequence[float]], float] | None = None,
    ) -> Plot:
        """Return one figure; the worst is the most, or the least for what ``worst`` says."""
        values = {
            number: value
            for number, slot in self._slots.items()
            if (value := read(slot)) is not None
        }
        top = _round_up(max(values.values(), default=0.0))
        runs: list[list[tuple[float, float]]] = []
        silences: list[tuple[float, float]] = []
        before: int | None = None
        for number in self._numbers:
            begins, ends = self.x(number * SLOT_MS), self.x((number + 1) * SLOT_MS)
            if number not in values:
                if silences and math.isclose(silences[-1][1], begins):
                    silences[-1] = silences[-1][0], ends
                else:
                    silences.append((begins, ends))
                continue
            if before is None or before + 1 != number:
                runs.append([])
            before = number
            y = HEIGHT * (1 - values[number] / top)
            runs[-1] += [(begins, y), (ends, y)]
        choose = worst or (min if unit == "fps" else max)
        return Plot(
            title=title,
            unit=unit,
            lines=tuple(tuple(run) for run in runs),
            silences=tuple(silences),
            heights=(Mark(0.0, f"{top:g}"), Mark(HEIGHT / 2, f"{top / 2:g}"), Mark(HEIGHT, "0")),
            worst=choose(list(values.values())) if values else None,
        )

    def midnights(self, zone: tzinfo | None) -> list[Mark]:
        """Return where days begin by the site's clocks."""
        return [
            Mark(self.x(begins_ms), f"{by_clocks(begins_ms, zone):%m-%d}")
            for begins_ms in _midnights(self.from_ms, self.to_ms, zone)
        ]


def _midnights(from_ms: int, to_ms: int, zone: tzinfo | None) -> list[int]:
    """Return when days begin within a stretch of time, by a zone's clocks."""
    found = []
    time_ms = from_ms
    while time_ms < to_ms:
        at = by_clocks(time_ms, zone)
        next_day = datetime.combine(at.date() + timedelta(days=1), time(), at.tzinfo)
        time_ms = int(next_day.timestamp() * 1000)
        if time_ms < to_ms:
            found.append(time_ms)
    return found


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20 ... that is no less."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def _days(
    said: HistorySaid,
    slots: dict[int, SlotSaid],
    cameras: Sequence[str],
    zone: tzinfo | None,
    to_ms: int,
) -> list[DayRow]:
    bounds = [said.from_ms, *_midnights(said.from_ms, to_ms, zone), to_ms]
    rows = []
    for begins_ms, ends_ms in pairwise(bounds):
        here = [slot for n, slot in slots.items() if begins_ms <= n * SLOT_MS < ends_ms]
        whole = -(-(ends_ms - begins_ms) // SLOT_MS)
        rows.append(
            DayRow(
                from_ms=begins_ms,
                silent_ms=max(0, whole - len(here)) * SLOT_MS,
                fps=_least(here, _slowest(cameras)),
                queued=_most(here, _figure("outbox.queued")),
                disk_free_gib=_least(here, _figure("disk_free_bytes", _GIB)),
                temperature_c=_largest(here, _figure("temperature_c")),
                versions=tuple(dict.fromkeys(slot.version for slot in here if slot.version)),
            )
        )
    return rows


def _least(slots: Sequence[SlotSaid], read: Value) -> float | None:
    return min((v for slot in slots if (v := read(slot)) is not None), default=None)


def _largest(slots: Sequence[SlotSaid], read: Value) -> float | None:
    return max((v for slot in slots if (v := read(slot)) is not None), default=None)


def _most(slots: Sequence[SlotSaid], read: Value) -> int | None:
    value = _largest(slots, read)
    return None if value is None else int(value)
