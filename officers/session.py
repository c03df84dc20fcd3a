"""What every officer's command does first: read who one is, call the aggregator, find the query."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from officers.api_client import AggregatorClient, QuerySummary
from officers.casework import Case, CaseInvalid, open_case
from officers.officer import Officer
from officers.query_text import state_text
from protocol.authorization import parse_signed_query
from protocol.errors import ProtocolError
from runtime.errors import OperationError
from runtime.http import PeerUnreachable
from runtime.terminal import note, reported, warn

_ID = re.compile(r"[0-9a-f]{32}")
_ID_START = re.compile(r"[0-9a-f]{4,31}")
_POLL_S = 0.5
ENDED = frozenset({"complete", "withdrawn", "expired", "failed"})
"""States that a query does not leave again."""
STANDING, COMPLETE = "standing", "complete"

CaseId = Annotated[
    str, typer.Argument(metavar="ID", help="The query's id, or its first digits (at least 4).")
]


class QueryNotFound(OperationError):
    """No query, or more than one, begins with what was given."""


@dataclass(frozen=True, slots=True)
class Session:
    """An officer who is connected to the aggregator."""

    officer: Officer
    client: AggregatorClient

    def full_id(self, text: str) -> str:
        """Return the id of the one query that begins with ``text``.

        Raises:
            QueryNotFound: there is none, or there are several.
        """
        given = check_id(text)
        if _ID.fullmatch(given):
            return given
        found = [one.id for one in self.client.queries() if one.id.startswith(given)]
        if len(found) == 1:
            return found[0]
        raise QueryNotFound(
            f"{'several queries begin' if found else 'no query begins'} with '{given}'; "
            "`sealtrace query list` shows the ids"
        )

    def case(self, query_id: str) -> Case:
        """Fetch a query and verify it, also against the copy kept here of what one signed.

        Raises:
            SignatureInvalid, MalformedMessage, CaseInvalid: it is not what it should be.
        """
        data = self.client.signed_query(query_id)
        case = open_case(data, query_id, self.officer.directory)
        kept = self.officer.kept_query(case.query.query_id)
        if kept is not None and parse_signed_query(kept).digest != case.digest:
            raise CaseInvalid(
                f"the aggregator hands out another query as {case.id[:12]} than the one that you "
                "signed or approved under this id: do not go on, tell the auditors"
            )
        return case

    def summary(self, case: Case) -> QuerySummary:
        """Return where a query stands, said of the very query that was verified.

        Raises:
            QueryNotFound: the aggregator speaks of another one.
        """
        summary = self.client.query(case.id)
        if summary.digest != case.digest.hex():
            raise QueryNotFound(
                "what the aggregator says of the query's state is about another query than the "
                "one it handed out: do not go on, tell the auditors"
            )
        return summary

    def wait(
        self,
        query_id: str,
        until: Callable[[QuerySummary], bool],
        *,
        timeout_s: float | None,
    ) -> tuple[QuerySummary, bool]:
        """Ask again and again until ``until`` holds; tell whether it came to hold in time."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        shown = ""
        while True:
            summary = self.client.query(query_id)
            if until(summary):
                return summary, True
            if deadline is not None and time.monotonic() >= deadline:
                return summary, False
            told = f"{state_text(summary)}, {summary.candidates} candidates"
            if told != shown:
                note(f"waiting: {told}")
                shown = told
            left_s = _POLL_S if deadline is None else deadline - time.monotonic()
            time.sleep(max(0.0, min(_POLL_S, left_s)))


@contextmanager
def open_session(officer_file: Path | None, passphrase_file: Path | None) -> Iterator[Session]:
    """Read the officer's files, connect, and take a newer directory if the aggregator has one."""
    with reported():
        officer = Officer.load(officer_file, passphrase_file)
        with AggregatorClient(officer.aggregator_url(), officer.tls) as client:
            refresh_directory(officer, client)
            yield Session(officer, client)


def refresh_directory(officer: Officer, client: AggregatorClient) -> None:
    """Take in the aggregator's directory and admissions if newer than ours; keep ours if unusable.

    Raises:
        PeerUnreachable: the aggregator does not answer.
    """
    try:
        officer.take_directory(client.directory())
        admissions = client.admissions()
        if admissions is not None:
            officer.take_directory(admissions)
    except PeerUnreachable:
        raise
    except (OperationError, ProtocolError) as error:
        warn(f"the directory that the aggregator holds is not taken: {error}")


def check_id(text: str) -> str:
    """Return the id, or the beginning of one, in lower case.

    Raises:
        QueryNotFound: it is neither.
    """
    given = text.strip().lower()
    if _ID.fullmatch(given) or _ID_START.fullmatch(given):
        return given
    raise QueryNotFound(
        f"{text!r} is not a query's id (32 hexadecimal digits, or the first 4 or more of them); "
        "`sealtrace query list` shows the ids"
    )
