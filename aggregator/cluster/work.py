"""The one thing that runs at a worker: open a sealed portion, match, seal the answer.

Named in every message of the cluster and imported by the scheduler too, which never calls it: so
nothing heavy is imported here, and what does the work is put in place by the worker's process.
"""

from __future__ import annotations

from collections.abc import Callable

ANSWERED, NOT_FOR_US, REFUSED = b"\x01", b"\x02", b"\x03"
"""How an answer begins: sealed; sealed to a key that this worker has not; not the aggregator's."""
Does = Callable[[bytes], bytes]
_does: list[Does] = []


def put_in_place(does: Does) -> None:
    """Have this process do sealed portions with ``does``, which never raises."""
    _does[:] = [does]


def run_sealed(portion: bytes) -> bytes:
    """Do a sealed portion; return its answer, sealed to whoever sealed the portion.

    Raises:
        RuntimeError: this process is no match worker.
    """
    if not _does:
        raise RuntimeError("no match worker runs in this process")
    return _does[0](bytes(portion))
