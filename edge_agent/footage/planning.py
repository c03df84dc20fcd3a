"""Decides what of which files is imported, before any of them is looked at: each second once.

Pure: what is known of files, days and hours comes in, a plan with a reason for each file comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from edge_agent.footage import seconds as s
from edge_agent.footage.desk import MAX_DAYS_AHEAD_MS, Standing, may_not
from edge_agent.footage.found import FoundFile
from edge_agent.footage.ledger import Known
from protocol.names import EPOCH_MS, SLOT_MS, SLOTS_PER_EPOCH
from protocol.v2.header import TIME_SOURCES

JOINED_MS = 2_000
"""Files of a camera that lie no further apart are looked at as one: who stays is one person."""
PASSAGE_MS = 30 * 60_000
"""Where several processes share a camera, each has so much of it at least."""
_SHARES = 2  # passages a process, so that none waits long for the last one
_SAME_MS = 1_000


class Fate(StrEnum):
    """What becomes of a file."""

    IMPORT = "import"
    PARTLY = "import in part"
    NOTHING_NEW = "nothing new"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a file, and why, in words."""

    file: FoundFile
    fate: Fate
    why: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A file, and the spans of time of it that are looked at; ``content`` is its SHA-256."""

    file: FoundFile
    content: bytes
    spans: tuple[s.Span, ...]


@dataclass(frozen=True, slots=True)
class Passage:
    """Files of one camera that follow one another: one process looks at them in turn."""

    camera: str
    time_source: str
    parts: tuple[Part, ...]

    def slots(self) -> list[int]:
        """Return the slots that it looks at, rising."""
        found = {n for part in self.parts for span in part.spans for n in s.slots_of(span)}
        return sorted(found)

    @property
    def seconds(self) -> float:
        """How much film is looked at."""
        return sum(s.length_ms(part.spans) for part in self.parts) / 1000


@dataclass(frozen=True, slots=True)
class Plan:
    """What is imported, and what becomes of each file.

    ``unasked`` are cameras of which headquarters has not said what other boxes told.
    """

    passages: tuple[Passage, ...]
    verdicts: tuple[Verdict, ...]
    unasked: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How much film is looked at in all."""
        return sum(passage.seconds for passage in self.passages)


@dataclass(frozen=True, slots=True)
class Hours:
    """What is told already of a camera.

    Attributes:
        live: seconds by slot that this box watched.
        recorded: seconds by slot that this box imported.
        elsewhere: slots that another box watched or imported, as headquarters tells; None where it
            has not.
    """

    live: Mapping[int, int] = field(default_factory=dict)
    recorded: Mapping[int, int] = field(default_factory=dict)
    elsewhere: Collection[int] | None = frozenset()


@dataclass(frozen=True, slots=True)
class Film:
    """A file that was found, its content's SHA-256, and what this box knows of that."""

    file: FoundFile
    content: bytes = b""
    known: Known | None = None


def plan(
    films: Sequence[Film],
    *,
    standing: Standing,
    hours: Callable[[str, int, int], Hours],
    now_ms: int,
    workers: int = 1,
    anyway: bool = False,
) -> Plan:
    """Decide.

    Args:
        films: what was found.
        standing: what can be imported now.
        hours: gives what is told already of a camera, from a first slot through a last one.
        now_ms: the wall clock; nothing is imported of later.
        workers: processes among which passages are divided.
        anyway: import what was watched live, or was imported as of another time, all the same.
    """
    verdicts: list[Verdict] = []
    parts: dict[str, list[Part]] = {}
    taken: dict[str, list[s.Span]] = {}
    known_hours: dict[str, Hours] = {}
    wanted = []
    for film in films:
        if (refusal := _refusal(film, standing, now_ms=now_ms, anyway=anyway)) is not None:
            verdicts.append(refusal)
        else:
            wanted.append(film)
    for camera, first, last in _extent(wanted):
        known_hours[camera] = hours(camera, first, last)
    for film in sorted(wanted, key=lambda one: (_begins(one), _ends(one), str(one.file.path))):
        camera = film.file.camera or ""
        spans, why, refused = _left_of(
            film, standing, known_hours[camera], taken.setdefault(camera, []), anyway=anyway
        )
        taken[camera].append((_begins(film), _ends(film)))
        if not spans:
            fate = Fate.REFUSED if refused else Fate.NOTHING_NEW
            verdicts.append(Verdict(film.file, fate, "; ".join(why)))
            continue
        fate = Fate.PARTLY if why else Fate.IMPORT
        verdicts.append(Verdict(film.file, fate, "; ".join(why)))
        parts.setdefault(camera, []).append(Part(film.file, film.content, tuple(spans)))
    order = {id(film.file): number for number, film in enumerate(films)}
    verdicts.sort(key=lambda one: order[id(one.file)])
    unasked = tuple(camera for camera, told in known_hours.items() if told.elsewhere is None)
    return Plan(tuple(_passages(parts, workers)), tuple(verdicts), unasked)


def _begins(film: Film) -> int:
    return film.file.began_ms or 0


def _ends(film: Film) -> int:
    return _begins(film) + max(1, round(film.file.seconds * 1000))


def _extent(films: Sequence[Film]) -> list[tuple[str, int, int]]:
    """Return of each camera the first and the last slot that its films touch."""
    found: dict[str, tuple[int, int]] = {}
    for film in films:
        camera = film.file.camera or ""
        first, last = found.get(camera, (1 << 62, 0))
        found[camera] = (
            min(first, _begins(film) // SLOT_MS),
            max(last, (_ends(film) - 1) // SLOT_MS),
        )
    return [(camera, *slots) for camera, slots in sorted(found.items())]


def _refusal(film: Film, standing: Standing, *, now_ms: int, anyway: bool) -> Verdict | None:
    """Return why nothing of a file can be imported, None if some may be."""
    file = film.file
    if why := _why_unusable(file) or _why_not_now(film, standing, now_ms=now_ms):
        return Verdict(file, Fate.REFUSED, why)
    if film.known is None or anyway:
        return None
    when = f"imported before, on {_when(film.known.imported_ms)}"
    if abs(film.known.began_ms - _begins(film)) > _SAME_MS:
        when += (
            f", as of {_when(film.known.began_ms)} and not of {_when(_begins(film))}; what was "
            "sealed stays as it is, --anyway imports it once more"
        )
    return Verdict(file, Fate.NOTHING_NEW, when)


def _why_unusable(file: FoundFile) -> str:
    """Return why a file cannot be imported anywhere; empty if it can."""
    if file.trouble:
        return file.trouble
    if not file.camera:
        return "nothing says which camera it is of: give --camera, --pattern or --list"
    if file.began_ms is None or file.time_source not in TIME_SOURCES:
        return "nothing says when it began: give --pattern, or a --list that says it"
    return ""


def _why_not_now(film: Film, standing: Standing, *, now_ms: int) -> str:
    """Return why a usable file cannot be imported here and now; empty if it can."""
    camera = film.file.camera or ""
    if camera not in standing.recordings:
        return may_not(standing.box, camera, standing.recordings)
    ahead_ms = _ends(film) - now_ms
    if _begins(film) < 0 or ahead_ms > MAX_DAYS_AHEAD_MS:
        return (
            f"it would end {_long(ahead_ms)} from now ({_when(_ends(film))}): the recorder's clock "
            "or the time zone is wrong (--clock-offset, --time-zone)"
        )
    days = range(_begins(film) // EPOCH_MS, (_ends(film) - 1) // EPOCH_MS + 1)
    return "" if standing.days & set(days) else _without_keys(min(days), standing)


def _without_keys(day: int, standing: Standing) -> str:
    """Return why a day cannot be sealed."""
    if not standing.days:
        return (
            "no custodians' day keys are known here yet: are the broker, the aggregator and "
            "enough custodians reached?"
        )
    if day < min(standing.days):
        return (
            f"{_day(day)} is older than what the site keeps: its custodians have no keys for that "
            f"day (the oldest that they have of these days is {_day(min(standing.days))})"
        )
    return f"too few custodians have told their keys for {_day(day)}: tell who runs them"


def _left_of(
    film: Film,
    standing: Standing,
    told: Hours,
    taken: Sequence[s.Span],
    *,
    anyway: bool,
) -> tuple[list[s.Span], list[str], bool]:
    """Return what of a file is to be looked at, why other spans are not, and if any is refused."""
    spans: list[s.Span] = [(_begins(film), _ends(film))]
    why: list[str] = []
    refused = False

    def take_away(others: Sequence[s.Span], reason: str, *, refusal: bool = True) -> None:
        nonlocal spans, refused
        before_ms = s.length_ms(spans)
        for other in others:
            spans = s.without(spans, other)
        if (less_ms := before_ms - s.length_ms(spans)) > 0:
            why.append(f"{_long(less_ms)} {reason}")
            refused |= refusal

    numbers = s.slots_of(spans[0])
    days = {number // SLOTS_PER_EPOCH for number in numbers}
    older = [day for day in days if day < min(standing.days)]
    if older:  # said once, of a film of very many days too
        span = (min(older) * EPOCH_MS, (max(older) + 1) * EPOCH_MS)
        take_away([span], f"not: {_without_keys(max(older), standing)}")
    for day in sorted(days.difference(standing.days, older)):
        take_away([(day * EPOCH_MS, (day + 1) * EPOCH_MS)], f"not: {_without_keys(day, standing)}")
    take_away(
        [one for n in numbers for one in s.spans_of(n, told.recorded.get(n, 0))],
        "imported before",
        refusal=False,
    )
    take_away(taken, "in an earlier file of the camera: counted once", refusal=False)
    if not anyway:
        take_away(
            [one for n in numbers for one in s.spans_of(n, told.live.get(n, 0))],
            "watched live by this box (--anyway imports them all the same)",
        )
        take_away(
            [(n * SLOT_MS, (n + 1) * SLOT_MS) for n in numbers if n in (told.elsewhere or ())],
            "in quarter hours that another box told of (--anyway imports them all the same)",
        )
    return spans, why, refused


def _passages(parts: Mapping[str, Sequence[Part]], workers: int) -> list[Passage]:
    """Put files that follow one another together, as far as the work can still be shared."""
    total_ms = sum(s.length_ms(part.spans) for each in parts.values() for part in each)
    least_ms = 1 << 62 if workers <= 1 else max(PASSAGE_MS, total_ms // (_SHARES * workers))
    found: list[Passage] = []
    for camera, mine in sorted(parts.items()):
        group: list[Part] = []
        for part in sorted(mine, key=lambda one: one.spans[0]):
            if group:
                last = group[-1]
                apart_ms = part.spans[0][0] - last.spans[-1][1]
                long = sum(s.length_ms(one.spans) for one in group) >= least_ms
                other = part.file.time_source != last.file.time_source
                if long or other or not 0 <= apart_ms <= JOINED_MS:
                    found.append(Passage(camera, last.file.time_source, tuple(group)))
                    group = []
            group.append(part)
        found.append(Passage(camera, group[-1].file.time_source, tuple(group)))
    # By time, so that quarter hours are complete soon, and one camera does not wait for another.
    return sorted(found, key=lambda one: (one.parts[0].spans[0], one.camera))


def _when(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _day(day: int) -> str:
    return datetime.fromtimestamp(day * EPOCH_MS / 1000, UTC).strftime("%Y-%m-%d")


def _long(length_ms: int) -> str:
    seconds = max(1, round(length_ms / 1000))
    minutes, seconds = divmod(seconds, 60)
    if not minutes:
        return f"{seconds} s"
    return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
