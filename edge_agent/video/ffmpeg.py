"""Reads a source through the separate process `ffmpeg` of the system, where OpenCV cannot.

It deinterlaces, turns and converts, and writes bare pictures into a pipe; of each it says time,
size and shape of pixels in a line (its filter ``showinfo``). Nothing touches a disk (it may
not write to one), and no address or file name stands on a command line that others can read: a file
is handed over opened, an address through a pipe. The process ends when nobody is left to take its
pictures, so that it does not outlive ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import re
import resource
import select
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from edge_agent.opencv import FORMATS
from edge_agent.video.reading import (
    MAX_FRAME_PIXELS,
    WHOLE,
    Image,
    Shortcuts,
    refuse_large,
    with_square_pixels,
)
from edge_agent.video.url import SourceError

PACKAGE = "ffmpeg"
"""Debian's package and its program."""
START_TIMEOUT_S = 20.0
PICTURE_TIMEOUT_S = 10.0
MAX_MEMORY_BYTES = 2 << 30
"""Address space of the process; an interlaced film in 4K took 0.63 GiB of it."""
_MAX_LINE_BYTES = 4096
_PIPE_BYTES = 1 << 20
_LIVE_PROTOCOLS = "pipe,rtsp,rtp,srtp,udp,tcp,tls,http,https,crypto"
_LINE = re.compile(
    rb"\[Parsed_showinfo_\d+ @ \w+\] (?:\[info\] )?n:\s*\d+ .*?pts_time:\s*(\S+)"
    rb".*? sar:(\d+)/(\d+) s:(\d+)x(\d+) "
)
_DEVICES = ("dev/dri/renderD*", "dev/nvidiactl")
_HARDWARE = re.compile(rb"Using auto hwaccel type (\w{1,32})")
_DAMAGE = re.compile(rb"Error (?:while decoding|submitting packet)")


@dataclass(frozen=True, slots=True)
class _Announced:
    """What the process says of a picture before it writes it."""

    stamp_s: float | None
    ratio: float
    width: int
    height: int


def installed() -> str | None:
    """Return where the program is; None where it is not installed."""
    return shutil.which(PACKAGE)


class FfmpegProcess:
    """One run of `ffmpeg` over one source. For one thread.

    Args:
        program: where it is.
        name: the source, in errors, without a password.
        path: the file to read, or
        address: the address to read.
        shortcuts: what need not be decoded.
    """

    def __init__(
        self,
        program: str,
        name: str,
        *,
        path: Path | None = None,
        address: str | None = None,
        shortcuts: Shortcuts = WHOLE,
    ) -> None:
        self._name = name
        self.bad = 0
        """Stretches that it could not decode, so far."""
        self.hardware = ""
        """What decodes instead of the processor, as it is called there."""
        self._announced: queue.SimpleQueue[_Announced | None] = queue.SimpleQueue()
        self._started = self._closed = False
        with contextlib.ExitStack() as opened:
            if path is not None:
                film = opened.enter_context(path.open("rb"))
                source = ["-protocol_whitelist", "file", "-i", f"file:/dev/fd/{film.fileno()}"]
                handed = [film.fileno()]
            else:
                source = ["-protocol_whitelist", _LIVE_PROTOCOLS]
                source += ["-safe", "0", "-f", "concat", "-i", "pipe:0"]
                handed = []
            self._process = subprocess.Popen(
                [*_head(program, shortcuts), *source, *_tail(shortcuts)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=handed,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
                start_new_session=True,
            )
        self._limit()
        with contextlib.suppress(BrokenPipeError):
            if address is not None:
                self._stdin.write(_list_of(address))
            self._stdin.close()
        self._listener = threading.Thread(
            target=self._listen, name=f"ffmpeg-{self._process.pid}", daemon=True
        )
        self._listener.start()

    def picture(self) -> tuple[Image, float | None] | None:
        """The next picture (H, W, 3) uint8 BGR with square pixels, and its timestamp in seconds.

        None at the end, and when nothing came in time.

        Raises:
            SourceError: there was not one picture, or it is too large.
        """
        if self._closed:
            return None
        limit_s = PICTURE_TIMEOUT_S if self._started else START_TIMEOUT_S
        ends_s = time.monotonic() + limit_s
        try:
            announced = self._announced.get(timeout=limit_s)
        except queue.Empty:
            announced = None
        if announced is None:
            self.close()
            if not self._started:
                raise SourceError(
                    f"{self._name}: the program {PACKAGE} gave no picture of it either. Try to "
                    f"play it; {PACKAGE} has to be of version 5.1 or newer (`{PACKAGE} -version`)."
                )
            return None
        self._started = True
        refuse_large(announced.width, announced.height, self._name)
        image = np.empty((announced.height, announced.width, 3), np.uint8)
        if not self._fill(image.reshape(-1).data, ends_s):
            image.fill(0)
            self.close()
            return None
        return with_square_pixels(image, announced.ratio), announced.stamp_s

    def close(self) -> None:
        """End the process; may be called twice."""
        self._closed = True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._listener.join()
        for pipe in (self._stdout, self._stderr):
            pipe.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    # -- parts --------------------------------------------------------------------------------

    @property
    def _stdin(self) -> IO[bytes]:
        return _pipe(self._process.stdin)

    @property
    def _stdout(self) -> IO[bytes]:
        return _pipe(self._process.stdout)

    @property
    def _stderr(self) -> IO[bytes]:
        return _pipe(self._process.stderr)

    def _limit(self) -> None:
        """It writes no file, leaves no core, and takes so much memory and no more."""
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (0, 0))
            resource.prlimit(self._process.pid, resource.RLIMIT_CORE, (0, 0))
            resource.prlimit(
                self._process.pid, resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES)
            )
        with contextlib.suppress(OSError):  # fewer bytes serve as well, more slowly
            fcntl.fcntl(self._stdout.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def _fill(self, buffer: memoryview, ends_s: float) -> bool:
        """Read the pipe until the buffer is full; False when it ends, or not in time."""
        pipe = self._stdout.fileno()
        while buffer:
            ready, _, _ = select.select([pipe], [], [], max(0.0, ends_s - time.monotonic()))
            if not ready or not (count := os.readv(pipe, [buffer])):
                return False
            buffer = buffer[count:]
        return True

    def _listen(self) -> None:
        """Take in what the process says, to its end, so that it never waits for us to listen."""
        while line := self._stderr.readline(_MAX_LINE_BYTES):
            if said := _LINE.match(line):
                self._announced.put(_announced(*said.groups()))
            elif _DAMAGE.search(line):
                self.bad += 1
            elif used := _HARDWARE.search(line):
                self.hardware = used[1].decode("ascii", "replace")
        self._announced.put(None)


def has_hardware() -> bool:
    """Whether this machine seems to have decoding hardware that the program could use."""
    return any(True for pattern in _DEVICES for _ in Path("/").glob(pattern))


def _head(program: str, shortcuts: Shortcuts) -> list[str]:
    skipped = "nokey" if shortcuts.keyframes else "noref" if shortcuts.sparing else ""
    return [
        program, "-hide_banner", "-nostdin", "-nostats", "-loglevel", "repeat+info",
        "-threads", "1", "-max_pixels", str(MAX_FRAME_PIXELS),
        "-format_whitelist", f"concat,{FORMATS}",
        *(["-skip_frame", skipped] if skipped else []),
        *(["-skip_loop_filter", "all"] if shortcuts.sparing else []),
        # What it cannot do falls back to the processor, within the program.
        *(["-hwaccel", "auto"] if shortcuts.hardware else []),
    ]  # fmt: skip


def _tail(shortcuts: Shortcuts) -> list[str]:
    filters = ["yadif=deint=interlaced", "format=bgr24", "showinfo=checksum=0"]
    if shortcuts.gap_s > 0:
        # What has no time, or begins anew, is given too: it is placed in time by us.
        gap = f"gte(t-prev_selected_t\\,{shortcuts.gap_s:.6f})"
        wanted = f"isnan(t)+isnan(prev_selected_t)+lt(t\\,prev_selected_t)+{gap}"
        filters.insert(1, f"select={wanted}")
    return [
        "-an", "-sn", "-dn", "-vf", ",".join(filters),
        "-fps_mode", "passthrough", "-f", "rawvideo", "pipe:1",
    ]  # fmt: skip


def _list_of(address: str) -> bytes:
    """A list of one address (the form of `ffmpeg`'s concat), which hides it from `ps`."""
    quoted = address.replace("'", "%27")
    lines = ["ffconcat version 1.0", f"file '{quoted}'"]
    if address.lower().startswith("rtsp"):
        lines += ["option rtsp_transport tcp"]
    return "\n".join([*lines, ""]).encode()


def _announced(stamp: bytes, wide: bytes, high: bytes, width: bytes, height: bytes) -> _Announced:
    try:
        stamp_s: float | None = float(stamp)
    except ValueError:  # NOPTS
        stamp_s = None
    ratio = int(wide) / int(high) if int(wide) and int(high) else 1.0
    return _Announced(stamp_s, ratio, int(width), int(height))


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("all three are pipes")
    return pipe
