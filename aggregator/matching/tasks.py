"""Do a task: what every worker runs, be it a process of this machine or of another."""

from __future__ import annotations

from collections.abc import Mapping

from aggregator.matching.coverage import Portion, tell_portions
from aggregator.matching.report import MatchReport
from aggregator.matching.scopes import match_scopes
from aggregator.matching.workers import MatchTask
from aggregator.store import SegmentReader
from runtime.calibration import Calibration


def do_task(
    reader: SegmentReader, task: MatchTask, calibrations: Mapping[str, Calibration]
) -> MatchReport:
    """Compare what a task opens, or tell what was watched, if it asks for that.

    Raises:
        ModelMismatch: a probe's model id states no usable dimension.
        StorageError: the segments cannot be read.
    """
    if task.tell_through:
        portions = [Portion(keys, 0, task.tell_through, anew=True) for keys in task.scopes]
        return MatchReport(told=tuple(tell_portions(reader, portions)))
    return match_scopes(
        reader,
        task.scopes,
        task.probes,
        calibrations=calibrations,
        contacts=task.contacts,
        max_candidates=task.max_candidates,
        after=task.after,
    )
