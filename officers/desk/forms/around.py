"""What forms need besides the traces: where cameras are, the site's clocks, how contacts grade."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from officers.desk.camera_places import Positions
from officers.desk.case_files import CaseFile
from officers.desk.graded import GradedTrace
from officers.desk.site_clock import by_clocks
from officers.desk.traced import Met, Report, met_in
from protocol.places import GLOBE, CameraPlace, Places

DAY = "%Y-%m-%d"


@dataclass(frozen=True, slots=True)
class Around:
    """What is known around a trace.

    Args:
        positions: of cameras, where the officer brought a list of their own.
        hits_only: leave out what is not confirmed.
        zone: the site's.
        places: the site's register of places.
        officer: who exports.
        graded: how contacts are graded, a case each; none where nobody asked for it.
        language: of names of places, a tag.
    """

    positions: Positions = field(default_factory=dict)
    hits_only: bool = False
    zone: tzinfo = UTC
    places: Places | None = None
    officer: str = ""
    graded: tuple[GradedTrace, ...] = ()
    language: str = "en"

    def met(self, report: Report) -> tuple[Met, ...]:
        """Return whom the cases met, graded."""
        grades = {
            (one.subject, met.person.number): met.grade
            for one in self.graded
            for met in one.contacts
            if met.grade is not None
        }
        return met_in(report, grades)

    def known(self, case: str) -> CaseFile | None:
        """Return what is known of a case's illness."""
        return next((one.case for one in self.graded if one.subject == case), None)

    def place(self, camera: str) -> CameraPlace | None:
        """Return what the register says of a camera."""
        return None if self.places is None else self.places.cameras.get(camera)

    def name(self, camera: str) -> str:
        """Return the name of a camera's place in the language, with the room; else the camera's."""
        place = self.place(camera)
        if place is None:
            return camera
        name = place.names.get(self.language, place.place)
        return f"{name}, {place.room}" if place.room else name

    def named(self, camera: str) -> str:
        """Return the name of a camera's place, with the camera in brackets where it has one."""
        name = self.name(camera)
        return name if name == camera else f"{name} ({camera})"

    def position(self, camera: str) -> tuple[float, float] | None:
        """Return latitude and longitude; None where neither list nor register tells."""
        if camera in self.positions:
            return self.positions[camera]
        place = self.place(camera)
        if place is None or self.places is None or self.places.axes != GLOBE:
            return None
        return place.position

    def local(self, time_ms: int) -> datetime:
        """Return a moment by the site's clocks."""
        return by_clocks(time_ms, self.zone)

    def local_iso(self, time_ms: int) -> str:
        """Return ``2031-05-04T10:00:00+09:00``."""
        return self.local(time_ms).isoformat(timespec="seconds")

    def day(self, time_ms: int) -> str:
        """Return ``2031-05-04``, the day by the site's clocks."""
        return self.local(time_ms).strftime(DAY)
