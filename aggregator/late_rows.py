"""What custodians say of rows after enough others have: handed to the query's own thread.

A custodian that answers late has logged and counted what it released; officers hold its count
against what the aggregator lists. So its answer is taken in like any other: at the next look, also
when the rows are open by then, or the query has ended. It waits in memory alone: a process that is
killed in between loses it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

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
        self._lock = threading.Lock()
        self._came: dict[bytes, list[LateAnswer]] = {}
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
        late = LateAnswer(record, run, asked, custodian, answer)
        with self._lock:
            self._came.setdefault(record.digest, []).append(late)
        self._wake()

    def concerned(self) -> list[bytes]:
        """Return the digests of the queries with answers that have not been taken, or not kept."""
        with self._lock:
            return [*dict.fromkeys([*self._came, *self._unkept])]

    def take(
        self,
        digest: bytes,
        note: Callable[[LateAnswer], None],
        keep: Callable[[QueryRecord, Run], None],
    ) -> None:
        """Note each answer that came to one query, then keep what came of them.

        For one thread a query. What goes wrong ends nothing. What the store has no room for is
        kept the next time.
        """
        with self._lock:
            came = self._came.pop(digest, [])
            for late in came:
                self._unkept[digest] = (late.record, late.run)
            unkept = self._unkept.get(digest)
        for late in came:
            try:
                note(late)
            except OperationError as error:
                _log.error("late_answer_not_noted", custodian=late.custodian, reason=str(error))
            except Exception:  # what a custodian sent must not end the thread
                _log.exception("late_answer_not_noted", custodian=late.custodian)
        if unkept is None:
            return
        record, run = unkept
        try:
            keep(record, run)
        except OperationError as error:
            _log.error("late_answers_not_kept", query=record.query_id.hex(), reason=str(error))
            return
        except Exception:
            _log.exception("late_answers_not_kept", query=record.query_id.hex())
        with self._lock:
            del self._unkept[digest]
        if came:
            self._wake()  # with it there may be something more to do
