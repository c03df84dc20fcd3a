"""Composes the demo's clips: photographed faces that walk past the cameras.

The same scenario and seed give the same clip. People are cut out of free photographs; where the
scenario says so, a mask is drawn on first.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.drawn_mask import draw_mask
from demo.scenario import (
    FROM_BEHIND,
    HEIGHT,
    WIDTH,
    ClipTruth,
    Scenario,
    Scene,
    Step,
    Walker,
    truth_of,
)
from models.photos import Photo, photograph, read_photo
from runtime.errors import OperationError

Image = NDArray[np.uint8]
Progress = Callable[[int, int], None]
"""Called with frames done and frames in all."""

_FACES_HIGH: Final = 7.5
"""Height of a standing person in heights of the face."""
_HAIR, _SKIN = (44, 40, 46), (96, 124, 168)  # BGR
_DARK_NOISE: Final = 3.0
"""Standard deviation of what a sensor turned up in the dark adds, in grey levels."""
_FORMAT: Final = 1  # raise when the pictures change, so that cached clips are made again


class ClipError(OperationError):
    """A clip cannot be composed: a photograph cannot be read, or the video cannot be written."""


def compose(
    scenario: Scenario,
    photos: Path,
    out_dir: Path,
    progress: Progress = lambda done, total: None,
) -> list[ClipTruth]:
    """Write one video a scene (MPEG-4, 1280x720) into `out_dir`, unless they are there already.

    Raises:
        ClipError: a photograph is no image, or this machine's OpenCV cannot write the video.
        FileProblem, FileAltered: a photograph is missing (`sealtrace models photos`) or altered.
    """
    truth = truth_of(scenario, out_dir)
    stamp, fingerprint = out_dir / "scenario.sha256", _fingerprint(scenario)
    total = sum(round(scene.duration_s * scenario.fps) for scene in scenario.scenes)
    current = stamp.is_file() and stamp.read_text() == fingerprint
    if current and all(clip.path.is_file() for clip in truth):
        progress(total, total)
        return truth
    out_dir.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    done = 0
    with tempfile.TemporaryDirectory(prefix=".clips-", dir=out_dir) as temporary:
        for number, (scene, clip) in enumerate(zip(scenario.scenes, truth, strict=True)):
            fresh = Path(temporary) / clip.path.name
            painter = _Painter(scene, photos, scenario.seed + number)
            writer = cv2.VideoWriter(
                str(fresh), cv2.VideoWriter.fourcc(*"mp4v"), scenario.fps, (WIDTH, HEIGHT)
            )
            if not writer.isOpened():
                raise ClipError(f"this OpenCV cannot write MPEG-4 video ({fresh}); reinstall it")
            try:
                for index in range(round(scene.duration_s * scenario.fps)):
                    writer.write(painter.frame(index / scenario.fps))
                    done += 1
                    progress(done, total)
            finally:
                writer.release()
            shutil.move(fresh, clip.path)
    stamp.write_text(fingerprint)
    return truth


class _Painter:
    """Paints the frames of one scene."""

    def __init__(self, scene: Scene, photos: Path, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._scene = scene
        self._background = _background(self._random)
        self._people = [_CutOut.of(walker, photos) for walker in scene.walkers]
        self._phase = self._random.uniform(0, 6.28, (len(scene.walkers), 3))
        self._grain = self._random.normal(0, 2.2, (HEIGHT + 64, WIDTH + 64, 1)).astype(np.float32)

    def frame(self, time_s: float) -> Image:
        """The picture at `time_s`: people over the background, then the sensor's grain."""
        picture = self._background.copy()
        for number, walker in enumerate(self._scene.walkers):
            step = walker.at(time_s)
            if step is None:
                continue
            sway, nod, light = self._phase[number]
            bob = 0.012 * step.face_px * np.sin(2 * np.pi * 1.8 * time_s + sway)
            tilt_deg = 2.0 * np.sin(2 * np.pi * 0.55 * time_s + nod)
            gain = 1.0 + 0.05 * np.sin(2 * np.pi * 0.3 * time_s + light)
            moved = Step(time_s, step.x, step.y + float(bob), step.face_px)
            self._people[number].paint(picture, moved, float(tilt_deg), float(gain))
        light = self._scene.light_at(time_s)
        if light < 1:
            picture *= light
            picture += self._random.normal(0, _DARK_NOISE, picture.shape).astype(np.float32)
        x, y = self._random.integers(0, 64, 2)
        picture += self._grain[y : y + HEIGHT, x : x + WIDTH]
        return np.clip(picture, 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class _CutOut:
    """Head and shoulders of a photograph: pixels (h x w x 3), opacity (h x w x 1), face in it.

    `faces_down` is how far it reaches below the face's centre, in heights of the face.
    """

    pixels: NDArray[np.float32]
    opacity: NDArray[np.float32]
    centre: tuple[float, float]
    face_px: float
    faces_down: float = 2.3

    @classmethod
    def of(cls, walker: Walker, photos: Path) -> _CutOut:
        """Cut the walker out, at about the largest size that the scene needs."""
        if walker.photo == FROM_BEHIND:
            return cls.from_behind()
        photo = photograph(walker.photo)
        image = _decode(photo, photos)
        if walker.masked:
            image = draw_mask(image, photo.landmarks)
        elif walker.masked is None:
            image = _faceless(image, photo)
        scale = min(1.0, 1.15 * max(step.face_px for step in walker.path) / photo.face_px)
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        face_px = photo.face_px * scale
        right_eye, left_eye, _, right_mouth, left_mouth = np.array(photo.landmarks) * scale
        x, y = (right_eye + left_eye + right_mouth + left_mouth) / 4
        y -= 0.06 * face_px
        height, width = small.shape[:2]
        ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
        dx, dy = (xs - x) / face_px, (ys - y) / face_px
        # A head and, below it, shoulders that end softly.
        head = 1.0 - np.hypot(dx / 0.62, (dy + 0.05) / 0.82)
        body = 1.0 - np.hypot(dx / 1.15, (dy - 1.25) / 0.85)
        opacity = np.clip(np.maximum(head, body) / 0.12, 0, 1)
        edge = np.minimum.reduce([xs, ys, width - 1 - xs, height - 1 - ys])
        opacity *= np.clip(edge / (0.06 * face_px), 0, 1)
        return cls(
            small.astype(np.float32), opacity[..., None], (float(x), float(y)), float(face_px)
        )

    @classmethod
    def from_behind(cls) -> _CutOut:
        """The man who turns his back: his face would be an adult's, by his height."""
        file = Path(__file__).with_name(FROM_BEHIND)
        whole = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_UNCHANGED)
        if whole is None or whole.shape[2:] != (4,):
            raise ClipError(f"{file} is no image with opacity; reinstall sealtrace")
        rows, columns = np.nonzero(whole[..., 3] > 127)
        top, height = int(rows.min()), int(np.ptp(rows)) + 1
        face_px = height / _FACES_HIGH
        centre = float(columns[rows < top + face_px].mean()), top + 0.85 * face_px
        pixels, opacity = whole[..., :3].astype(np.float32), whole[..., 3:].astype(np.float32)
        return cls(pixels, opacity / np.float32(255), centre, face_px, faces_down=_FACES_HIGH)

    def paint(self, picture: NDArray[np.float32], step: Step, tilt_deg: float, gain: float) -> None:
        """Paint onto `picture` in place, the face's centre at the step's position."""
        scale = step.face_px / self.face_px
        turn = cv2.getRotationMatrix2D(self.centre, tilt_deg, scale)
        turn[0, 2] += step.x - self.centre[0]
        turn[1, 2] += step.y - self.centre[1]
        reach = 2.3 * step.face_px
        left, right = max(0, int(step.x - reach)), min(WIDTH, int(step.x + reach))
        top, bottom = (
            max(0, int(step.y - reach)),
            min(HEIGHT, int(step.y + self.faces_down * step.face_px)),
        )
        if left >= right or top >= bottom:
            return
        turn[0, 2] -= left
        turn[1, 2] -= top
        size = (right - left, bottom - top)
        pixels = cv2.warpAffine(self.pixels, turn, size, flags=cv2.INTER_LINEAR)
        opacity = cv2.warpAffine(self.opacity, turn, size, flags=cv2.INTER_LINEAR)[..., None]
        region = picture[top:bottom, left:right]
        region += (opacity * (pixels * gain - region)).astype(np.float32)


def _decode(photo: Photo, photos: Path) -> Image:
    image = cv2.imdecode(np.frombuffer(read_photo(photos, photo), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ClipError(f"{photos / photo.name} is not an image this OpenCV can read; reinstall it")
    return image.astype(np.uint8)


def _faceless(image: Image, photo: Photo) -> Image:
    """Paint hair and neck over the face of a photograph: nobody can see it; the clothes stay."""
    points, unit = np.array(photo.landmarks, np.float64), photo.face_px
    middle = points.mean(axis=0)
    down = np.array((0.0, 0.1 * unit))
    neck, hair = middle + 3 * down, middle - 2 * down
    cover = np.zeros(image.shape[:2], np.uint8)
    turned = image.astype(np.float32)
    for centre, size, colour in ((neck, (0.27, 0.36), _SKIN), (hair, (0.42, 0.5), _HAIR)):
        cover[:] = 0
        axes = round(size[0] * unit), round(size[1] * unit)
        cv2.ellipse(cover, centre.round().astype(int).tolist(), axes, 0, 0, 360, 255, -1)
        share = cv2.GaussianBlur(cover, (0, 0), 0.03 * unit).astype(np.float32)[..., None] / 255
        turned += share * (np.array(colour, np.float32) - turned)
    return np.clip(turned, 0, 255).astype(np.uint8)


def _background(random: np.random.Generator) -> NDArray[np.float32]:
    """A plain street-like backdrop: wall and ground, some panels, coarse and fine texture."""
    rows = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None, None]
    wall, ground = random.uniform(120, 170, 3), random.uniform(70, 110, 3)
    picture = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    picture += (wall * (1 - rows) + ground * rows).astype(np.float32)
    for _ in range(7):
        x, y = int(random.integers(0, WIDTH - 120)), int(random.integers(0, HEIGHT - 160))
        w, h = int(random.integers(60, 260)), int(random.integers(60, 320))
        shade = random.uniform(0.72, 1.18)
        picture[y : y + h, x : x + w] *= shade
    coarse = random.normal(0, 9, (HEIGHT // 16, WIDTH // 16)).astype(np.float32)
    texture = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    picture += texture[..., None]
    clipped: NDArray[np.float32] = np.clip(picture, 0, 255)
    return clipped


def _fingerprint(scenario: Scenario) -> str:
    text = json.dumps([_FORMAT, cv2.__version__, asdict(scenario)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
