"""Serve a role's audit log and its service as a witness over HTTP, the same for every role.

The forms are C2SP's: checkpoints as signed notes, cosignatures as single lines. Proofs are
JSON (`protocol.merkle_proofs`). Entries are sealed to the auditors, so reading the log tells nobody
else more than its clear outside: kind, time, actor and query id.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, PlainTextResponse

from protocol.auditlog import origin_of, parse_checkpoint
from protocol.directory import AGGREGATOR, CUSTODIAN, Directory
from protocol.encoding import Fields, decode, encode
from protocol.errors import CheckpointInvalid, LogInconsistent, MalformedMessage, UnknownSigner
from protocol.signing import VerifyKey
from protocol.textformats import parse_json
from runtime.auditlog import AuditLog
from runtime.http import CborResponse, cbor_body
from runtime.role_api import Allow, checked
from runtime.witness import Witness

MAX_ENTRIES = 1000
MAX_ENTRIES_BYTES = 4 << 20
MAX_CHECKPOINTS = 500
MAX_LINE = 1024
MAX_PROOF = 65_536
_LINE = re.compile(r"— ([^\s+\n]{1,200}) [A-Za-z0-9+/=]{1,200}\n?")
_log = structlog.get_logger()

_Index = Annotated[int, Query(ge=0, le=2**62)]
_MaybeSize = Annotated[int | None, Query(ge=0, le=2**62)]


def keeper_key(directory: Directory, origin: str) -> VerifyKey:
    """Return the key of the role that keeps the log ``origin``: a custodian or an aggregator.

    Raises:
        UnknownSigner: nobody at this site does, or no longer.
    """
    actor = origin.rpartition("/")[2]
    if origin != origin_of(directory.site, actor):
        raise UnknownSigner(f"'{origin}' is not a log of site '{directory.site}'")
    principal = directory.principals.get(actor)
    duty = CUSTODIAN if principal is not None and CUSTODIAN in principal.duties else AGGREGATOR
    return directory.require(actor, duty).verify_key


def cosigner_of(line: str) -> str:
    """Return the origin of whoever says to have made one line of a signature; not verified.

    Raises:
        CheckpointInvalid: it is no such line.
    """
    match = _LINE.fullmatch(line) if len(line) <= MAX_LINE else None
    if match is None:
        raise CheckpointInvalid("that is not a line of a signature")
    return match[1]


def witness_checkpoint(
    witness: Witness,
    text: str,
    proof: Mapping[str, object] | None,
    *,
    directory: Directory,
    time_s: int,
) -> str:
    """Cosign the checkpoint ``text`` of another role of the site; return the cosignature's line.

    Args:
        proof: of consistency with the checkpoint of this log cosigned last (`last_seen`).

    Raises:
        CheckpointInvalid: malformed, or not signed by the log that it names.
        UnknownSigner, PrincipalRevoked: the directory knows no such log.
        LogInconsistent, LogForked: it does not continue what was seen: a case for the auditors.
    """
    origin = parse_checkpoint(text)[0].origin
    key = keeper_key(directory, origin)
    try:
        return witness.cosign(text, origin=origin, key=key, proof=proof, time_s=time_s)
    except LogInconsistent as error:
        _log.critical("log_not_append_only", origin=origin, reason=str(error))
        raise


def encode_witness_request(text: str, proof: Mapping[str, object] | None) -> bytes:
    """Return the body of ``POST /v1/witness``."""
    return encode(
        {
            "checkpoint": text,
            "proof": None if proof is None else json.dumps(proof, separators=(",", ":")),
        }
    )


def decode_witness_request(data: bytes) -> tuple[str, dict[str, object] | None]:
    """Read the body of ``POST /v1/witness``: the checkpoint's text and the proof.

    Raises:
        MalformedMessage: it is not one.
    """
    fields = Fields(decode(data, what="witness request", max_bytes=1 << 18), what="witness request")
    text = fields.text("checkpoint", max_length=MAX_PROOF, multiline=True)
    proof = fields.optional("proof", lambda name: fields.text(name, max_length=MAX_PROOF))
    fields.done()
    if proof is None:
        return text, None
    try:
        value = parse_json(proof)
    except ValueError as error:
        raise MalformedMessage("witness request: the proof is not JSON") from error
    if not isinstance(value, dict):
        raise MalformedMessage("witness request: the proof is not a JSON object")
    return text, value


def log_router(
    log: AuditLog,
    witness: Witness,
    *,
    directory: Callable[[], Directory],
    allow: Allow,
    time_s: Callable[[], int] = lambda: int(time.time()),
    on_cosigned: Callable[[str, int], object] | None = None,
) -> APIRouter:
    """Return the routes ``/v1/log/*``, ``/v1/witness`` and ``/v1/witnessed``.

    Args:
        directory: gives the directory in force.
        allow: raises for callers who may not read or witness; called with every request.
        time_s: gives the time for cosignatures.
        on_cosigned: told who has cosigned this log, and at which time (seconds) by its own word.
    """
    router = APIRouter(prefix="/v1", tags=["audit log"], dependencies=[Depends(checked(allow))])

    @router.get("/log/checkpoint", response_class=PlainTextResponse)
    def checkpoint(size: _MaybeSize = None) -> PlainTextResponse:
        """The signed checkpoint of now (or of ``size``), with the cosignatures it has so far."""
        return PlainTextResponse(log.checkpoint(size))

    @router.get("/log/checkpoints")
    def checkpoints(since: _Index = 0) -> list[str]:
        """Checkpoints of at least ``since`` entries published so far, oldest first, a page."""
        return list(log.checkpoints(since, MAX_CHECKPOINTS))

    @router.get("/log/consistency")
    def consistency(
        earlier: Annotated[int, Query(alias="from", ge=0, le=2**62)],
        later: Annotated[int | None, Query(alias="to", ge=0, le=2**62)] = None,
    ) -> JSONResponse:
        """The proof that size ``to`` appends to size ``from``; null if nothing needs proof."""
        return JSONResponse(log.prove_consistency(earlier, later))

    @router.get("/log/inclusion")
    def inclusion(index: _Index, size: _MaybeSize = None) -> JSONResponse:
        """The proof that entry ``index`` (from 0) is in the log of ``size`` entries."""
        return JSONResponse(log.prove_inclusion(index, size))

    @router.get("/log/entries")
    def entries(start: _Index = 0, stop: _MaybeSize = None) -> CborResponse:
        """Entries from ``start`` up to ``stop`` as byte strings; fewer when the page is full."""
        last = min(start + MAX_ENTRIES, log.size if stop is None else stop)
        return CborResponse(encode(_page(log.entries(start, last))))

    @router.post("/log/cosignatures", status_code=204)
    async def add_cosignature(request: Request, size: _Index) -> None:
        """Keep a witness's line on the checkpoint of ``size``, once verified."""
        line = (await request.body()).decode("utf-8", "replace")
        origin = cosigner_of(line)
        key = keeper_key(directory(), origin)
        if origin == log.origin:
            raise CheckpointInvalid("a log cannot witness itself")
        at_s = await run_in_threadpool(
            log.add_cosignature, size, line.rstrip("\n") + "\n", witness=origin, key=key
        )
        if on_cosigned is not None:
            on_cosigned(origin.rpartition("/")[2], at_s)

    @router.get("/witness")
    def last_seen(origin: Annotated[str, Query(max_length=200)]) -> dict[str, int]:
        """The size of the checkpoint of ``origin`` cosigned last, from which to prove."""
        return {"size": witness.last_seen(origin)}

    @router.get("/witnessed")
    def witnessed() -> list[str]:
        """What was cosigned last of each other log: checkpoints under its signature and ours."""
        return list(witness.statements())

    @router.post("/witness", response_class=PlainTextResponse)
    async def cosign(request: Request) -> PlainTextResponse:
        """Cosign another role's checkpoint if it only appends to what was seen before."""
        text, proof = decode_witness_request(await cbor_body(request))
        line = await run_in_threadpool(
            witness_checkpoint,
            witness,
            text,
            proof,
            directory=directory(),
            time_s=time_s(),
        )
        return PlainTextResponse(line)

    return router


def _page(entries: list[bytes]) -> list[bytes]:
    """Return as many entries as fit in a page, at least one."""
    page: list[bytes] = []
    room = MAX_ENTRIES_BYTES
    for entry in entries:
        room -= len(entry)
        if room < 0 and page:
            break
        page.append(entry)
    return page
