"""The demo from beginning to end: real processes, a patient traced, and every promise checked.

It adds no logic of its own to the system: officers' steps are commands (`demo.officers`), services
are processes (`demo.local_site`), and what an attacker tries is tried with the protocol alone
(`demo.intruder`). Each chapter is a module; what they share is the stage.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from demo.checks import Checks
from demo.local_site import LocalSite
from demo.officers import Filed, Officers
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
        self.query_id = ""
        """Of the query that traces the patient, once it is filed."""

    @property
    def checks(self) -> Checks:
        """What was promised, and what was seen of it so far."""
        return self._stage.checks

    @property
    def site(self) -> LocalSite:
        """The site that is shown."""
        return self._stage.site

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
        officers, subject, filed = self.tell_story()
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

    def tell_story(self, *, recorded: bool = True) -> tuple[Officers, Path, Filed]:
        """Make the site and trace the patient, and try nothing that must not work.

        Args:
            recorded: whether a film is to be imported afterwards.

        Returns:
            The officers, the patient's subject file, and the query, which still stands.

        Raises:
            ProcessFailed: a process or command failed.
        """
        setting_up.set_up(self._stage, recorded=recorded)
        officers = Officers(self.site)
        subject, filed = tracing.trace_patient(self._stage, officers)
        self.query_id = filed.query_id
        return officers, subject, filed

    def stop(self) -> None:
        """Stop every process."""
        self._stage.stop()
