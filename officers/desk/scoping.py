"""Choose which cameras and hours a query would open, and count what lies in them; takes no key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from officers.desk.api_client import Estimate
from officers.desk.moments import local_text, to_milliseconds, whole_slots
from officers.desk.notices import Kept, Notice
from officers.desk.session import Session
from officers.desk.subjects import DraftInvalid
from protocol.directory import BOX, INVESTIGATOR, Directory
from protocol.names import SLOT_MS


@dataclass(frozen=True, slots=True)
class Scope:
    """Cameras, and a window of whole quarter hours (ms UTC); ``notices``: what to know about it."""

    cameras: tuple[str, ...]
    window_from_ms: int
    window_to_ms: int
    notices: tuple[Notice, ...] = ()

    @property
    def camera_slots(self) -> int:
        """How many camera quarter hours it would open."""
        return len(self.cameras) * (self.window_to_ms - self.window_from_ms) // SLOT_MS


def scope(
    session: Session,
    cameras: Sequence[str],
    starts: datetime,
    ends: datetime,
    *,
    every: bool = False,
) -> Scope:
    """Return the cameras and the window that are meant, widened to whole quarter hours.

    Args:
        session: an investigator's.
        cameras: by name.
        starts: aware, as ``ends``.
        ends: later than ``starts``; may lie ahead.
        every: all cameras that a box in force watches, instead of named ones.

    Raises:
        OfficerError: the officer is no investigator.
        DraftInvalid: no camera is named, one is unknown, or both ways of naming are used.
        MomentInvalid: the window is empty.
    """
    me = session.officer
    me.require(INVESTIGATOR)
    tell = Kept(session.tell)
    from_ms, to_ms = whole_slots(starts, ends)
    if (from_ms, to_ms) != (to_milliseconds(starts), to_milliseconds(ends)):
        tell(
            Notice(
                "the window is widened to whole quarter hours, the least that keys exist for: "
                f"{local_text(from_ms)} to {local_text(to_ms)}"
            )
        )
    chosen = cameras_of(me.directory, cameras, every=every)
    if every and (left_out := cameras_left_out(me.directory)):
        tell(
            Notice(
                f"left out, because their boxes are revoked: {', '.join(left_out)}; for what they "
                "saw before, name them with --camera"
            )
        )
    return Scope(chosen, from_ms, to_ms, tell.all)


def estimate(
    session: Session,
    scope: Scope,
    thresholds: Mapping[str, float],
    *,
    templates: int = 1,
    subjects: int = 1,
) -> Estimate:
    """Ask how many sightings a scope holds by now, and how many strangers would be candidates.

    Args:
        session: an officer's.
        scope: what would be opened.
        thresholds: by model; empty asks for the defaults, which the answer names.
        templates: how many would be compared.
        subjects: of how many people they are.
    """
    return session.client.estimate(
        scope.cameras,
        scope.window_from_ms,
        scope.window_to_ms,
        thresholds,
        templates=templates,
        subjects=subjects,
    )


def cameras_of(directory: Directory, named: Sequence[str], *, every: bool) -> tuple[str, ...]:
    """Return the cameras that are meant, sorted.

    Raises:
        DraftInvalid: none is named, one is unknown, or both ways of naming are used.
    """
    known, in_force = _cameras(directory)
    if every and named:
        raise DraftInvalid("give either --camera or --all-cameras, not both")
    if every:
        if not in_force:
            raise DraftInvalid("the site has no cameras yet; add a box with `sealtrace box add`")
        return in_force
    if not named:
        raise DraftInvalid(
            f"name the cameras with --camera, or all with --all-cameras ({_few(known)})"
        )
    for camera in named:
        if camera not in known:
            near = difflib.get_close_matches(camera, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {_few(known)}"
            raise DraftInvalid(f"the site has no camera '{camera}'; {hint}")
    return tuple(sorted(set(named)))


def cameras_left_out(directory: Directory) -> tuple[str, ...]:
    """Return the cameras that "all cameras" leaves out: no box in force watches them any more."""
    known, in_force = _cameras(directory)
    return tuple(camera for camera in known if camera not in in_force)


def _cameras(directory: Directory) -> tuple[tuple[str, ...], tuple[str, ...]]:
    boxes = [p for p in directory.principals.values() if BOX in p.duties]
    known = {camera for box in boxes for camera in box.cameras}
    in_force = {c for box in boxes if box.revoked_at_ms is None for c in box.cameras}
    return tuple(sorted(known)), tuple(sorted(in_force))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
