"""Says in plain words what a probe's figures mean and what to change at the camera."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edge_agent.camera_setup.faces import FaceSurvey
from edge_agent.camera_setup.probe import ProbeResult
from edge_agent.vision.config import VisionConfig

Level = Literal["good", "note", "poor"]

GOOD_EYES_PX = 16.0
"""Distance between the eyes from which a face's size limits its quality little: see
`edge_agent.vision.quality`."""
GOOD_FACE_PX = 50
"""What to aim for, as an installer can see it: the height of a face in the picture."""
MASKED_FACE_PX = 40.0
"""Height at the agent's working size from which faces with masks are found."""
_DARK, _BRIGHT, _CLIPPED = 45.0, 210.0, 0.35
_BLURRED = 25.0


@dataclass(frozen=True, slots=True)
class Advice:
    """One finding: "good", "note" (works, could be better) or "poor" (change it)."""

    level: Level
    text: str


def advise(result: ProbeResult, vision: VisionConfig) -> list[Advice]:
    """Everything worth telling the installer, the stream first, then light, then faces."""
    return [*_stream(result, vision), *_light(result), *_faces(result.faces, vision)]


def _stream(result: ProbeResult, vision: VisionConfig) -> Iterator[Advice]:
    if result.broke_off:
        yield Advice(
            "poor",
            f"the stream broke off after {result.lasted_s:.1f} s: check the cable, the power and "
            "whether others watch this camera too",
        )
    if result.live and result.frames > 5 and result.fps < vision.detect_fps:
        yield Advice(
            "poor",
            f"only {result.fps:.1f} frames a second come, {vision.detect_fps:g} are looked at: "
            "raise the camera's frame rate",
        )
    share = result.missed / max(1, result.missed + result.frames)
    if share > 0.05:
        yield Advice(
            "poor",
            f"about {share:.0%} of the frames did not arrive in time: use a cable instead of "
            "radio, or a lower bit rate",
        )
    if result.bad:
        what = "files that are no images" if result.facts.codec == "images" else "damaged stretches"
        yield Advice("note", f"{what} were skipped: {result.bad}")
    if result.facts.by_ffmpeg:
        yield Advice(
            "note",
            "the video is interlaced, or odd in another way: the program ffmpeg reads it, which "
            "costs more; set the camera to progressive video if it can",
        )
    if result.truncated:
        yield Advice("note", "the recording breaks off before its stated end")
    if result.longest_gap_s > 2.0 and result.live:
        yield Advice("note", f"for {result.longest_gap_s:.1f} s nothing came at all")
    if result.first_frame_s > 4.0 and result.live:
        yield Advice(
            "note",
            f"the first picture took {result.first_frame_s:.1f} s: a shorter key frame interval "
            "(once a second) lets the box reconnect faster",
        )
    if result.login == "Basic":
        yield Advice(
            "poor",
            "the camera takes the password unprotected (Basic): choose Digest in its settings and "
            "keep cameras on a network of their own",
        )
    elif result.login == "none" and result.live:
        yield Advice(
            "note", "the camera shows its picture to anybody on the network: set a password"
        )
    if result.height < 480:
        yield Advice(
            "note",
            f"{result.width}x{result.height} is a small picture: faces are large enough only near "
            "the camera; choose its main stream if it has one",
        )


def _light(result: ProbeResult) -> Iterator[Advice]:
    light = result.light
    if not light.moving and result.live:
        yield Advice(
            "poor", "every picture is the same, to the pixel: the camera hangs; restart it"
        )
    if light.brightness < _DARK:
        yield Advice("poor", f"the picture is dark ({light.brightness:.0f} of 255): add light")
    elif light.brightness > _BRIGHT or light.clipped > _CLIPPED:
        yield Advice(
            "poor",
            f"{light.clipped:.0%} of the picture is pure white or black: turn the camera away from "
            "windows and lamps, or switch on its wide dynamic range",
        )
    if light.sharpness < _BLURRED:
        yield Advice(
            "note",
            f"the picture has little detail (sharpness {light.sharpness:.0f}): clean the lens and "
            "set the focus, unless the view is of a bare wall",
        )


def _faces(faces: FaceSurvey | None, vision: VisionConfig) -> Iterator[Advice]:
    if faces is None:
        yield Advice("note", "faces were not looked for: there is no model bundle here")
        return
    if not faces.faces:
        yield Advice(
            "note",
            "no face was seen: have somebody walk towards the camera where people will pass, and "
            "try again",
        )
        return
    height = f"faces are {faces.height_px:.0f} px high ({faces.eyes_px:.0f} px between the eyes)"
    cure = f"move closer or zoom so that a face is at least {GOOD_FACE_PX} px high"
    if faces.eyes_px < vision.min_eyes_px:
        yield Advice("poor", f"{height}: too small for recognition; {cure}")
    elif faces.eyes_px < GOOD_EYES_PX:
        yield Advice("note", f"{height}: recognition will be poor; {cure}")
    else:
        yield Advice("good", f"{height}: large enough for recognition")
    if faces.working_px < MASKED_FACE_PX:
        yield Advice(
            "note",
            f"at the size at which faces are looked for ({vision.detect_width}x"
            f"{vision.detect_height}) they are {faces.working_px:.0f} px high: faces with masks "
            f"are found from about {MASKED_FACE_PX:.0f} px; zoom, or raise detect_width and "
            "detect_height",
        )
