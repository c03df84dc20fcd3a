"""The demo from beginning to end: real processes, a patient traced, and every promise checked.

It adds no logic of its own to the system: officers' steps are commands (`demo.officers`), services
are processes (`demo.local_site`), and what an attacker tries is tried with the protocol alone
(`demo.intruder`). Each chapter is a module; what they share is the stage.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from demo.checks import Checks
from demo.officers import Officers
from demo.tour import auditing, importing, refusing, setting_up, tracing
from demo.tour.stage import SUBJECT, Stage, Tell


class Tour:
    """One run of the demo in ``folder`` (emptied first).

    Args:
        folder: for the site, its logs and what is exported.
        bundle: the signed model bundle.
        photos: the photographs that `sealtrace models photos` fetched.
        tell: called with one line as each step begins.
    """

    STEPS = 20

    def __init__(self, folder: Path, bundle: Path, photos: Path, tell: Tell) -> None:
        self._stage = Stage(folder, bundle, photos, tell)

    @property
    def checks(self) -> Checks:
        """What was promised, and what was seen of it so far."""
        return self._stage.checks

    @property
    def traces(self) -> list[tuple[str, Any]]:
        """The patient's traces by title, as they were exported: live, and of the recording."""
        stage = self._stage
        return [
            (title, trace)
            for title, trace in (
                (f"Trace of {SUBJECT}", stage.trace),
                (f"Yesterday, from a recording: {SUBJECT}", stage.recorded_trace),
            )
            if trace is not None
        ]

    def run(self) -> None:
        """Do all of it; the processes still run afterwards (see :meth:`stop`).

        Raises:
            ProcessFailed: a process or command failed, so that nothing more could be shown.
        """
        stage = self._stage
        setting_up.set_up(stage)
        officers = Officers(stage.site)
        subject, filed = tracing.trace_patient(stage, officers)
        importing.import_yesterday(stage, officers, subject)
        auditing.audit(stage)
        refusing.refuse(stage, officers, filed, subject)
        auditing.look_everywhere(stage)
        crashed = stage.site.crashed()
        up = sum(one.running for one in stage.site.services.values())
        stage.checks.note(
            "every process is still up",
            not crashed,
            ", ".join(crashed) or f"{up} processes; box-3 is out",
        )

    def stop(self) -> None:
        """Stop every process."""
        self._stage.stop()
