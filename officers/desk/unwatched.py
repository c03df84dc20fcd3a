"""In which hours the cameras of a scope saw nothing, as far as headquarters know before it opens.

From the health of the boxes, of which headquarters keep the worst of each quarter hour: what is
told here may be true of a part of it alone. What cameras watched in truth stands sealed in the
segments, and is told with the results (`officers.desk.watching`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from officers.desk.facts import Fact
from officers.desk.fleet import State, camera_states, fleet_of
from officers.desk.fleet_answers import BoxSaid, SlotSaid
from officers.desk.phrases import Phrase, duration, nphrase, phrase, theirs, together
from officers.desk.session import Session
from protocol.errors import ProtocolError
from protocol.names import SLOT_MS
from runtime.errors import OperationError, explained

OFFLINE, BLIND, DARK, MOVED = "offline", "blind", "dark", "moved"
KINDS = (OFFLINE, BLIND, DARK, MOVED)
"""The worst first.

``offline``: no box of it was heard. ``blind``: no picture, or it was covered, blurred or standing
still. ``dark``: too dark to see anybody. ``moved``: it showed another place than before."""
MOST_BOXES, HISTORY_DAYS = 64, 14
_DAY_MS = 86_400_000
_DARK, _MOVED = 1.0, 5.0
_WITHOUT_PICTURES = frozenset({0.0, 1.0})
_NAMED = 5
_WATCHED = len(KINDS)


@dataclass(frozen=True, slots=True)
class CameraUnwatched:
    """One camera: how many quarter hours of each of `KINDS`, wholly or in part."""

    camera: str
    counts: Mapping[str, int]

    @property
    def quarters(self) -> int:
        """All of them."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Unwatched:
    """What is known of a scope.

    Args:
        over: quarter hours of its cameras that are over.
        untold: of those, how many headquarters tell nothing of: they lie before their history, or
            no box is listed for the camera, or more boxes would have to be asked than are.
        cameras: those that missed something, the worst first.
        now: where some of the window lies ahead, what is wrong with its cameras at present.
    """

    over: int
    untold: int
    cameras: tuple[CameraUnwatched, ...]
    now: tuple[Phrase, ...] = ()

    @property
    def quarters(self) -> int:
        """Quarter hours of cameras that were not watched, wholly or in part."""
        return sum(one.quarters for one in self.cameras)

    @property
    def counts(self) -> Counter[str]:
        """How many of each of `KINDS`."""
        found: Counter[str] = Counter()
        for one in self.cameras:
            found.update(one.counts)
        return found


def unwatched(
    session: Session, cameras: Sequence[str], from_ms: int, to_ms: int, *, now_ms: int
) -> Unwatched | None:
    """Ask headquarters how the cameras of a scope were; None of those that keep no history.

    Args:
        session: anybody's.
        cameras: of the scope.
        from_ms, to_ms: its window, whole quarter hours.
        now_ms: the present.

    Raises:
        OperationError: they do not say.
    """
    boxes = session.client.boxes()
    slots = range(from_ms // SLOT_MS, min(to_ms, now_ms) // SLOT_MS)
    oldest = (now_ms - HISTORY_DAYS * _DAY_MS) // SLOT_MS + 1
    told_of = range(max(slots.start, oldest), slots.stop)
    histories: dict[str, Mapping[int, SlotSaid]] = {}
    if told_of:
        wanted = set(cameras)
        days = min(HISTORY_DAYS, (now_ms // SLOT_MS - told_of.start) // 96 + 1)
        asked = [one.box for one in boxes if wanted.intersection(one.cameras)]
        for name in asked[:MOST_BOXES]:
            said = session.client.box_history(name, days=days)
            if said is None:
                return None
            histories[name] = {one.from_ms // SLOT_MS: one for one in said.slots if one.reports}
    return _added_up(
        cameras,
        boxes,
        histories,
        over=len(slots) * len(cameras),
        slots=told_of,
        now=_now(boxes, cameras, now_ms) if to_ms > now_ms else (),
    )


def unwatched_fact(
    session: Session, cameras: Sequence[str], from_ms: int, to_ms: int, *, now_ms: int
) -> tuple[Fact | None, Unwatched | None]:
    """Return what is read before filing, and the figures; nothing where there is nothing to say."""
    try:
        found = unwatched(session, cameras, from_ms, to_ms, now_ms=now_ms)
    except (OperationError, ProtocolError) as error:
        words = phrase("headquarters do not say: {error}", error=explained(error))
        return Fact(phrase("not watched"), words, headquarters=True), None
    if found is None:
        words = phrase("not known: headquarters keep no history of boxes")
        return Fact(phrase("not watched"), words, headquarters=True), None
    if not found.over and not found.now:
        return None, found
    return Fact(phrase("not watched"), unwatched_words(found), headquarters=True), found


def unwatched_words(found: Unwatched) -> Phrase:
    """Say in words and numbers what the cameras of a scope did not see."""
    lines: list[Phrase] = []
    known = found.over - found.untold
    if found.quarters:
        lines.append(
            nphrase(
                "{n:,} of {known:,} camera quarter hours ({time}), wholly or in part: whoever "
                "passed meanwhile is not found",
                "{n:,} of {known:,} camera quarter hours ({time}), wholly or in part: whoever "
                "passed meanwhile is not found",
                found.quarters,
                known=known,
                time=duration(found.quarters * SLOT_MS / 1000),
            )
        )
        counts = found.counts
        lines += [_kind(kind, counts[kind]) for kind in KINDS if counts[kind]]
        lines += [_camera(one) for one in found.cameras[:_NAMED]]
        if (more := len(found.cameras) - _NAMED) > 0:
            lines.append(nphrase("and {n:,} more camera", "and {n:,} more cameras", more))
    elif known:
        lines.append(
            nphrase(
                "nothing is known to be missing in the {n:,} camera quarter hour that is over",
                "nothing is known to be missing in the {n:,} camera quarter hours that are over",
                known,
            )
        )
    if found.untold:
        lines.append(
            nphrase(
                "{n:,} camera quarter hour is not told of: before headquarters' history, or of "
                "too many boxes",
                "{n:,} camera quarter hours are not told of: before headquarters' history, or of "
                "too many boxes",
                found.untold,
            )
        )
    lines += [phrase("now: {trouble}", trouble=one) for one in found.now[:_NAMED]]
    if (more := len(found.now) - _NAMED) > 0:
        lines.append(nphrase("now: {n:,} trouble more", "now: {n:,} troubles more", more))
    return together(lines)


def kind_words(kind: str) -> Phrase:
    """Return in a word or two why a camera did not watch."""
    return {
        OFFLINE: phrase("offline"),
        BLIND: phrase("blind"),
        DARK: phrase("dark"),
        MOVED: phrase("another place"),
    }[kind]


def _kind(kind: str, count: int) -> Phrase:
    time = duration(count * SLOT_MS / 1000)
    if kind == OFFLINE:
        return phrase("offline {time}: its box was not heard", time=time)
    if kind == BLIND:
        return phrase("blind {time}: no picture, or covered, blurred, standing still", time=time)
    if kind == DARK:
        return phrase("dark {time}: too dark to see anybody", time=time)
    return phrase("another place {time}: it showed something else than before", time=time)


def _camera(one: CameraUnwatched) -> Phrase:
    whys = together((kind_words(kind) for kind in KINDS if one.counts.get(kind)), ", ")
    return phrase(
        "{camera}: {time} ({whys})",
        camera=theirs(one.camera),
        time=duration(one.quarters * SLOT_MS / 1000),
        whys=whys,
    )


def _added_up(
    cameras: Sequence[str],
    boxes: Sequence[BoxSaid],
    histories: Mapping[str, Mapping[int, SlotSaid]],
    *,
    over: int,
    slots: range,
    now: tuple[Phrase, ...],
) -> Unwatched:
    told, found = 0, []
    for camera in cameras:
        # Who was revoked since may have watched then.
        own = [
            histories[one.box] for one in boxes if camera in one.cameras and one.box in histories
        ]
        if not own:
            continue
        told += len(slots)
        counts = Counter(
            KINDS[how] for slot in slots if (how := _best(camera, own, slot)) != _WATCHED
        )
        if counts:
            found.append(CameraUnwatched(camera, dict(counts)))
    worst = sorted(found, key=lambda one: (-one.quarters, one.camera))
    return Unwatched(over, over - told, tuple(worst), now)


def _best(camera: str, histories: Iterable[Mapping[int, SlotSaid]], slot: int) -> int:
    """Return how a camera was in a quarter hour by the best of its boxes: a place in `KINDS`."""
    return max(_how(camera, one.get(slot)) for one in histories)


def _how(camera: str, slot: SlotSaid | None) -> int:
    if slot is None:
        return KINDS.index(OFFLINE)
    state = slot.worst.get(f"camera.{camera}.state")
    view = slot.worst.get(f"trouble.view.{camera}", 0.0)
    if state in _WITHOUT_PICTURES or view not in {0.0, _DARK, _MOVED}:
        return KINDS.index(BLIND)
    if view == _DARK:
        return KINDS.index(DARK)
    return KINDS.index(MOVED) if view == _MOVED else _WATCHED


def _now(boxes: Sequence[BoxSaid], cameras: Sequence[str], now_ms: int) -> tuple[Phrase, ...]:
    states = camera_states(fleet_of(boxes, now_ms=now_ms))
    return tuple(
        phrase("{camera}: {why}", camera=theirs(camera), why=one.words[0])
        for camera in cameras
        if (one := states.get(camera)) is not None and one.state is not State.WELL and one.words
    )
