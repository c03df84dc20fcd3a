"""An opened object's index by columns, made once: a camera's segments in it are a slice of them.

Runs are put together from two dozen objects a day, so what is done for each of those is what
reading them costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aggregator.store.packed.format import NO_MODEL, Index
from protocol.keytree import COUNTS, COVER, MODALITIES
from protocol.sealing import SALT_BYTES, SEAL_OVERHEAD

Lengths = npt.NDArray[np.int64]
Rows = frozenset[int]
"""Places of segments in an object; seldom any."""


@dataclass(frozen=True, slots=True, eq=False)
class BlockColumns:
    """The blocks of one modality.

    Args:
        models: (n,) int32, places among the index's models; `NO_MODEL` where there is no block.
        sizes: (n,) int64, bytes.
        begins: n + 1 numbers: where in its file each block begins, and where the last one ends.
        misfits: which have a block smaller than a seal.
    """

    models: npt.NDArray[np.int32]
    sizes: Lengths
    begins: Sequence[int]
    misfits: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The n segments of an object.

    Args:
        numbers, slots, sequences, salts: as in `SegmentRun`.
        misfits: which are not of version 2.
        told: number, slot, sequence and salt of each, version, and bytes of its blocks ``cover``
            and ``counts``.
        covers: n + 1 numbers: where in its file each block ``cover`` begins, and where the last
            segment's ``counts`` end.
        blocks: by modality, of those that the object knows.
        has_misfits: whether there are misfits at all, here or among the blocks.
    """

    numbers: Lengths
    slots: npt.NDArray[np.int32]
    sequences: Lengths
    salts: bytes
    misfits: Rows
    told: Sequence[tuple[int, int, int, bytes, int, int, int]]
    covers: Sequence[int]
    blocks: Mapping[str, BlockColumns]
    has_misfits: bool


def columns_of(index: Index) -> Columns:
    """Return an index by columns."""
    rows = index.rows
    salts = rows["salt"].tobytes()
    blocks: dict[str, BlockColumns] = {
        modality: _blocks(index, modality) for modality in MODALITIES if modality in index.starts
    }
    told = zip(
        rows["number"].tolist(),
        rows["slot"].tolist(),
        rows["sequence"].tolist(),
        [salts[at : at + SALT_BYTES] for at in range(0, len(salts), SALT_BYTES)],
        rows["version"].tolist(),
        rows[f"{COVER}_bytes"].tolist(),
        rows[f"{COUNTS}_bytes"].tolist(),
        strict=True,
    )
    misfits = _places(rows["version"] != 2)
    return Columns(
        rows["number"].astype(np.int64),
        rows["slot"].astype(np.int32),
        rows["sequence"].astype(np.int64),
        salts,
        misfits,
        list(told),
        _bounds(
            index.starts[COVER], int(index.starts[COUNTS][-1]) + int(rows[f"{COUNTS}_bytes"][-1])
        ),
        blocks,
        bool(misfits) or any(of.misfits for of in blocks.values()),
    )


def _blocks(index: Index, modality: str) -> BlockColumns:
    models = index.rows[f"{modality}_model"].astype(np.int32)
    sizes = index.rows[f"{modality}_bytes"].astype(np.int64)
    starts = index.starts[modality]
    return BlockColumns(
        models,
        sizes,
        _bounds(starts, int(starts[-1] + sizes[-1])),
        _places((models != NO_MODEL) & (sizes < SEAL_OVERHEAD)),
    )


def _places(chosen: npt.NDArray[np.bool_]) -> Rows:
    return frozenset(np.flatnonzero(chosen).tolist())


def _bounds(starts: Lengths, end: int) -> list[int]:
    return [*starts.tolist(), end]
