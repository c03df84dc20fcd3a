"""What a camera's `url` may be."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit

from runtime.errors import OperationError
from runtime.redaction import redact


class SourceError(OperationError):
    """A frame source that cannot work as configured: the message says what to change."""


class SourceKind(StrEnum):
    """The kinds of source; `rtsp`, `http` and `v4l2` are live and are reconnected for ever."""

    FILE = "file"
    FOLDER = "folder"
    RTSP = "rtsp"
    HTTP = "http"
    V4L2 = "v4l2"


_NETWORK = {
    "rtsp": SourceKind.RTSP,
    "rtsps": SourceKind.RTSP,
    "http": SourceKind.HTTP,
    "https": SourceKind.HTTP,
}
_ESCAPES = {"#": "%23", "/": "%2F", "?": "%3F"}


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """A parsed `url`: where to read, and (a folder) how many images a second it stands for."""

    kind: SourceKind
    target: str
    fps: float | None = None

    @property
    def live(self) -> bool:
        """Whether the source goes on for ever, so that its end means a fault."""
        return self.networked or self.kind is SourceKind.V4L2

    @property
    def networked(self) -> bool:
        """Whether the target is an address, which may hold a password."""
        return self.kind in {SourceKind.RTSP, SourceKind.HTTP}

    def __str__(self) -> str:
        return self.redacted if self.networked else f"{self.kind}:{self.target}"

    def __repr__(self) -> str:
        return f"SourceUrl({self!s})"

    @property
    def redacted(self) -> str:
        """The address without user, password and query: what may be logged."""
        return redact(self.target)


def parse_source_url(url: str) -> SourceUrl:
    """Parse a path, `file:PATH`, `folder:PATH?fps=5`, `rtsp://…`, `http://…` or `v4l2:/dev/…`.

    Raises:
        SourceError: the address is of none of these forms.
    """
    if not url.strip() or "\0" in url:
        raise SourceError(
            "The camera's url is empty. Give a file, a folder, rtsp://, http:// or v4l2:."
        )
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    if scheme in _NETWORK:
        return SourceUrl(_NETWORK[scheme], _address(url, scheme))
    if scheme == "v4l2":
        if not rest.startswith("/dev/"):
            raise SourceError(f"v4l2:{rest} is not a device. Write v4l2:/dev/video0.")
        return SourceUrl(SourceKind.V4L2, rest)
    if scheme == "folder":
        path, _, query = rest.partition("?")
        return SourceUrl(SourceKind.FOLDER, path, _folder_fps(query))
    if scheme == "file":
        return SourceUrl(SourceKind.FILE, rest)
    if colon and rest.startswith("//"):
        raise SourceError(
            f"{redact(url)}: sources of kind {scheme!r} are not supported. "
            "Use a file, folder:PATH, rtsp://..., http://... or v4l2:/dev/video0."
        )
    # A name that is too long is none of a folder; `Path` would raise.
    folder = os.path.isdir(url)  # noqa: PTH112 - see above
    return SourceUrl(SourceKind.FOLDER if folder else SourceKind.FILE, url)


def _address(url: str, scheme: str) -> str:
    _refuse_bare_characters(url)
    try:
        host = urlsplit(url).hostname
        _ = urlsplit(url).port
    except ValueError:
        host = None
    if not host or not url.isprintable():
        raise SourceError(f"{redact(url)} names no host. Write {scheme}://HOST[:PORT]/PATH.")
    return url


def _refuse_bare_characters(url: str) -> None:
    """Refuse a login that holds a character which ends an address's host: it would be cut there."""
    rest = url.partition("://")[2]
    if not (first := re.search("[#/?]", rest)):
        return
    login = rest[: first.start()]
    # `host:554/path@2x` is an address, `admin:pa/ss@host` is not: a port is a number.
    port = login.rpartition(":")[2]
    if "@" in login or "@" not in rest[first.start() :]:
        return
    if first[0] == "#" or (":" in login and not re.fullmatch(r"\d{0,5}|[0-9a-fA-F:.]*\]", port)):
        raise SourceError(
            f"{redact(url)}: the user or password seems to hold a bare '{first[0]}', which ends "
            f"the host's part of an address. Write {_ESCAPES[first[0]]} instead of it."
        )


def _folder_fps(query: str) -> float | None:
    options = parse_qs(query)
    unknown = sorted(set(options) - {"fps"})
    if unknown:
        raise SourceError(f"A folder takes the option fps only, not {', '.join(unknown)}.")
    if "fps" not in options:
        return None
    try:
        fps = float(options["fps"][-1])
    except ValueError:
        fps = math.nan
    if not 0 < fps <= 240:
        raise SourceError(f"fps={options['fps'][-1]} is not a number above 0 and up to 240.")
    return fps
