"""Template blocks of version 2: the rows of one modality, and how many of them are true.

A block opens to ``n`` rows, zero rows up to its size class, and ``n`` as a little-endian uint32 at
the very end. So blocks are opened one behind the other into one buffer, each over the padding of
the one before, and lie there as one matrix without a copy: comparing costs what it did without
padding. A row is ``d`` int8 and one little-endian float32, as in version 1.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from protocol.errors import MalformedMessage
from protocol.sealing import model_dimension
from protocol.sightings import MAX_BATCH, row_bytes
from protocol.v2.padding import SMALLEST_ROWS, size_class

INT8 = "int8"
"""Rows of d int8 and a float32 scale. Room for others: a reader skips what it does not know."""
ENCODINGS = frozenset({INT8})
COUNT = struct.Struct("<I")
COUNT_BYTES = COUNT.size


@dataclass(frozen=True, slots=True)
class Space:
    """Which templates compare with which, and how a block writes them.

    Args:
        name: as model ids are written, ``name-DIM@HASH``; networks that were trained to agree
            share one, and the metadata says which of them made a row.
        encoding: of the rows.
    """

    name: str
    encoding: str = INT8

    @property
    def width(self) -> int:
        """Bytes of a row.

        Raises:
            ModelMismatch: the name states no dimension.
            MalformedMessage: the encoding is not known here.
        """
        return _width(self.name, self.encoding)


@lru_cache(maxsize=256)  # asked for every block that is opened, and there are few spaces
def _width(name: str, encoding: str) -> int:
    if encoding != INT8:
        raise MalformedMessage(f"templates encoded as '{encoding}' are not known here")
    return row_bytes(model_dimension(name))


def lay_out(
    rows: Sequence[tuple[npt.NDArray[np.int8], float]], space: Space, *, padded: bool = True
) -> bytearray:
    """Lay templates out as a block, which the caller wipes.

    Args:
        rows: (d,) int8 and the scale that makes it unit length.
        padded: False adds no zero rows.

    Raises:
        MalformedMessage: a template has another dimension, or there are too many.
    """
    width, dimension = space.width, model_dimension(space.name)
    if len(rows) > MAX_BATCH:
        raise MalformedMessage(f"a block has more than {MAX_BATCH} rows")
    held = size_class(len(rows), SMALLEST_ROWS) if padded else len(rows)
    block = bytearray(held * width + COUNT.size)
    table = np.frombuffer(block, np.uint8, held * width).reshape(held, width)
    scales = np.array([scale for _, scale in rows], "<f4")
    table[: len(rows), dimension:] = scales.view(np.uint8).reshape(len(rows), scales.itemsize)
    for number, (row, _) in enumerate(rows):
        if row.shape != (dimension,):
            raise MalformedMessage(f"a template has not {dimension} dimensions")
        table[number, :dimension] = row.view(np.uint8)
    COUNT.pack_into(block, held * width, len(rows))
    return block


def true_rows(opened: memoryview, space: Space) -> int:
    """Return how many rows of an opened block are true; the bytes behind them are padding.

    Args:
        opened: the whole block.

    Raises:
        MalformedMessage: its length is not that of rows and a count, or the count is beyond it.
    """
    return count_rows(opened, space.width)


def count_rows(opened: memoryview, width: int) -> int:
    """Return what :func:`true_rows` does, by the bytes of a row. Errors as there."""
    body = len(opened) - COUNT.size
    if body < 0 or body % width:
        raise MalformedMessage(f"a block's length is not {COUNT.size} over a multiple of a row")
    count = int(COUNT.unpack_from(opened, body)[0])
    if count > body // width or count > MAX_BATCH:
        raise MalformedMessage("a block says that it has more rows than it holds")
    return count
