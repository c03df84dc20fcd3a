"""The one picture an installer may keep: faces hidden unless asked for, on this machine only.

A picture of a street is personal data. It is written only to a file that was named, readable by
its owner alone, never to a network drive, and with faces made unrecognizable before anything is
encoded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np

from edge_agent.camera_setup.faces import FaceFinder
from edge_agent.vision.arrays import Detections, Image
from runtime.errors import OperationError
from runtime.fsio import atomic_write

SUFFIXES = {".png", ".jpg", ".jpeg"}
WARNING = (
    "this picture is personal data: look at it, then delete it, and do not send it on "
    "(a face that was not found was not hidden either)"
)
_NETWORK_DRIVES = {
    "9p", "afs", "ceph", "cifs", "davfs", "fuse.davfs", "fuse.glusterfs", "fuse.gvfsd-fuse",
    "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3",
    "smbfs",
}  # fmt: skip
_CELLS = 4  # a hidden face is so many even patches wide: nothing that could be recognized
_MARGIN = 0.35  # hidden beyond the box on each side, in sizes of the box
_GREEN, _YELLOW, _WHITE, _BLACK = (80, 220, 80), (60, 220, 250), (255, 255, 255), (0, 0, 0)


class StillRefused(OperationError):
    """The picture is not written there, or not like that; the message says what to do."""


def check_target(path: Path, *, force: bool = False) -> None:
    """Refuse a file that is not plainly on this machine, before a camera is opened.

    Raises:
        StillRefused: an address, an unknown kind of picture, an existing file, a network drive.
    """
    text = str(path)
    if "://" in text or urlsplit(text).scheme in {"http", "https", "ftp", "s3", "smb", "sftp"}:
        raise StillRefused(
            "a picture is written to a file on this machine only; name one, as in --still still.png"
        )
    if path.suffix.lower() not in SUFFIXES:
        raise StillRefused(f"{path} is not called .png or .jpg; name it so")
    if path.is_symlink():
        raise StillRefused(f"{path} points elsewhere; name the file itself")
    if path.exists() and not force:
        raise StillRefused(f"{path} exists; name another file, or use --force")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise StillRefused(f"{folder} is not a folder; make it first")
    kind = _drive_of(folder.resolve())
    if kind in _NETWORK_DRIVES:
        raise StillRefused(
            f"{folder} is on another machine ({kind}); name a file on this one, since the picture "
            "must not leave it"
        )


def _drive_of(folder: Path, table: Path = Path("/proc/self/mounts")) -> str:
    """The kind of file system that a folder is on; "" when the system does not tell."""
    try:
        lines = table.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    found, kind = -1, ""
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        at = Path(fields[1].replace("\\040", " "))
        if folder.is_relative_to(at) and len(at.parts) >= found:
            found, kind = len(at.parts), fields[2]
    return kind


def with_detections(image: Image, finder: FaceFinder | None, *, show_faces: bool) -> Image:
    """Return a copy of a picture with the faces that the agent would follow framed.

    Raises:
        StillRefused: faces are to be hidden, and there is nothing to find them with.
        ModelError: the face detector failed.
    """
    drawn = hidden(image, finder, show_faces=show_faces)
    if finder is not None:
        draw_boxes(drawn, finder.find(image))
    return drawn


def hidden(image: Image, finder: FaceFinder | None, *, show_faces: bool) -> Image:
    """Return a copy of a picture, with whatever may be a face made unrecognizable.

    Raises:
        StillRefused: see `with_detections`.
        ModelError: the face detector failed.
    """
    if show_faces:
        return image.copy()
    if finder is None:
        raise StillRefused(
            "without a model bundle faces cannot be found and hidden; give --bundle and --trusted, "
            "or --show-faces if nobody is in view"
        )
    copy = image.copy()
    for left, top, width, height in finder.find_to_hide(image).boxes.tolist():
        hide_box(copy, left, top, width, height)
    return copy


def without_passers_by(pictures: Sequence[Image]) -> Image:
    """Return what most of some pictures of one view show: who walks through is in none of it.

    The median of each pixel; the last picture if their sizes differ or there are fewer than three.
    """
    if len(pictures) < 3 or any(each.shape != pictures[0].shape for each in pictures):
        return pictures[-1].copy()
    view = np.empty_like(pictures[0])
    for top in range(0, view.shape[0], 64):  # in strips, since a median needs them side by side
        strip = np.stack([each[top : top + 64] for each in pictures])
        view[top : top + 64] = np.median(strip, axis=0).astype(np.uint8)
        strip.fill(0)
    return view


def hide_box(image: Image, left: float, top: float, width: float, height: float) -> None:
    """Replace a box and a margin around it by a few even patches, in place."""
    rows, columns = image.shape[:2]
    x1, x2 = _clip(left - _MARGIN * width, columns), _clip(left + (1 + _MARGIN) * width, columns)
    y1, y2 = _clip(top - _MARGIN * height, rows), _clip(top + (1 + _MARGIN) * height, rows)
    if x2 <= x1 or y2 <= y1:
        return
    part = image[y1:y2, x1:x2]
    cells = (min(_CELLS, part.shape[1]), min(_CELLS, part.shape[0]))
    coarse = cv2.resize(part, cells, interpolation=cv2.INTER_AREA)
    coarse = (coarse // 32) * 32 + 16  # what is left of tone is coarse too
    size = (part.shape[1], part.shape[0])
    image[y1:y2, x1:x2] = cv2.resize(coarse, size, interpolation=cv2.INTER_NEAREST)


def _clip(value: float, limit: int) -> int:
    return int(min(max(math.floor(value), 0), limit)) if math.isfinite(value) else 0


def draw_boxes(image: Image, found: Detections) -> None:
    """Frame faces, in place, each with its height in pixels and the detector's score."""
    thick = max(1, round(min(image.shape[:2]) / 400))
    for (left, top, width, height), score in zip(
        found.boxes.tolist(), found.scores.tolist(), strict=True
    ):
        corner, other = (round(left), round(top)), (round(left + width), round(top + height))
        cv2.rectangle(image, corner, other, _GREEN, thick)
        _write(image, f"{height:.0f} px  {score:.2f}", (corner[0], other[1] + 16 * thick), _GREEN)


def draw_grid(image: Image, points: list[tuple[float, float]] | None = None) -> None:
    """Draw lines at round pixel numbers, their numbers, and points measured so far, in place."""
    rows, columns = image.shape[:2]
    step = next((s for s in (10, 20, 50, 100, 200, 500) if max(rows, columns) / s <= 20), 1000)
    lines = image.copy()
    for x in range(step, columns, step):
        cv2.line(lines, (x, 0), (x, rows), _WHITE, 1)
    for y in range(step, rows, step):
        cv2.line(lines, (0, y), (columns, y), _WHITE, 1)
    cv2.addWeighted(lines, 0.45, image, 0.55, 0, dst=image)
    lines.fill(0)
    for x in range(step, columns, step):
        _write(image, str(x), (x + 2, 14), _WHITE)
    for y in range(step, rows, step):
        _write(image, str(y), (2, y - 3), _WHITE)
    for number, (px, py) in enumerate(points or [], start=1):
        cv2.drawMarker(image, (round(px), round(py)), _YELLOW, cv2.MARKER_CROSS, 24, 2)
        _write(image, str(number), (round(px) + 8, round(py) - 8), _YELLOW)


def _write(image: Image, text: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
    size = max(0.4, min(image.shape[:2]) / 1400)
    for shade, thick in ((_BLACK, 3), (colour, 1)):
        cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, shade, thick, cv2.LINE_AA)


def save(path: Path, image: Image, *, force: bool = False) -> None:
    """Encode a picture and write it, readable by its owner alone (0600).

    Raises:
        StillRefused: see `check_target`.
        FileProblem: it cannot be written.
    """
    check_target(path, force=force)
    done, data = cv2.imencode(path.suffix.lower(), image)
    if not done:
        raise StillRefused(f"the picture cannot be written as {path.suffix}; use .png")
    try:
        atomic_write(path, np.asarray(data, np.uint8).tobytes(), 0o600, overwrite=force)
    finally:
        data.fill(0)
