"""Ask each role what it has seen of the others' logs, and keep the answers in the auditor's folder.

``witnessed/ROLE/LOG-SIZE.txt``: a checkpoint of LOG under the log's own signature and ROLE's. The
aggregator carries checkpoints between the roles; asking each role directly is what finds out one
that was handed another history than the auditor. Answers only add up: they are evidence.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from protocol.auditlog import (
    Checkpoint,
    origin_of,
    parse_checkpoint,
    verify_checkpoint,
    verify_cosignature,
)
from protocol.directory import Directory, Principal
from protocol.errors import CheckpointInvalid, MalformedMessage, ProtocolError
from protocol.quorum import log_keepers
from protocol.textformats import parse_json
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, read_file
from runtime.http import client, raise_for_problem

WITNESSED = "witnessed"
_TIMEOUT_S = 30.0
_MAX_TEXT = 65_536


def fetch_witnessed(
    folder: Path, principal: Principal, directory: Directory, context: ssl.SSLContext
) -> list[str]:
    """Ask one role what it cosigned last of each log, verify the answer, keep it, return it.

    Raises:
        OperationError: it does not answer, or an answer cannot be kept.
        ProtocolError: the answer is not made of checkpoints that it has cosigned.
    """
    if principal.url is None:
        raise OperationError("the directory gives no address for it")
    with client(principal.url, context, _TIMEOUT_S) as http:
        answer = raise_for_problem(http.get("/v1/witnessed"))
    try:
        texts = parse_json(answer.content)
    except ValueError as error:
        raise MalformedMessage(f"'{principal.name}' answered with what is no JSON") from error
    keepers = log_keepers(directory)
    if (
        not isinstance(texts, list)
        or len(texts) > len(directory.principals)
        or not all(isinstance(text, str) for text in texts)
    ):
        raise MalformedMessage(f"'{principal.name}' does not say what it has seen")
    place = folder / WITNESSED / principal.name
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileProblem(f"cannot create {place}: {error.strerror}") from error
    kept = []
    for text in texts:
        checkpoint = parse_checkpoint(text)[0]
        keeper = keepers.get(checkpoint.origin)
        if keeper is None:
            continue  # of somebody who has been revoked since
        _verify(text, checkpoint, principal, directory.principals[keeper], directory.site)
        atomic_write(_free(place, keeper, checkpoint.size, text), text.encode())
        kept.append(text)
    return kept


def read_witnessed(folder: Path) -> dict[str, list[str]]:
    """Return the answers kept in an auditor's folder by role; nothing has been verified yet.

    Raises:
        FileProblem: one cannot be read.
    """
    return {
        place.name: [
            read_file(path, _MAX_TEXT).decode("utf-8", "replace")
            for path in sorted(place.glob("*.txt"))
        ]
        for place in sorted((folder / WITNESSED).glob("*"))
        if place.is_dir()
    }


def seen_of(
    witnessed: Mapping[str, list[str]], origin: str
) -> Iterator[tuple[str, str, Checkpoint]]:
    """Yield who has seen what of a log: the role, its words, the checkpoint in them."""
    for role, texts in witnessed.items():
        for text in texts:
            checkpoint = parse_checkpoint(text)[0]
            if checkpoint.origin == origin:
                yield role, text, checkpoint


def _verify(
    text: str, checkpoint: Checkpoint, witness: Principal, keeper: Principal, site: str
) -> None:
    try:
        verify_checkpoint(text, origin=checkpoint.origin, key=keeper.verify_key)
        name = origin_of(site, witness.name)
        verify_cosignature(text, witness=name, key=witness.verify_key)
    except ProtocolError as error:
        raise CheckpointInvalid(
            f"what '{witness.name}' says that it saw of the log of '{keeper.name}' does not "
            f"verify: {error}"
        ) from error


def _free(place: Path, keeper: str, size: int, text: str) -> Path:
    """Return where to keep an answer: another history of the same size gets its own file."""
    note = text.partition("\n\n")[0]
    for number in range(1, 1000):
        suffix = "" if number == 1 else f"-{number}"
        path = place / f"{keeper}-{size:010d}{suffix}.txt"
        if not path.exists():
            return path
        if read_file(path, _MAX_TEXT).decode("utf-8", "replace").partition("\n\n")[0] == note:
            return path
    raise FileProblem(f"{place} holds too many answers about '{keeper}' of {size} entries")
