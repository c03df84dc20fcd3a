"""Have a log that is put back go on where it was: nobody may be shown two histories.

A backup's audit log ends when the backup was made. Went the log on, other roles have cosigned more
of it, and a log that goes on from the backup contradicts them for good. So what auditors' copies
have is put behind it first, and the other roles are asked how far they have seen it.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from protocol.audit import LogCopy
from protocol.auditlog import Entry, parse_checkpoint, verify_checkpoint
from protocol.directory import AGGREGATOR, CUSTODIAN, Directory, Principal
from protocol.errors import CheckpointInvalid, LogInconsistent, MalformedMessage
from protocol.signing import VerifyKey
from protocol.textformats import parse_json
from runtime.auditlog import AuditLog
from runtime.config import TlsConfig
from runtime.errors import OperationError, explained
from runtime.http import raise_for_problem
from runtime.logcopy import read_copy
from runtime.peers import at_once, client_of, with_address

_MOST_STATEMENTS = 1024
_DEPTHS = ("origin.txt", "*/origin.txt", "*/*/origin.txt")


class LogWouldFork(OperationError):
    """Others have seen more of the log, or another one, than what is being put back."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How much of our log another role has cosigned.

    Args:
        name: the role.
        size: how many entries.
        root: over them, from a checkpoint that we had signed; empty: its mere word.
        problem: why it cannot be told; empty if it could.
    """

    name: str
    size: int = 0
    root: bytes = b""
    problem: str = ""


def continue_by_copy(log: AuditLog, folder: Path) -> int:
    """Append what an auditor's copy has beyond ``log``; return how many entries.

    Args:
        log: the log that is being put back.
        folder: what `sealtrace audit fetch` wrote, or the folder of this log in it.

    Raises:
        LogWouldFork: the copy is not of this log.
        LogCopyInvalid, FileProblem: it is no copy, or cannot be read.
    """
    copies = [found for found in _copies_in(folder) if found.origin == log.origin]
    if not copies:
        raise LogWouldFork(
            f"{folder} has no copy of the log {log.origin}; name the folder that"
            " `sealtrace audit fetch` wrote"
        )
    try:
        return sum(log.continue_by(copy) for copy in copies)
    except (CheckpointInvalid, LogInconsistent) as error:
        raise LogWouldFork(
            f"{error}; keep backup and copy as they are, and tell the auditors"
        ) from error


def what_others_saw(
    log: AuditLog, directory: Directory, name: str, key: VerifyKey, tls: TlsConfig | None
) -> list[Seen]:
    """Ask every other role that witnesses logs how far it has seen ours."""
    peers = [one for one in with_address(directory, AGGREGATOR, CUSTODIAN) if one.name != name]
    return at_once(peers, partial(_seen_by, origin=log.origin, key=key, tls=tls))


def require_nothing_missing(log: AuditLog, seen: Sequence[Seen], *, shorter: bool) -> list[Seen]:
    """Check that ``log`` continues what others have seen of it; return those who saw more.

    Args:
        log: what is being put back.
        seen: what they said.
        shorter: whether a log may be put back although more of it was seen.

    Raises:
        LogWouldFork: it does not.
    """
    size = log.size
    for one in seen:
        if one.root and one.size <= size:
            told = log.root_at(one.size)
            if not hmac.compare_digest(told, one.root):
                raise LogWouldFork(
                    f"'{one.name}' has cosigned {one.size} entries of {log.origin} that are not"
                    " those of this backup: it is of another history. Keep it as it is, and tell"
                    " the auditors"
                )
    more = [one for one in seen if one.size > size]
    if more and not shorter:
        longest = max(more, key=lambda one: one.size)
        raise LogWouldFork(
            f"the log {log.origin} as it would be put back has {size} entries, and"
            f" '{longest.name}' has seen {longest.size}: going on from here would show a second"
            " history. Give an auditor's newest copy of this log with --log-copy; where no copy has"
            " the rest, tell the auditors, and then run this again with --accept-shorter-log"
        )
    return more


def told_since(log: AuditLog, size: int) -> dict[str, int]:
    """Return how many entries of each kind the log has from entry ``size`` on."""
    return dict(Counter(Entry.parse(data).kind for data in log.entries(size)))


def _copies_in(folder: Path) -> list[LogCopy]:
    named = (found for depth in _DEPTHS for found in sorted(folder.glob(depth)))
    return [read_copy(one.parent) for one in named if one.is_file()]


def _seen_by(peer: Principal, *, origin: str, key: VerifyKey, tls: TlsConfig | None) -> Seen:
    try:
        with client_of(peer, tls) as http:
            answer = http.get("/v1/witnessed")
            raise_for_problem(answer)
            for text in _texts(parse_json(answer.content)):
                if parse_checkpoint(text)[0].origin == origin:
                    head = verify_checkpoint(text, origin=origin, key=key)
                    return Seen(peer.name, head.size, head.root)
            answer = http.get("/v1/witness", params={"origin": origin})
            raise_for_problem(answer)
            return Seen(peer.name, _size(parse_json(answer.content)))
    except Exception as error:  # whatever one role sends, the others are asked
        return Seen(peer.name, problem=explained(error))


def _size(value: object) -> int:
    size = value.get("size") if isinstance(value, dict) else None
    if not isinstance(size, int) or not 0 <= size < 2**62:
        raise MalformedMessage("it does not say how much it has seen")
    return size


def _texts(value: object) -> list[str]:
    if (
        not isinstance(value, list)
        or len(value) > _MOST_STATEMENTS
        or not all(isinstance(one, str) for one in value)
    ):
        raise MalformedMessage("it does not list what it has cosigned")
    return value
