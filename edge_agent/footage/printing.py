"""How a scan is printed: a block a camera, each file with its time, and a document for programs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from edge_agent.footage.clocks import in_words
from edge_agent.footage.found import Between, FoundFile, Scan, ScanOptions
from edge_agent.footage.scan import local_of
from edge_agent.video.codecs import codec_in_words
from runtime.terminal import say
from runtime.text import counted
from runtime.zones import machine_zone

_SHOWN = 20
SCHEMA = 1
"""Of the document; rises when a field changes its meaning or goes."""


def show_scan(found: Scan, folder: Path, options: ScanOptions) -> None:
    """Print what was found, for people."""
    usable = [file for file in found.files if file.usable]
    for camera, files in groupby(usable, key=lambda file: file.camera):
        _show_camera(camera or "", list(files), found, folder, options)
    unusable = [file for file in found.files if not file.usable]
    if unusable:
        say("Not to be imported as they are:")
        for file in unusable:
            say(f"  {_name(file.path, folder)}")
            said = file.trouble or "Nothing says whose it is: name its camera with --camera."
            say(f"    {said}")
            _show_notes(file)
        say()
    if found.unused:
        more = f" and {len(found.unused) - _SHOWN:,} more" if len(found.unused) > _SHOWN else ""
        told = ", ".join(_in_one_line(one) for one in found.unused[:_SHOWN])
        say(f"Of no file here: {told}{more}. Cameras are called as above.")
    seconds = sum(file.seconds for file in usable)
    cameras = len({file.camera for file in usable})
    parts = [
        f"{len(usable):,} of {len(found.files):,} files can be imported",
        f"{counted(cameras, 'camera')}, {_length(seconds)} of film",
    ]
    if found.passed_over:
        parts.append(f"{found.passed_over:,} links and other things passed over")
    say("; ".join(parts) + ".")
    zone = options.zone or machine_zone()
    say(f"Times are local, in {zone}.")


def as_document(found: Scan, options: ScanOptions) -> dict[str, object]:
    """Return what was found, for programs."""
    return {
        "schema": SCHEMA,
        "files": [_record(file, options) for file in found.files],
        "gaps": [_pair(one) for one in found.gaps],
        "overlaps": [_pair(one) for one in found.overlaps],
        "passed_over": found.passed_over,
        "unused": list(found.unused),
    }


def _show_camera(
    camera: str, files: Sequence[FoundFile], found: Scan, folder: Path, options: ScanOptions
) -> None:
    seconds = sum(file.seconds for file in files)
    say(f"{_in_one_line(camera)}: {counted(len(files), 'file')}, {_length(seconds)} of film")
    gaps = {one.after: one for one in found.gaps if one.camera == camera}
    overlaps = {one.after: one for one in found.overlaps if one.camera == camera}
    for file in files:
        if file.path in gaps:
            say(f"  -- gap of {in_words(gaps[file.path].seconds)}")
        if file.path in overlaps:
            over = overlaps[file.path]
            say(f"  -- overlaps {_in_one_line(over.before.name)} by {in_words(over.seconds)}")
        began = local_of(file.began_ms or 0, options)
        say(
            f"  {began:%Y-%m-%d %H:%M:%S}  {_length(file.seconds)}  {_picture(file)}  "
            f"{_bytes(file.size)}  {file.read_from}"
        )
        say(f"    {_name(file.path, folder)}")
        _show_notes(file)
    say()


def _show_notes(file: FoundFile) -> None:
    for note in file.notes:
        say(f"    note: {note}")


def _picture(file: FoundFile) -> str:
    rate = "" if file.fps is None else f" {file.fps:.3g}/s"
    return f"{codec_in_words(file.codec) or 'unknown'} {file.width}x{file.height}{rate}"


def _length(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _name(path: Path, folder: Path) -> str:
    try:
        within = path.relative_to(folder)
    except ValueError:
        within = path
    return _in_one_line(str(within) if within.parts else path.name)


def _in_one_line(name: str) -> str:
    """A name that is not ours: it makes no line that looks like one of ours."""
    return name.replace("\n", "\\n").replace("\t", "\\t")


def _record(file: FoundFile, options: ScanOptions) -> dict[str, object]:
    began = None if file.began_ms is None else local_of(file.began_ms, options).isoformat()
    return {
        "path": str(file.path),
        "camera": file.camera,
        "began": began,
        "began_ms": file.began_ms,
        "seconds": round(file.seconds, 3),
        "codec": file.codec,
        "width": file.width,
        "height": file.height,
        "fps": None if file.fps is None else round(file.fps, 3),
        "size": file.size,
        "time_source": file.time_source,
        "read_from": file.read_from,
        "usable": file.usable,
        "trouble": file.trouble,
        "notes": list(file.notes),
    }


def _pair(one: Between) -> dict[str, object]:
    return {
        "camera": one.camera,
        "begins_ms": one.begins_ms,
        "ends_ms": one.ends_ms,
        "before": str(one.before),
        "after": str(one.after),
    }
