"""Reads HEIC photographs, as telephones take them, by a decoder that runs in a process of its own.

The format is a film codec's, and a file may claim any size: the decoder gets so much memory and
time and no more, and whatever becomes of it, this process goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from edge_agent.heif_decoder import NO_DECODER, NO_MEMORY, SIZE, TOO_LARGE
from edge_agent.vision.arrays import Image
from runtime.errors import OperationError
from runtime.process import MAX_PIXELS

_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_TIMEOUT_S = 90
_KEPT = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")


class HeifProblem(OperationError):
    """A HEIC photograph cannot be read; the message says why, without naming the file."""


def is_heif(data: bytes) -> bool:
    """Whether a file says of itself that it is HEIC (or another picture of its family)."""
    if data[4:8] != b"ftyp":
        return False
    size = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, size, 4))}
    return bool(brands & _BRANDS)


def decode_heif(data: bytes) -> Image:
    """Decode a HEIC photograph to (H, W, 3) uint8 BGR, upright; the caller wipes it.

    Raises:
        HeifProblem: it is damaged or too large, or nothing here decodes it.
    """
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "edge_agent.heif_decoder"],  # -P: nothing from this folder
            input=data,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise HeifProblem("takes too long to decode; save it as JPEG") from None
    except OSError as error:
        raise HeifProblem(f"cannot be decoded here ({error.strerror}); save it as JPEG") from error
    if done.returncode in {TOO_LARGE, NO_MEMORY}:
        raise HeifProblem(
            f"has more than {MAX_PIXELS // 1_000_000} million pixels; save it smaller, as JPEG"
        )
    if done.returncode == NO_DECODER:
        raise HeifProblem(
            "is HEIC, which this installation does not read: install the package pi-heif, or save "
            "it as JPEG"
        )
    if done.returncode or len(done.stdout) < SIZE.size:
        raise HeifProblem("is HEIC and damaged, or of a kind that is not read; save it as JPEG")
    height, width = SIZE.unpack_from(done.stdout)
    pixels = np.frombuffer(done.stdout, np.uint8, offset=SIZE.size)
    if pixels.size != height * width * 3:
        raise HeifProblem("is HEIC and damaged; copy it again, or save it as JPEG")
    return pixels.reshape(height, width, 3).copy()
