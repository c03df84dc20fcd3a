"""What custodians say of rows after enough others have: handed to the thread that runs queries.

A custodian that answers late has logged and counted what it released; officers hold its count
against what the aggregator lists. So its answer is taken in like any other: at the next look, also
when the rows are open by then, or the query has ended. It waits in memory alone: a process that is
killed in between loses it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

import structlog

from aggregator.circle import Refusal
from aggregator.row_requests import Asked, Released
from aggregator.standing import Run
from aggregator.store.rows import QueryRecord
from runtime.errors import OperationError

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LateAnswer:
    """A custodian's answer about the rows ``asked`` for, as one that came in time."""

    record: QueryRecord
    run: Run
    asked: Asked
    custodian: str
    answer: Released | Refusal


class LateAnswers:
    """Takes late answers from the threads that asked.

    Args:
        wake: called when there is one.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._came: SimpleQueue[LateAnswer] = SimpleQueue()
        self._unkept: dict[bytes, tuple[QueryRecord, Run]] = {}

    def put(
        self,
        record: QueryRecord,
        run: Run,
        asked: Asked,
        custodian: str,
        answer: Released | Refusal,
    ) -> None:
        """Hand over an answer; from any thread."""
        self._came.put(LateAnswer(record, run, asked, custodian, answer))
        self._wake()

    def take(
        self, note: Callable[[LateAnswer], None], keep: Callable[[QueryRecord, Run], None]
    ) -> None:
        """Note each answer that came, then keep what came of them, query by query.

        What goes wrong ends nothing. What the store has no room for is kept the next time.
        """
        while not self._came.empty():
            late = self._came.get_nowait()
            self._unkept[late.record.digest] = (late.record, late.run)
            try:
                note(late)
            except OperationError as error:
                _log.error("late_answer_not_noted", custodian=late.custodian, reason=str(error))
            except Exception:  # what a custodian sent must not end the thread
                _log.exception("late_answer_not_noted", custodian=late.custodian)
        for digest, (record, run) in list(self._unkept.items()):
            try:
                keep(record, run)
            except OperationError as error:
                _log.error("late_answers_not_kept", query=record.query_id.hex(), reason=str(error))
                continue
            except Exception:
                _log.exception("late_answers_not_kept", query=record.query_id.hex())
            del self._unkept[digest]
