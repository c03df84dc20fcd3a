"""The demo's story as data: who walks past which camera when, and what each camera should see.

Everything that a clip shows follows from here, so what the system reports can be compared with
the truth: who is in view from when to when, with or without a mask, and who came near whom.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.photos import photograph

WIDTH: Final = 1280
HEIGHT: Final = 720
FACE_HEIGHT_M: Final = 0.22
"""Height of an adult's face as the detector frames it; turns pixels into metres."""
_CONTACT_M: Final = 2.0
FROM_BEHIND: Final = "from_behind.png"
"""In this package, instead of a photograph: a man from head to feet who turns his back."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where the centre of a walker's face is at a time: pixels, and the face's height."""

    at_s: float
    x: float
    y: float
    face_px: float


@dataclass(frozen=True, slots=True)
class Walker:
    """One person in a scene: which photograph, masked or not, along which path.

    `masked` is None of somebody `FROM_BEHIND`, and of whoever else shows no face: hair is painted
    over it, and nobody can tell.
    """

    photo: str
    masked: bool | None
    path: tuple[Step, ...]

    @property
    def who(self) -> str:
        """The person on the photograph."""
        return "turned away" if self.photo == FROM_BEHIND else photograph(self.photo).who

    def at(self, time_s: float) -> Step | None:
        """Position at `time_s`, straight between steps; None before the first, after the last."""
        if not self.path[0].at_s <= time_s <= self.path[-1].at_s:
            return None
        times = [step.at_s for step in self.path]
        x, y, face_px = (
            float(np.interp(time_s, times, [getattr(step, name) for step in self.path]))
            for name in ("x", "y", "face_px")
        )
        return Step(time_s, x, y, face_px)


@dataclass(frozen=True, slots=True)
class Scene:
    """What one camera sees; walkers are painted in order, the last in front.

    `light` is the share of daylight in its first and in its second half; in the dark, pictures are
    noisy, too.
    """

    camera: str
    duration_s: float
    walkers: tuple[Walker, ...]
    light: tuple[float, float] = (1.0, 1.0)

    def light_at(self, time_s: float) -> float:
        """The share of daylight at `time_s`."""
        return self.light[time_s >= self.duration_s / 2]


@dataclass(frozen=True, slots=True)
class Scenario:
    """The whole demo: the subject, the photograph to enrol them with, and the scenes."""

    subject: str
    enrolment_photo: str
    scenes: tuple[Scene, ...]
    fps: int = 10
    seed: int = 2020


@dataclass(frozen=True, slots=True)
class SightingTruth:
    """A person whose whole face, or head, is in the picture from `from_s` to `to_s`."""

    who: str
    masked: bool | None
    from_s: float
    to_s: float
    face_px: tuple[float, float]
    """Smallest and largest height of the face in that time."""


@dataclass(frozen=True, slots=True)
class ContactTruth:
    """Two people nearer than two metres, by the size of their faces, from `from_s` to `to_s`."""

    who: tuple[str, str]
    masked: tuple[bool | None, bool | None]
    from_s: float
    to_s: float
    nearest_m: float


@dataclass(frozen=True, slots=True)
class ClipTruth:
    """A composed clip and everything that is to be seen in it."""

    camera: str
    path: Path
    duration_s: float
    fps: int
    sightings: tuple[SightingTruth, ...]
    contacts: tuple[ContactTruth, ...]


def walk(start_s: float, end_s: float, y: float, face_px: tuple[float, float]) -> tuple[Step, ...]:
    """Left to right through the whole picture, the face growing from `face_px[0]` to `[1]`."""
    first, last = face_px
    return (
        Step(start_s, -0.8 * first, y, first),
        Step(end_s, WIDTH + 0.8 * last, y + 12, last),
    )


def mirrored(path: tuple[Step, ...]) -> tuple[Step, ...]:
    """The same from right to left."""
    return tuple(Step(step.at_s, WIDTH - step.x, step.y, step.face_px) for step in path)


def demo_scenario() -> Scenario:
    """The demo's story.

    cam-1: the subject, unmasked, walks beside a masked companion. cam-2: the subject meets another
    unmasked person halfway and walks on with her, while a stranger passes far behind. cam-3: two
    strangers, one of them masked; the subject never comes.
    """
    beside = tuple(
        Step(step.at_s, step.x - 290, step.y - 14, step.face_px * 0.97)
        for step in walk(0.5, 10.5, 250, (140, 156))
    )
    cam_1 = Scene(
        camera="cam-1",
        duration_s=13.0,
        walkers=(
            Walker("biden.jpg", True, (*beside, Step(12.8, WIDTH + 120, 248, 152))),
            Walker("obama2.jpg", False, walk(0.5, 10.5, 250, (140, 156))),
        ),
    )
    meets = (
        Step(2.0, WIDTH + 110, 262, 132),
        Step(4.5, 840, 256, 134),
        Step(8.5, 840, 256, 136),
        Step(11.5, WIDTH + 120, 262, 140),
    )
    subject = (
        Step(0.4, -110, 240, 136),
        Step(5.0, 560, 244, 140),
        Step(8.5, 580, 246, 142),
        Step(12.6, WIDTH + 130, 250, 148),
    )
    cam_2 = Scene(
        camera="cam-2",
        duration_s=13.5,
        walkers=(
            Walker("biden.jpg", False, mirrored(walk(0.3, 9.3, 92, (46, 46)))),
            Walker("astronaut.png", False, meets),
            Walker("obama3.jpg", False, subject),
        ),
    )
    cam_3 = Scene(
        camera="cam-3",
        duration_s=11.0,
        walkers=(
            Walker("astronaut.png", True, mirrored(walk(0.4, 8.6, 230, (126, 136)))),
            Walker("biden.jpg", False, walk(2.0, 10.4, 252, (140, 152))),
        ),
    )
    return Scenario(subject="obama", enrolment_photo="obama.jpg", scenes=(cam_1, cam_2, cam_3))


def truth_of(scenario: Scenario, out_dir: Path) -> list[ClipTruth]:
    """What each camera of the scenario sees, without composing anything."""
    return [
        ClipTruth(
            camera=scene.camera,
            path=out_dir / f"{scene.camera}.mp4",
            duration_s=scene.duration_s,
            fps=scenario.fps,
            sightings=_sightings(scene, scenario.fps),
            contacts=_contacts(scene, scenario.fps),
        )
        for scene in scenario.scenes
    ]


def _sightings(scene: Scene, fps: int) -> tuple[SightingTruth, ...]:
    found = []
    for walker in scene.walkers:
        seen = [step for step in _steps(walker, scene, fps) if in_view(step)]
        if seen:
            sizes = [step.face_px for step in seen]
            found.append(
                SightingTruth(
                    who=walker.who,
                    masked=walker.masked,
                    from_s=seen[0].at_s,
                    to_s=seen[-1].at_s,
                    face_px=(round(min(sizes), 1), round(max(sizes), 1)),
                )
            )
    return tuple(found)


def _contacts(scene: Scene, fps: int) -> tuple[ContactTruth, ...]:
    found = []
    for number, one in enumerate(scene.walkers):
        for other in scene.walkers[number + 1 :]:
            near: list[tuple[float, float]] = []
            for step in _steps(one, scene, fps):
                beside = other.at(step.at_s)
                if beside and in_view(step) and in_view(beside):
                    apart_m = _apart_m(step, beside)
                    if apart_m < _CONTACT_M:
                        near.append((step.at_s, apart_m))
            if near:
                found.append(
                    ContactTruth(
                        who=(one.who, other.who),
                        masked=(one.masked, other.masked),
                        from_s=near[0][0],
                        to_s=near[-1][0],
                        nearest_m=round(min(apart for _, apart in near), 2),
                    )
                )
    return tuple(found)


def _steps(walker: Walker, scene: Scene, fps: int) -> list[Step]:
    times = (index / fps for index in range(round(scene.duration_s * fps)))
    return [step for step in map(walker.at, times) if step is not None]


def in_view(step: Step) -> bool:
    """Whether the whole face is inside the picture."""
    half_width, half_height = 0.42 * step.face_px, 0.55 * step.face_px
    inside_x = half_width <= step.x <= WIDTH - half_width
    return inside_x and half_height <= step.y <= HEIGHT - half_height


def _apart_m(one: Step, other: Step) -> float:
    """Distance of two faces: sideways by their size in pixels, in depth by the ratio of sizes.

    The depth of a face is focal length x real height / height in pixels; the focal length is taken
    as the picture's width (a field of view of 53 degrees), as a camera without calibration.
    """

    def place(step: Step) -> NDArray[np.float64]:
        metre = FACE_HEIGHT_M / step.face_px
        return np.array([(step.x - WIDTH / 2) * metre, WIDTH * metre])

    return float(np.linalg.norm(place(one) - place(other)))
