"""Decodes one HEIC photograph in a process with bounds: ``python -m edge_agent.heif_decoder``.

The file comes on standard input; on standard output stand height and width (two unsigned numbers of
32 bits) and the pixels, BGR. The exit code says what went wrong (`edge_agent.heif`).
"""

from __future__ import annotations

import io
import resource
import struct
import sys

from runtime.process import MAX_PIXELS, begin

NOT_AN_IMAGE, TOO_LARGE, NO_DECODER, NO_MEMORY = 3, 4, 5, 6
SIZE = struct.Struct(">II")
MEMORY_BYTES = 1536 << 20
"""Of address space: 64 million pixels take 192 MiB, and the decoder's planes and copies as much
again a few times."""
CPU_SECONDS = 60


def main() -> int:
    """Decode what comes on standard input; return the exit code."""
    begin()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # nothing is written to any file
    try:
        return _decode(sys.stdin.buffer.read())
    except MemoryError:
        return NO_MEMORY


def _decode(data: bytes) -> int:
    try:
        import pi_heif  # noqa: PLC0415 - its absence is an answer
    except ImportError:
        return NO_DECODER
    try:
        photo = pi_heif.open_heif(io.BytesIO(data), bgr_mode=True)
        width, height = photo.size
    except (ValueError, OSError, EOFError, SyntaxError, RuntimeError):
        return NOT_AN_IMAGE
    if not 0 < width * height <= MAX_PIXELS:
        return TOO_LARGE
    try:
        pixels, stride, mode = photo.data, photo.stride, photo.mode
    except (ValueError, OSError, EOFError, SyntaxError, RuntimeError):
        return NOT_AN_IMAGE
    channels = {"BGR": 3, "BGRA": 4, "BGRa": 4}.get(mode)
    if photo.size != (width, height) or channels is None or len(pixels) < stride * height:
        return NOT_AN_IMAGE
    out = sys.stdout.buffer
    out.write(SIZE.pack(height, width))
    for row in range(height):
        line = pixels[row * stride : row * stride + width * channels]
        if channels == 4:
            kept = bytearray(width * 3)
            for channel in range(3):
                kept[channel::3] = line[channel::4]
            line = bytes(kept)
        out.write(line)
    out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
