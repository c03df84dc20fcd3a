"""What pages of results have in hand: the query as it is open, its queues, views and the still."""

from __future__ import annotations

from dataclasses import dataclass

from officers.desk import Results, Session, check_receipts
from officers.desk.opened_cases import Opened, OpenedCases
from officers.desk.queue import Entry, Queue
from officers.desk.still_viewer import Viewer
from officers.desk.views import Views
from officers.pages.at import At
from runtime.errors import OperationError


@dataclass(frozen=True, slots=True)
class Shown:
    """A candidate on the screen, with the queue that it is in."""

    opened: Opened
    queue: Queue
    entry: Entry

    @property
    def results(self) -> Results:
        """The query's results."""
        return self.opened.results

    @property
    def query_id(self) -> str:
        """The query's id."""
        return self.results.case.id

    @property
    def digest(self) -> bytes:
        """The query's digest."""
        return self.results.case.digest

    @property
    def path(self) -> str:
        """The candidate's page."""
        return candidate_path(self.query_id, self.entry.number)

    @property
    def mark(self) -> str:
        """What the page shows, for its forms to carry: its sightings and what is signed so far."""
        said = ".".join(item.candidate_id.hex()[:8] for item in self.entry.items)
        return f"{said}.{self.entry.state}"


def cases(here: At) -> OpenedCases:
    """Return the queries that the officer has open."""
    return here.house.kept("opened cases", OpenedCases)


def views(here: At) -> Views:
    """Return the officer's views."""
    return here.house.kept("views", Views)


def viewer(here: At) -> Viewer:
    """Return the officer's one still."""
    return here.house.kept("still", Viewer)


def open_case(here: At, session: Session, query_id: str) -> Opened:
    """Return a query's results; nothing is shown that is not what custodians opened.

    Raises:
        ReceiptsContradict: what is shown is not what was opened.
        OfficerError, OperationError, ProtocolError: as `OpenedCases.of`.
    """
    opened = cases(here).of(session, query_id, here.keys.sealing)
    check_receipts(opened.results.receipts)
    return opened


def show(opened: Opened, number: int) -> Shown:
    """Return a candidate with its queue.

    Raises:
        OperationError: there is none of that number to decide on.
    """
    for queue in opened.queues:
        for entry in queue.entries:
            if any(item.number == number for item in entry.items):
                return Shown(opened, queue, entry)
    return Shown(opened, queue := opened.queues[0], queue.entry(number))


def subject_of(opened: Opened, of: int) -> tuple[int, Queue]:
    """Return a subject's place among the query's, from 1, and their queue.

    Raises:
        OperationError: there is no such subject.
    """
    if not 1 <= of <= len(opened.queues):
        raise OperationError(f"the query looks for {len(opened.queues)}, and {of} is none of them")
    return of, opened.queues[of - 1]


def candidate_path(query_id: str, number: int) -> str:
    """Return a candidate's page."""
    return f"/queries/{query_id}/candidates/{number}"
