"""What the cameras of a query watched, and how many people they counted: sealed like its results.

Nothing found at a camera that watched is silence; at one that did not, it is blindness. So officers
are told, for each camera of the query and the quarter hours that have ended, for how many seconds
it watched and why not. Where the query was granted same-place counts they stand beside, but for
numbers below five and what would let one be computed (`protocol.small_cells`).
Both are the word of the boxes, added up by the aggregator; no custodian signs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from protocol import hpke
from protocol.encoding import Fields, decode, encode
from protocol.errors import MalformedMessage, UnsupportedVersion
from protocol.names import SLOT_MS, SLOTS_PER_EPOCH, require_name
from protocol.small_cells import Told, check_shown, shown_rows, told_of
from protocol.v2.counts import PARTS, Counts
from protocol.v2.rows import COVERED, SLOT_S

Table = npt.NDArray[np.uint32]
SECONDS = (*COVERED, "missing_s", "version_1_s")
"""What boxes tell of a second (`protocol.v2.rows.Coverage`), then of what they told nothing."""
COUNTED = ("sightings", "masked", "unmasked", "changed", "unknown")
KINDS = len(COUNTED) - 1
"""What the people of a quarter hour wore: all of `COUNTED` but the sightings."""
COUNT_COLUMNS = len(COUNTED) + PARTS
MAX_CAMERAS, MAX_COUNTS = 16_384, 10_000
MAX_SLOTS = 400 * SLOTS_PER_EPOCH
MAX_BY_SLOT = 1 << 18
"""So many quarter hours of cameras are told one by one; beyond that each camera's total alone."""
NO_SEGMENT = 0xFFFF
OPENED, NOT_GRANTED, REFUSED, VERSION_1 = range(4)
"""Why nothing came of a quarter hour: its keys were at hand, so its box sent nothing; nobody has
given them yet; custodians gave others and not these; its box speaks version 1, which tells nothing.
"""
_FORM = 3
_EXACT_FORM = 2
"""Of earlier aggregators, which told each number as it is; what is small is withheld in reading."""
_WATCHING = "watching"
_U32, _U16 = np.dtype("<u4"), np.dtype("<u2")


@dataclass(frozen=True, slots=True)
class CameraWatch:
    """For how many seconds a camera watched, of the quarter hours that have ended.

    Args:
        total_s: seconds of those quarter hours.
        watched_s, blind_s, dark_s, frozen_s, offline_s, standing_in_s: as its box told
            (`protocol.v2.rows.Coverage`).
        missing_s: of quarter hours of which nothing came, or nothing was opened.
        version_1_s: of a box that speaks version 1 still, which tells nothing of this.
        by_slot: of each quarter hour in order the seconds watched, None where nothing came; empty
            where only totals are told.
        closed: of each quarter hour why nothing came; `OPENED` where something did. Empty where
            that is not told.
    """

    camera: str
    total_s: int
    watched_s: int
    blind_s: int
    dark_s: int
    frozen_s: int
    offline_s: int
    standing_in_s: int
    missing_s: int
    version_1_s: int
    by_slot: tuple[int | None, ...] = ()
    closed: tuple[int, ...] = ()

    @property
    def untold_s(self) -> int:
        """Seconds of which the box told nothing, as it was not running yet: not watched either."""
        return self.total_s - sum(int(getattr(self, name)) for name in SECONDS)

    @property
    def watched_wholly(self) -> bool:
        """Whether nobody can have passed unseen for want of watching."""
        return self.watched_s == self.total_s


@dataclass(frozen=True, slots=True)
class PlaceCounts:
    """How many people a camera counted in the quarter hour that begins at ``begins_ms`` (UTC).

    A person is an episode (`protocol.v2.counts.Counts`). Numbers below five are not told.

    Args:
        masked, unmasked, changed, unknown: the same people, by what they wore.
        at_once: the most people seen at one moment in each third of the quarter hour.
    """

    camera: str
    begins_ms: int
    people: Told
    masked: Told
    unmasked: Told
    changed: Told
    unknown: Told
    at_once: tuple[Told, ...]

    @property
    def people_at_least(self) -> int:
        """How many there were at least, by the numbers that are told; 0: that is not known."""
        if isinstance(self.people, int):
            return self.people
        parts = (self.masked, self.unmasked, self.changed, self.unknown)
        return sum(part for part in parts if isinstance(part, int))


@dataclass(frozen=True, slots=True)
class Watching:
    """Of all cameras of a query.

    Args:
        from_ms, until_ms: the whole quarter hours told of: those of the query that have ended.
        cameras: n names.
        seconds: (n, 8) uint32, in the order of `SECONDS`.
        by_slot: (n, quarter hours) uint16: seconds watched, `NO_SEGMENT` where nothing came; None
            where that would be more than `MAX_BY_SLOT`.
        counted: (n,) uint32: in how many quarter hours people were counted; None where the query
            asks for no counts.
        counts: (k, 10) uint32, of quarter hours in which five people or more came: index of the
            camera, number of the quarter hour since 1970, then how many people and of each of
            `KINDS`, and the most at once in each third; as `protocol.small_cells.shown_rows` tells.
        cameras_left_out, counts_left_out: how many there was no room for.
        counted_by_slot: (n, quarter hours) uint8: 1 where people were counted; None if ``counts``
            or ``by_slot`` is.
        closed: (n, quarter hours) uint8: why nothing came of those without a segment; None where
            that was not told, or all were open.
    """

    from_ms: int
    until_ms: int
    cameras: tuple[str, ...]
    seconds: Table
    by_slot: npt.NDArray[np.uint16] | None
    counted: Table | None = None
    counts: Table | None = None
    cameras_left_out: int = 0
    counts_left_out: int = 0
    counted_by_slot: npt.NDArray[np.uint8] | None = None
    closed: npt.NDArray[np.uint8] | None = None

    @property
    def slots(self) -> int:
        """How many quarter hours are told of."""
        return (self.until_ms - self.from_ms) // SLOT_MS

    def watches(self) -> Iterator[CameraWatch]:
        """Yield what each camera watched, in the order of ``cameras``."""
        for at, camera in enumerate(self.cameras):
            told = () if self.by_slot is None else self.by_slot[at].tolist()
            closed = () if self.closed is None else tuple(self.closed[at].tolist())
            yield CameraWatch(
                camera=camera,
                total_s=self.slots * SLOT_S,
                by_slot=tuple(None if one == NO_SEGMENT else one for one in told),
                closed=closed,
                **dict(zip(SECONDS, self.seconds[at].tolist(), strict=True)),
            )

    def places(self) -> Iterator[PlaceCounts]:
        """Yield what was counted where five people or more came, by camera and time."""
        if self.counts is None:
            return
        order = np.lexsort((self.counts[:, 1], self.counts[:, 0]))
        for camera, number, *told in self.counts[order].tolist():
            people, masked, unmasked, changed, unknown, *at_once = map(told_of, told)
            yield PlaceCounts(
                self.cameras[camera],
                number * SLOT_MS,
                people,
                masked,
                unmasked,
                changed,
                unknown,
                tuple(at_once),
            )

    def seal(self, officer: hpke.PublicKey, *, query_digest: bytes) -> bytes:
        """Seal to an officer who asked or confirms."""
        return officer.seal(self.to_bytes(), purpose=_WATCHING, context=[query_digest])

    def to_bytes(self) -> bytes:
        """Encode, to be sealed."""
        value: dict[str, object] = {
            "v": _FORM,
            "from_ms": self.from_ms,
            "until_ms": self.until_ms,
            "cameras": list(self.cameras),
            "seconds": self.seconds.astype(_U32).tobytes(),
            "by_slot": None if self.by_slot is None else self.by_slot.astype(_U16).tobytes(),
            "counted": None if self.counted is None else self.counted.astype(_U32).tobytes(),
            "counts": None if self.counts is None else self.counts.astype(_U32).tobytes(),
            "cameras_left_out": self.cameras_left_out,
            "counts_left_out": self.counts_left_out,
            "counted_by_slot": None
            if self.counted_by_slot is None
            else self.counted_by_slot.astype(np.uint8).tobytes(),
        }
        if self.closed is not None:
            value["closed"] = self.closed.astype(np.uint8).tobytes()
        return encode(value)

    @classmethod
    def open(cls, sealed: bytes, officer: hpke.PrivateKey, *, query_digest: bytes) -> Watching:
        """Open as an officer to whom it was sealed.

        Raises:
            AuthenticationFailed: somebody else's, of another query, or altered.
            MalformedMessage, UnsupportedVersion: it opens to something else.
        """
        return cls.parse(officer.open(sealed, purpose=_WATCHING, context=[query_digest]))

    @classmethod
    def parse(cls, opened: bytes) -> Watching:
        """Read what was opened.

        Raises:
            MalformedMessage, UnsupportedVersion: it is something else, or contradicts itself.
        """
        read = Fields(decode(opened, what="watching"), what="watching")
        form = read.integer("v")
        if form not in {_EXACT_FORM, _FORM}:
            raise UnsupportedVersion(
                f"what the cameras watched is of form {form}, and this program reads {_FORM} at "
                "most: it needs its update"
            )
        exact = form == _EXACT_FORM
        from_ms, until_ms = read.integer("from_ms"), read.integer("until_ms")
        if from_ms % SLOT_MS or until_ms % SLOT_MS or until_ms < from_ms:
            raise MalformedMessage("watching: not of whole quarter hours")
        slots = (until_ms - from_ms) // SLOT_MS
        if slots > MAX_SLOTS:
            raise MalformedMessage("watching: more quarter hours than a query has")
        cameras = tuple(
            require_name(name, what="a camera")
            for name in read.texts("cameras", max_items=MAX_CAMERAS)
        )
        count = len(cameras)
        watching = cls(
            from_ms,
            until_ms,
            cameras,
            _table(read, "seconds", len(SECONDS), rows=count),
            read.optional("by_slot", lambda name: _by_slot(read, name, count, slots)),
            read.optional("counted", lambda name: _table(read, name, 1, rows=count)[:, 0]),
            read.optional("counts", lambda name: _table(read, name, 2 + COUNT_COLUMNS)),
            read.integer("cameras_left_out"),
            read.integer("counts_left_out"),
            counted_by_slot=None
            if exact
            else read.optional(
                "counted_by_slot", lambda name: _flags(read, name, count, slots, most=1)
            ),
            closed=_flags(read, "closed", count, slots, most=VERSION_1)
            if "closed" in read
            else None,
        )
        read.done()
        watching._check(exact=exact)
        if exact and watching.counts is not None:
            return replace(watching, counts=tell_counts(watching.counts))
        return watching

    def _check(self, *, exact: bool) -> None:
        if (self.seconds.astype(np.uint64).sum(axis=1) > self.slots * SLOT_S).any():
            raise MalformedMessage("watching: a camera has more seconds than there are")
        by_slot = self.by_slot
        if by_slot is not None and ((by_slot > SLOT_S) & (by_slot != NO_SEGMENT)).any():
            raise MalformedMessage("watching: a quarter hour has more seconds than it has")
        if self.closed is not None and (
            by_slot is None or ((self.closed != OPENED) & (by_slot != NO_SEGMENT)).any()
        ):
            raise MalformedMessage("watching: something came of a quarter hour that was closed")
        if self.counted is not None and (self.counted > self.slots).any():
            raise MalformedMessage("watching: more quarter hours are counted than there are")
        if self.counts is None:
            return
        first, numbers = self.from_ms // SLOT_MS, self.counts[:, 1].astype(np.int64)
        if (self.counts[:, 0] >= len(self.cameras)).any() or (
            (numbers < first) | (numbers >= first + self.slots)
        ).any():
            raise MalformedMessage("watching: counts of a camera or quarter hour not told of")
        if len(np.unique(self.counts[:, :2], axis=0)) != len(self.counts):
            raise MalformedMessage("watching: a quarter hour of a camera is counted twice")
        for row in self.counts[:, 2:].tolist():
            if exact:
                Counts(**dict(zip(COUNTED, row, strict=False)), at_once=tuple(row[len(COUNTED) :]))
            else:
                check_shown(row, kinds=KINDS)


def tell_counts(exact: Table) -> Table:
    """Return what officers are told of exact counts: those of five people and more, and safely.

    Args:
        exact: (k, 10): as `Watching.counts`, with the sightings in the place of the people.
    """
    kinds = exact[:, 3 : 3 + KINDS]
    people = kinds.sum(axis=1, dtype=np.int64).tolist()
    shown, which = shown_rows(people, kinds, exact[:, 3 + KINDS :])
    return np.hstack([exact[which, :2], shown]).astype(np.uint32)


def _table(read: Fields, name: str, columns: int, *, rows: int | None = None) -> Table:
    most = MAX_COUNTS if rows is None else rows
    data = read.raw(name, max_size=most * columns * _U32.itemsize)
    if len(data) % (columns * _U32.itemsize):
        raise MalformedMessage(f"watching: '{name}' is cut short")
    table = np.frombuffer(data, _U32).astype(np.uint32).reshape(-1, columns)
    if rows is not None and len(table) != rows:
        raise MalformedMessage(f"watching: '{name}' is not one a camera")
    return table


def _by_slot(read: Fields, name: str, cameras: int, slots: int) -> npt.NDArray[np.uint16]:
    if cameras * slots > MAX_BY_SLOT:
        raise MalformedMessage("watching: more quarter hours one by one than are told")
    data = read.raw(name, size=cameras * slots * _U16.itemsize)
    return np.frombuffer(data, _U16).astype(np.uint16).reshape(cameras, slots)


def _flags(
    read: Fields, name: str, cameras: int, slots: int, *, most: int
) -> npt.NDArray[np.uint8]:
    """Read a small number for each quarter hour of each camera."""
    if cameras * slots > MAX_BY_SLOT:
        raise MalformedMessage("watching: more quarter hours one by one than are told")
    flags = np.frombuffer(read.raw(name, size=cameras * slots), np.uint8)
    if (flags > most).any():
        raise MalformedMessage(f"watching: {name} holds a number that means nothing")
    return flags.reshape(cameras, slots).copy()
