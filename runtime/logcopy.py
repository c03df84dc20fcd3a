"""Write and read copies of audit logs: plain files that an auditor can carry away.

A copy is a folder: ``origin.txt`` (the log's name), ``entries.cborseq`` (each entry as a CBOR byte
string, one after the other: RFC 8742) and ``checkpoints/<size>.txt`` (signed checkpoints with their
cosignatures). Nothing in it is secret: bodies are sealed to the auditors.
"""

from __future__ import annotations

from pathlib import Path

from protocol.audit import LogCopy
from protocol.auditlog import parse_checkpoint
from protocol.encoding import byte_strings, encode
from protocol.errors import CheckpointInvalid, MalformedMessage
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, read_file

MAX_ENTRIES_BYTES = 4 << 30
MAX_CHECKPOINT_BYTES = 65_536
_ORIGIN, _ENTRIES, _CHECKPOINTS = "origin.txt", "entries.cborseq", "checkpoints"


class LogCopyInvalid(OperationError):
    """A folder is not a copy of an audit log, or is damaged."""


def write_copy(folder: Path, copy: LogCopy) -> None:
    """Write ``copy`` to ``folder``, made if absent; a copy that is there already is replaced.

    Checkpoints that are there and not in ``copy`` stay: they are evidence.

    Raises:
        FileProblem: it cannot be written.
    """
    checkpoints = folder / _CHECKPOINTS
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileProblem(f"cannot create {checkpoints}: {error.strerror}") from error
    atomic_write(folder / _ORIGIN, f"{copy.origin}\n".encode())
    atomic_write(folder / _ENTRIES, b"".join(encode(entry) for entry in copy.entries))
    for text in copy.checkpoints:
        size = parse_checkpoint(text)[0].size
        _write_checkpoint(checkpoints, size, text)


def read_copy(folder: Path) -> LogCopy:
    """Read the copy in ``folder``; nothing in it has been verified yet (`protocol.audit.audit`).

    Raises:
        LogCopyInvalid: not a copy of a log, or damaged.
        FileProblem: it cannot be read.
    """
    origin = read_file(folder / _ORIGIN, 1024).decode("utf-8", "replace").strip()
    data = read_file(folder / _ENTRIES, MAX_ENTRIES_BYTES)
    try:
        entries = tuple(byte_strings(data, what=str(folder / _ENTRIES)))
    except MalformedMessage as error:
        raise LogCopyInvalid(f"{error}: fetch or export the log again") from error
    texts = tuple(
        read_file(path, MAX_CHECKPOINT_BYTES).decode("utf-8", "replace")
        for path in sorted((folder / _CHECKPOINTS).glob("*.txt"))
    )
    return LogCopy(origin, entries, texts)


def _write_checkpoint(folder: Path, size: int, text: str) -> None:
    """Write one checkpoint; another of the same size but a different root gets its own file."""
    note = text.partition("\n\n")[0]
    for number in range(1, 1000):
        path = folder / (f"{size:010d}.txt" if number == 1 else f"{size:010d}-{number}.txt")
        if path.exists():
            there = read_file(path, MAX_CHECKPOINT_BYTES).decode("utf-8", "replace")
            if there.partition("\n\n")[0] != note:
                continue
            text = _merged(there, text)
        atomic_write(path, text.encode())
        return
    raise FileProblem(f"{folder} holds too many checkpoints of size {size}; look into it")


def _merged(first: str, second: str) -> str:
    """Return the checkpoint with the signature lines of both texts."""
    try:
        parse_checkpoint(first)
    except CheckpointInvalid:
        return second
    note, _, lines = first.partition("\n\n")
    more = second.partition("\n\n")[2].splitlines()
    every = list(dict.fromkeys([*lines.splitlines(), *more]))
    return note + "\n\n" + "\n".join(every) + "\n"
