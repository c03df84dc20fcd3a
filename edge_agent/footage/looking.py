"""Looks into one file: what it holds, how long it is by its pictures, or why it cannot be read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from edge_agent.sources import Reader, SourceError, open_reader
from edge_agent.video import ffmpeg
from edge_agent.video.mp4 import index_of
from edge_agent.video.packets import packets_of
from edge_agent.video.reasons import reason_of
from edge_agent.video.url import SourceKind, SourceUrl

_HEAD_BYTES = 16
_AVI_HEAD_BYTES = 4096
_CLOSED_FORMS = {
    ".g64": "Genetec's own form: export it from Security Desk as MP4 or ASF",
    ".g64x": "Genetec's own form: export it from Security Desk as MP4 or ASF",
    ".pqz": "Milestone's own database: export it from XProtect Smart Client as MKV or AVI",
    ".exe": "a player with its film inside: export it again as MP4 or AVI",
}
_RAW = frozenset({"h264", "264", "avc", "h265", "265", "hevc", "m4v"})


@dataclass(frozen=True, slots=True)
class Content:
    """What one file holds; `trouble` says why it cannot be read, and what to do.

    `fps` is of the pictures on the whole, `stated_began` when it began by its own header; for
    `reordered` see `FoundFile`.
    """

    codec: str = ""
    width: int = 0
    height: int = 0
    fps: float | None = None
    seconds: float = 0.0
    stated_began: datetime | None = None
    reordered: float = 0.0
    trouble: str = ""
    notes: tuple[str, ...] = ()


class Look(Protocol):
    """Looks into a file (`look_into`)."""

    def __call__(self, path: Path, *, quick: bool = False) -> Content:
        """Return what it holds."""


def look_into(path: Path, *, quick: bool = False) -> Content:
    """Open a file, decode its first picture, and go through the rest undecoded.

    Args:
        path: the file.
        quick: believe the length that it states, where it states one.
    """
    closed = _CLOSED_FORMS.get(path.suffix.lower())
    if closed is not None:
        return Content(trouble=f"It is {closed}.")
    try:
        reader = open_reader(SourceUrl(SourceKind.FILE, str(path)))
    except SourceError as error:
        return Content(trouble=_why(path, error))
    try:
        return _read(path, reader, quick=quick)
    except SourceError as error:
        return Content(codec=reader.facts().codec, trouble=_why(path, error))
    finally:
        reader.close()


def _read(path: Path, reader: Reader, *, quick: bool) -> Content:
    picture = reader.read()
    facts = reader.facts()
    if picture is None:
        return Content(
            codec=facts.codec,
            trouble="Not one picture of it can be decoded. Try to play it, and export it again.",
        )
    height, width = picture.image.shape[:2]
    picture.image.fill(0)
    content = Content(facts.codec, width, height, facts.fps, stated_began=facts.began)
    notes: list[str] = []
    if facts.by_ffmpeg:
        notes.append(
            f"It is interlaced or of another odd form: the program {ffmpeg.PACKAGE} reads it."
        )
    if facts.fps is None or _avi_without_rate(path):
        notes.append(
            f"Its header states no rate: {reader.fps:g} pictures a second are assumed where they "
            "have no times of their own."
        )
    if path.suffix.lower().removeprefix(".") in _RAW:
        notes.append(
            f"A raw stream carries no times: {reader.fps:g} pictures a second are assumed. Export "
            "it as MP4 or MKV if they vary."
        )
    if quick and facts.seconds is not None:
        return replace(content, seconds=facts.seconds, notes=tuple(notes))
    packets = packets_of(path)
    if packets is None:
        stated_s = facts.seconds or 0.0
        return replace(content, seconds=stated_s, notes=(*notes, "Its length is what it states."))
    stated_s = facts.seconds or 0.0
    if packets.seconds < 0.98 * stated_s - 2 / reader.fps:
        notes.append(
            f"It breaks off: its header states {stated_s:.0f} s, {packets.seconds:.0f} s are there."
        )
    if packets.jumps:
        notes.append(
            f"Its timestamps begin anew {packets.jumps} time{'s' * (packets.jumps > 1)}: times "
            "after that are less sure."
        )
    return replace(
        content,
        seconds=packets.seconds,
        fps=packets.fps or facts.fps,
        reordered=packets.reordered / packets.count,
        notes=tuple(notes),
    )


def _avi_without_rate(path: Path) -> bool:
    """Whether an AVI gives a rate of zero for its pictures, which FFmpeg takes for 25 a second."""
    try:
        with path.open("rb") as film:
            head = film.read(_AVI_HEAD_BYTES)
    except OSError:
        return False
    at = head.find(b"strh") if head.startswith(b"RIFF") else -1
    return at >= 0 and head[at + 8 : at + 12] == b"vids" and head[at + 32 : at + 36] == bytes(4)


def _why(path: Path, error: SourceError) -> str:
    """Why a file cannot be read, as it looks: nearer than what a decoder says."""
    name = f"Video file {path}"
    text = str(error).replace(f"{name} ", "It ", 1).removeprefix(f"{name}: ")
    text = text.replace(str(path), "it")
    if not text.startswith("It cannot be decoded"):
        return text[:1].upper() + text[1:]
    try:
        with path.open("rb") as film:
            head = film.read(_HEAD_BYTES)
    except OSError as problem:
        return f"It cannot be read: {reason_of(problem)}."
    if head.startswith((b"DHAV", b"DAHUA", b"DHII")):
        return (
            "It is Dahua's own form (DHAV) with a stream that cannot be decoded here. Export it "
            "as MP4 in the recorder or in SmartPSS, or try `ffmpeg -i IN.dav -c copy OUT.mp4`."
        )
    if head[4:8] in {b"ftyp", b"mdat", b"moov"}:
        index = index_of(path)
        if index is None:
            return (
                "It is an MP4 without its index (moov): the recording was cut off before the "
                "recorder finished it. Export it again, or repair it (untrunc)."
            )
        if b"soun" in index and b"vide" not in index:
            return "It holds sound, and no pictures."
    return "It is damaged, holds no pictures, or is no video. Try to play it, or convert it to MP4."
