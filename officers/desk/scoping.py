"""Choose which cameras and hours a query would open, and count what lies in them; takes no key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from officers.desk.api_client import Estimate
from officers.desk.camera_places import kept_register, places_for
from officers.desk.choosing import Wanted, choose
from officers.desk.moments import to_milliseconds, whole_slots
from officers.desk.notices import Kept, Notice
from officers.desk.phrases import moment, phrase
from officers.desk.session import Session
from protocol.directory import INVESTIGATOR
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
    places: Sequence[str] = (),
    area: Path | None = None,
) -> Scope:
    """Return the cameras and the window that are meant, widened to whole quarter hours.

    Args:
        session: an investigator's.
        cameras: by name, or patterns of names.
        starts: aware, as ``ends``.
        ends: later than ``starts``; may lie ahead.
        every, places, area: as in `Wanted`; what patterns, places and the area gave is told.

    Raises:
        OfficerError: the officer is no investigator.
        DraftInvalid: no camera is meant, one is unknown, or ways of naming do not go together.
        MomentInvalid: the window is empty.
    """
    me = session.officer
    me.require(INVESTIGATOR)
    tell = Kept(session.tell)
    from_ms, to_ms = whole_slots(starts, ends)
    if (from_ms, to_ms) != (to_milliseconds(starts), to_milliseconds(ends)):
        tell(
            Notice(
                phrase(
                    "the window is widened to whole quarter hours, the least that keys exist for: "
                    "{begins} to {ends}",
                    begins=moment(from_ms),
                    ends=moment(to_ms),
                )
            )
        )
    wanted = Wanted(tuple(cameras), tuple(places), area, every)
    register = kept_register(me) if not wanted.needs_register else places_for(me, tell=tell)
    chosen = choose(wanted, me.directory, register, tell)
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
