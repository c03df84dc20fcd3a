"""Open many segments of version 2 at once: one by one only what cannot be done for all of them.

That is the key of each, its seal, and how many rows it opened to. What does not open with the
others is opened again by itself, so that its error is the one it would have had among rows.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress

import numpy as np
import numpy.typing as npt

from aggregator.matching.lanes import Lane, RunSources, ScopeKeys, ToOpen
from aggregator.matching.refusals import OF_AN_ENVELOPE
from aggregator.store.runs import SealedBlocks, SegmentRun
from protocol.sealing import COMMITMENT_BYTES, SALT_BYTES, SEGMENT, nonces_of

Chosen = npt.NDArray[np.int64]


def add_run(
    lane: Lane, held: ScopeKeys, run: SegmentRun, blocks: SealedBlocks, chosen: Chosen
) -> Iterator[tuple[int, Exception]]:
    """Open blocks of a run behind those already in a lane.

    Args:
        blocks: those of the lane's modality.
        chosen: (c,) which segments of the run, each of which has a block of the lane's model.

    Yields:
        Which segments did not open, and why: an error of `OF_AN_ENVELOPE`.
    """
    sources = RunSources(held, run)
    opening, alone = _to_open(lane, held, run, blocks, chosen)
    alone += lane.add_run(sources, blocks.sealed, opening)
    for at in sorted(alone):
        try:
            _add_alone(lane, held, run, blocks, at)
        except OF_AN_ENVELOPE as error:
            yield at, error


def _to_open(
    lane: Lane, held: ScopeKeys, run: SegmentRun, blocks: SealedBlocks, chosen: Chosen
) -> tuple[Iterable[ToOpen], list[int]]:
    """Return the blocks with what opens them, and the segments that have to be looked at alone."""
    label = lane.probes.modality
    slots = run.slots[chosen].tolist()
    try:
        keys, commitments = held.keys.keys(slots, label)
    except OF_AN_ENVELOPE:
        return [], chosen.tolist()  # not all were granted, or custodians contradict one another
    begins = blocks.offsets[chosen]
    right = _committed(blocks.sealed, begins, commitments)
    places, sequences = chosen.tolist(), run.sequences[chosen]
    salts = [run.salts[at * SALT_BYTES : (at + 1) * SALT_BYTES] for at in places]
    bindings = held.bindings(SEGMENT, label, lane.space)
    opening = zip(
        places,
        begins.tolist(),
        blocks.offsets[chosen + 1].tolist(),
        keys,
        nonces_of(b"".join(salts), sequences),
        bindings.of_many(slots, sequences.tolist(), salts),
        strict=True,
    )
    if right.all():
        return opening, []
    return compress(opening, right.tolist()), chosen[~right].tolist()


def _committed(
    sealed: memoryview, begins: npt.NDArray[np.int64], commitments: Sequence[bytes]
) -> npt.NDArray[np.bool_]:
    """Tell of each block whether its key's commitment is the one that stands before it."""
    stated = np.frombuffer(sealed, np.uint8)[begins[:, None] + np.arange(COMMITMENT_BYTES)]
    if hmac.compare_digest(stated.tobytes(), b"".join(commitments)):
        return np.ones(len(commitments), bool)
    right = map(hmac.compare_digest, map(np.ndarray.tobytes, stated), commitments)
    return np.array([*right], bool)


def _add_alone(lane: Lane, held: ScopeKeys, run: SegmentRun, blocks: SealedBlocks, at: int) -> None:
    """Open one segment's block by itself.

    Raises:
        Exception: one of `OF_AN_ENVELOPE`, where it does not open.
    """
    label, source = lane.probes.modality, RunSources(held, run).source(at)
    begins, ends = blocks.offsets[at : at + 2].tolist()
    block = bytes(blocks.sealed[begins:ends])
    salt = run.salts[at * SALT_BYTES : (at + 1) * SALT_BYTES]
    binding = held.bindings(SEGMENT, label, lane.space).of(
        source.slot, int(run.sequences[at]), salt
    )
    lane.add_padded(held.key(source.slot, label, block), block, source, binding)
