"""What a scan of a folder of recordings finds: each file, and gaps and overlaps between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path

MAX_FILES = 200_000
"""Recordings of one scan: two years of one camera in pieces of five minutes; more are refused."""
MAX_ENTRIES = 1_000_000
"""Entries of folders, of whatever kind, that one scan goes through."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One file of a folder of recordings.

    Attributes:
        path: where it is.
        camera: whose recording it is; None where nothing says it.
        began_ms: when its first picture was taken, ms since 1970, corrected by the camera's clock
            offset; None where nothing says it.
        seconds: from its first picture to the end of its last, by their own timestamps.
        codec: FourCC in lower case; "" where it could not be opened.
        size: bytes.
        time_source: how `began_ms` is known, in the words of `protocol.v2.header`; "" where it is
            not.
        trouble: why it cannot be imported, as a sentence that says what to do; "" where it can.
        fps: pictures a second on the whole; None where it could not be opened.
        width: of its pictures in pixels; 0 unknown.
        height: likewise.
        read_from: in words, where `began_ms` was read: "name (Dahua)", "container", "list".
        reordered: share of its pictures that are shown before one that is decoded earlier
            (`edge_agent.video.packets`).
        notes: what else should be known of it, each a sentence.
    """

    path: Path
    camera: str | None = None
    began_ms: int | None = None
    seconds: float = 0.0
    codec: str = ""
    size: int = 0
    time_source: str = ""
    trouble: str = ""
    fps: float | None = None
    width: int = 0
    height: int = 0
    read_from: str = ""
    reordered: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def ends_ms(self) -> int | None:
        """When its last picture ends, ms since 1970."""
        return None if self.began_ms is None else self.began_ms + round(self.seconds * 1000)

    @property
    def usable(self) -> bool:
        """Whether it can be imported as it is."""
        return not self.trouble and self.camera is not None and self.began_ms is not None


@dataclass(frozen=True, slots=True)
class Between:
    """A gap or an overlap of two files of one camera, the earlier one first."""

    camera: str
    begins_ms: int
    ends_ms: int
    before: Path
    after: Path

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.ends_ms - self.begins_ms) / 1000


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found.

    Attributes:
        files: by camera and time; those of which neither is known come last, by path.
        gaps: between files of one camera, in the order of time.
        overlaps: likewise; a file within another overlaps for its whole length.
        passed_over: how many entries were not looked at: links, hidden ones, and what lies beside
            recordings, such as texts and pictures.
        unused: what the list and the options say of no file here: "line 7 of the list".
    """

    files: tuple[FoundFile, ...]
    gaps: tuple[Between, ...] = ()
    overlaps: tuple[Between, ...] = ()
    passed_over: int = 0
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """How times and cameras of files are told.

    Attributes:
        zone: of the recorders' clocks; None for this machine's.
        pattern: of the files' names, tried before all others (`edge_agent.footage.names`).
        offsets_s: by camera, how much is added to its times: +200 for a clock that was 200 s slow.
        camera: whose all files are, of which the list and `cameras` say nothing else.
        cameras: the site's name of a camera by the recorder's, as names and folders have it.
        list_file: a table that names file (or camera) and start (`edge_agent.footage.listing`).
        quick: believe what files state of their length, and do not go through them.
        now_ms: files that begin later have a wrong clock; None for the machine's time.
    """

    zone: tzinfo | None = None
    pattern: str | None = None
    offsets_s: Mapping[str, float] = field(default_factory=dict)
    camera: str | None = None
    cameras: Mapping[str, str] = field(default_factory=dict)
    list_file: Path | None = None
    quick: bool = False
    now_ms: int | None = None
