"""What a match worker does with a portion: open it, compare, seal what was found, wipe the rest."""

from __future__ import annotations

import structlog

from aggregator.cluster.answers import write_failure, write_report
from aggregator.cluster.identities import Distrusted, Identity
from aggregator.cluster.portions import read_portion
from aggregator.cluster.sealing import NotForUs, OpenedPortion, introduce, open_portion
from aggregator.cluster.work import ANSWERED, NOT_FOR_US, REFUSED
from aggregator.matching.tasks import do_task
from aggregator.store import SegmentReader, StorePlace, open_reader
from protocol import hpke
from protocol.errors import ProtocolError

OUTCOMES = ("answered", "failed", "refused", "not_for_us")
_log = structlog.get_logger()


class PortionDesk:
    """Does portions for one worker, one at a time, all in one thread.

    Its sealing key is drawn here, stays in memory, and ends with the process.

    Args:
        identity: the worker's certificate of the cluster.
        place: where the sealed segments are; opened with the first portion.
    """

    def __init__(self, identity: Identity, place: StorePlace) -> None:
        self._identity = identity
        self._place = place
        self._key = hpke.PrivateKey.generate()
        self._reader: SegmentReader | None = None
        self.introduction = introduce(identity, self._key.public)
        """What others seal to us by."""
        self.done = dict.fromkeys(OUTCOMES, 0)
        """How many portions came to what, since the start."""

    def do(self, data: bytes) -> bytes:
        """Do a sealed portion; return its answer. Raises nothing: Dask would log what it holds."""
        try:
            opened = open_portion(data, self._key, self._identity)
        except NotForUs:
            self.done["not_for_us"] += 1
            return NOT_FOR_US
        except (Distrusted, ProtocolError) as error:
            _log.error("portion_refused", reason=str(error))
            self.done["refused"] += 1
            return REFUSED
        try:
            answer = self._answer(opened)
            self.done["answered"] += 1
        except Exception as error:
            self._reader = None  # opened anew with the next: the store may be back by then
            self.done["failed"] += 1
            _log.error("portion_failed", reason=f"{type(error).__name__}: {error}")
            answer = write_failure(f"{type(error).__name__}: {error}")
        return ANSWERED + opened.seal_answer(answer)

    def _answer(self, opened: OpenedPortion) -> bytes:
        try:
            portion = read_portion(opened.plain)
        finally:
            opened.plain[:] = bytes(len(opened.plain))
        task = portion.task
        if self._reader is None:
            self._reader = open_reader(self._place)
        try:
            report = do_task(self._reader, task, portion.calibrations)
        finally:
            for probes in task.probes:
                probes.wipe()
        return write_report(report)
