"""What waits for an officer, by duty, and what runs: as headquarters tell where queries stand."""

from __future__ import annotations

import json
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from officers.desk.api_client import ENDED, QuerySummary
from officers.desk.session import Session
from protocol.directory import APPROVER
from protocol.errors import ProtocolError
from protocol.textformats import parse_json
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, private_folder, read_file

APPROVE, DECIDE, LOOK = "approve", "decide", "look"
_MOST_VERIFIED, _MOST_FINISHED = 64, 1024
_MAX_FILE_BYTES = 1 << 20
_UNDER_WAY = frozenset({"running", "standing", "blocked", "interrupted", "awaiting-templates"})
_TROUBLE = frozenset({"blocked", "interrupted", "refused"})


@dataclass(frozen=True, slots=True)
class Task:
    """Something that waits for this officer.

    Args:
        kind: `APPROVE` somebody's query, `DECIDE` on candidates, `LOOK` at what went wrong.
        query: of which query, as headquarters say.
        mine: whether this officer asked it; else they were named to confirm, or to approve.
        left: how many candidates are left to decide on; None where it is not known.
    """

    kind: str
    query: QuerySummary
    mine: bool
    left: int | None = None


@dataclass(frozen=True, slots=True)
class Tasks:
    """What waits for an officer, the oldest first, and what runs, the newest first."""

    waiting: tuple[Task, ...]
    running: tuple[QuerySummary, ...]


class Finished:
    """Remembers, in a file, on which queries the officer has decided all that was found.

    Args:
        folder: of the desk's own files.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "finished.json"
        try:
            said = parse_json(read_file(self._path, _MAX_FILE_BYTES))
            self._counts = {str(name): int(count) for name, count in said.items()}
        except (FileProblem, ValueError, TypeError, AttributeError):
            self._counts = {}

    def note(self, query: QuerySummary, left: int | None) -> None:
        """Take in how many candidates are left to decide on; None: it is not known.

        Raises:
            FileProblem: it cannot be kept.
        """
        if left is None or (self._counts.get(query.digest) == query.candidates) == (left == 0):
            return
        self._counts.pop(query.digest, None)
        if left == 0:
            self._counts[query.digest] = query.candidates
        while len(self._counts) > _MOST_FINISHED:
            del self._counts[next(iter(self._counts))]
        private_folder(self._path.parent)
        atomic_write(self._path, json.dumps(self._counts).encode(), 0o600)

    def has(self, query: QuerySummary) -> bool:
        """Tell whether all was decided, and nothing was found since."""
        return self._counts.get(query.digest) == query.candidates


def tasks(
    session: Session,
    readers: MutableMapping[str, frozenset[str]],
    finished: Finished,
    left: Callable[[QuerySummary], int | None] = lambda _: None,
) -> Tasks:
    """Return what waits for the officer, and what runs.

    Args:
        session: the officer's.
        readers: who decides on a query's candidates, by its digest: filled here from signed
            queries that verify, so that each is fetched once.
        finished: where all is decided.
        left: how many candidates are left to decide on, as far as results are open; else None.

    Raises:
        PeerUnreachable: headquarters do not answer.
    """
    me = session.officer
    listed = me.directory.principals.get(me.name)
    duties = frozenset() if listed is None or listed.revoked_at_ms else listed.duties
    waiting, running = [], []
    for one in session.queries():
        mine = one.requester == me.name
        asks = one.state == "awaiting-approvals"
        if asks and APPROVER in duties and not mine and me.name not in _answered(one):
            waiting.append(Task(APPROVE, one, mine))
        elif asks or one.state in _UNDER_WAY:
            running.append(one)
        if mine and (one.state in _TROUBLE or (one.false_grants and one.state not in ENDED)):
            waiting.append(Task(LOOK, one, mine))
        if one.candidates and me.name in _readers(session, one, readers):
            finished.note(one, undecided := left(one))
            if not finished.has(one):
                waiting.append(Task(DECIDE, one, mine, undecided))
    waiting.sort(key=lambda task: task.query.changed_ms)
    return Tasks(tuple(waiting), tuple(running))


def _answered(query: QuerySummary) -> set[str]:
    """Return who approved or refused already, as headquarters say."""
    refused = {one.approver for one in query.refusals}
    return refused | {one.approver for one in query.approvals}


def _readers(
    session: Session, query: QuerySummary, known: MutableMapping[str, frozenset[str]]
) -> frozenset[str]:
    if query.digest not in known:
        if len(known) >= _MOST_VERIFIED and query.requester != session.officer.name:
            return frozenset()
        try:
            case = session.case(query.id)
        except (OperationError, ProtocolError):  # its own page says why
            return frozenset({query.requester})
        known[query.digest] = frozenset({case.requester, *case.query.confirmers})
    return known[query.digest]
