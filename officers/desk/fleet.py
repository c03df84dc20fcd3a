"""How the site's boxes and cameras are, by headquarters' word: for who looks after them.

Nothing here tells who passed, nor how many: boxes report no such figure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from officers.desk.fleet_answers import BoxSaid, GapSaid
from officers.desk.phrases import Phrase, duration, moment, nphrase, phrase, theirs
from officers.desk.session import Session
from protocol.telemetry import OFFLINE
from runtime.camera_troubles import camera_troubles
from runtime.clock import system_ms

HEARD_WITHIN_MS = 150_000
"""A box reports every 30 s; of so long without a word it is said to be silent."""
CERTIFICATE_DAYS = 7
"""So many days before its certificate ends a box is in trouble: it renews long before."""
_DISK_FREE_SHARE = 0.05
_DAY_MS = 86_400_000
_FAILED, _NO_FRAMES, _ENDED = 0.0, 1.0, 3.0
_GROUP = "group."


class State(StrEnum):
    """How a camera or a box is; the values are those of the map's shapes."""

    WELL = "well"
    TROUBLE = "trouble"
    DOWN = "down"
    OFF = "off"
    """Revoked: nobody expects anything of it."""


@dataclass(frozen=True, slots=True)
class CameraNow:
    """One camera: ``fps`` is frames looked at a second, None where the box does not say."""

    name: str
    box: str
    state: State
    fps: float | None
    words: tuple[Phrase, ...]


@dataclass(frozen=True, slots=True)
class BoxNow:
    """One box.

    Args:
        troubles: of the box itself and of its cameras, in words.
        silent_ms: how long it was not heard in the last 24 hours; None where it is not known.
        missing: messages of it that have not come.
        queued: messages that wait on it for the broker.
        certificate_days: until its certificate ends; None where it does not say.
        group: with which it takes its versions; empty where it does not say.
        disk_free: the share of its disk that is free, None where it does not say.
        gaps: which of its messages have not come, the oldest first.
    """

    name: str
    state: State
    cameras: tuple[CameraNow, ...]
    troubles: tuple[Phrase, ...]
    last_seen_ms: int | None
    silent_ms: int | None
    missing: int
    queued: int | None
    certificate_days: int | None
    version: str
    group: str
    protocol: int | None
    disk_free: float | None
    gaps: tuple[GapSaid, ...] = ()

    @property
    def fps(self) -> float | None:
        """The slowest of its cameras."""
        return min((one.fps for one in self.cameras if one.fps is not None), default=None)


@dataclass(frozen=True, slots=True)
class Fleet:
    """All boxes by name, those with trouble first, and when headquarters said so (ms UTC)."""

    boxes: tuple[BoxNow, ...]
    told_ms: int

    @property
    def cameras(self) -> dict[State, int]:
        """How many cameras of boxes in force are in each state."""
        counted = Counter(
            camera.state
            for box in self.boxes
            for camera in box.cameras
            if camera.state is not State.OFF
        )
        return {state: counted.get(state, 0) for state in (State.WELL, State.TROUBLE, State.DOWN)}


def fleet(session: Session) -> Fleet:
    """Ask headquarters how the boxes are.

    Raises:
        PeerUnreachable, ProblemError, AnswerInvalid: it does not say.
    """
    now_ms = system_ms()
    return fleet_of(session.client.boxes(), now_ms=now_ms)


def fleet_of(said: Sequence[BoxSaid], *, now_ms: int) -> Fleet:
    """Judge what headquarters said."""
    weight = {State.DOWN: 0, State.TROUBLE: 1, State.WELL: 2, State.OFF: 3}
    boxes = sorted(
        (_box(one, now_ms) for one in said), key=lambda box: (weight[box.state], box.name)
    )
    return Fleet(tuple(boxes), now_ms)


def camera_states(found: Fleet) -> dict[str, CameraNow]:
    """Return the cameras by name; of one that two boxes have, the one in force that is better."""
    weight = {State.OFF: 0, State.DOWN: 1, State.TROUBLE: 2, State.WELL: 3}
    cameras: dict[str, CameraNow] = {}
    for box in found.boxes:
        for camera in box.cameras:
            known = cameras.get(camera.name)
            if known is None or weight[camera.state] > weight[known.state]:
                cameras[camera.name] = camera
    return cameras


def _box(said: BoxSaid, now_ms: int) -> BoxNow:
    silent = _silence(said, now_ms)
    cameras = tuple(_camera(name, said, silent) for name in said.cameras)
    troubles = () if said.revoked or silent else tuple(_troubles(said, now_ms))
    own = [*([silent] if silent else []), *troubles]
    of_cameras = [] if silent or said.revoked else [w for one in cameras for w in one.words]
    if said.revoked:
        state = State.OFF
    elif silent:
        state = State.DOWN
    elif troubles or any(one.state is not State.WELL for one in cameras):
        state = State.TROUBLE
    else:
        state = State.WELL
    queued = said.figures.get("outbox.queued")
    return BoxNow(
        name=said.box,
        state=state,
        cameras=cameras,
        troubles=(phrase("revoked"),) if said.revoked else (*own, *of_cameras),
        last_seen_ms=said.last_seen_ms,
        silent_ms=_silent_ms(said, now_ms),
        missing=sum(max(0, gap.last - gap.first + 1) for gap in said.gaps),
        queued=None if queued is None else int(queued),
        certificate_days=_certificate_days(said.figures, now_ms),
        version=said.version or "",
        group=_group(said.figures),
        protocol=said.protocol,
        disk_free=_disk_free(said.figures),
        gaps=tuple(sorted(said.gaps, key=lambda gap: gap.opened_ms)),
    )


def _silence(said: BoxSaid, now_ms: int) -> Phrase | None:
    """Return why nothing is heard of a box, None while it is heard."""
    if said.last_seen_ms is None:
        return phrase("never heard")
    if said.state == OFFLINE:
        return phrase("it hung up; last heard {time}", time=moment(said.last_seen_ms))
    if now_ms - said.last_seen_ms > HEARD_WITHIN_MS:
        return phrase("not heard since {time}", time=moment(said.last_seen_ms))
    return None


def _silent_ms(said: BoxSaid, now_ms: int) -> int | None:
    """Return how long a box was not heard in the last day, what goes on now included."""
    if said.silent_day_ms is None or said.last_seen_ms is None:
        return None
    now_silent_ms = now_ms - said.last_seen_ms
    more_ms = now_silent_ms if now_silent_ms > HEARD_WITHIN_MS else 0
    return min(_DAY_MS, said.silent_day_ms + more_ms)


def _camera(name: str, said: BoxSaid, silent: Phrase | None) -> CameraNow:
    fps = said.figures.get(f"camera.{name}.fps")
    if said.revoked or silent is not None:
        state = State.OFF if said.revoked else State.DOWN
        why = phrase("its box is revoked") if said.revoked else phrase("its box is silent")
        return CameraNow(name, said.box, state, None, (why,))
    words = tuple(camera_troubles([name], said.figures))
    code = said.figures.get(f"camera.{name}.state")
    if code == _FAILED:
        failed = phrase("camera {camera} gives no pictures", camera=name)
        return CameraNow(name, said.box, State.DOWN, fps, (failed, *words))
    more = []
    if code == _NO_FRAMES:
        more.append(phrase("camera {camera} gives no pictures now", camera=name))
    if code == _ENDED:
        more.append(phrase("the recording of camera {camera} has ended", camera=name))
    if said.figures.get(f"trouble.camera.{name}"):
        more.append(phrase("what camera {camera} sees cannot be sealed, and waits", camera=name))
    told = (*more, *words)
    return CameraNow(name, said.box, State.TROUBLE if told else State.WELL, fps, told)


def _troubles(said: BoxSaid, now_ms: int) -> list[Phrase]:
    """Return what is wrong with a box itself."""
    figures, found = said.figures, []
    if said.clock_wrong:
        off_s = abs(said.clock_offset_ms or 0) / 1000
        found.append(phrase("its clock is {off} off", off=duration(off_s)))
    days = _certificate_days(figures, now_ms)
    if days is not None and days <= CERTIFICATE_DAYS:
        found.append(
            phrase("its certificate has ended")
            if days < 0
            else nphrase(
                "its certificate ends in {n} day", "its certificate ends in {n} days", days
            )
        )
    free = _disk_free(figures)
    if figures.get("outbox.disk_full"):
        found.append(phrase("its disk is full: sealed sightings are kept in memory"))
    elif free is not None and free < _DISK_FREE_SHARE:
        found.append(phrase("{share:.0f} % of its disk is free", share=free * 100))
    found += [
        phrase("the day keys of {custodian} cannot be used", custodian=theirs(name))
        for figure, value in sorted(figures.items())
        if value and (name := figure.removeprefix("trouble.day_keys.")) != figure
    ]
    if said.quarantined:
        found.append(
            nphrase(
                "{n:,} message waits in quarantine",
                "{n:,} messages wait in quarantine",
                said.quarantined,
            )
        )
    lost = sum(gap.last - gap.first + 1 for gap in said.gaps if gap.lost)
    if lost:
        found.append(nphrase("{n:,} message is lost", "{n:,} messages are lost", lost))
    return found


def _certificate_days(figures: Mapping[str, float], now_ms: int) -> int | None:
    ends_s = figures.get("certificate_ends_s")
    return None if ends_s is None else int((ends_s * 1000 - now_ms) // _DAY_MS)


def _disk_free(figures: Mapping[str, float]) -> float | None:
    free, total = figures.get("disk_free_bytes", -1), figures.get("disk_total_bytes", 0)
    return free / total if free >= 0 and total > 0 else None


def _group(figures: Mapping[str, float]) -> str:
    names = sorted(name for name, value in figures.items() if name.startswith(_GROUP) and value)
    return names[0].removeprefix(_GROUP) if names else ""
