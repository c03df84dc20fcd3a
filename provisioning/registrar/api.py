"""The enrolment service's HTTP interface: EST (RFC 7030), the boxes' configuration, admissions.

Everything is over TLS 1.3. Enrolling takes a claim in place of a password and no certificate;
everything else takes a client certificate of a principal in force.
"""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import FastAPI, Header, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from protocol.directory import BOX
from protocol.encoding import decode_base64
from protocol.errors import MalformedMessage
from provisioning.formats import est
from provisioning.formats.errors import ClaimUnknown, EnrolmentRefused, RequestInvalid
from provisioning.registrar.registrar import Registrar
from runtime.errors import OperationError
from runtime.http import (
    CborResponse,
    Problem,
    cbor_body,
    install_problem_handlers,
    peer_of,
)
from runtime.problems import problem_response, problem_type

_log = structlog.get_logger()


def make_app(registrar: Registrar) -> FastAPI:
    """Return the application."""
    app = FastAPI(
        title="Sealtrace enrolment service",
        description="Lets claimed boxes in, renews their certificates, tells them what to do.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    install_problem_handlers(app)
    _add_errors(app)
    _add_est(app, registrar)
    _add_boxes(app, registrar)
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(EnrolmentRefused)
    async def on_refusal(request: Request, error: EnrolmentRefused) -> JSONResponse:
        kind = problem_type(type(error))
        _log.warning("refused", path=request.url.path, problem=kind, reason=str(error))
        title = "The enrolment service refuses"
        response = problem_response(Problem(error.status, kind, title, str(error)))
        if error.status == 401:
            response.headers["www-authenticate"] = 'Basic realm="enrolment claim"'
        return response

    @app.exception_handler(OperationError)
    async def on_operation_error(request: Request, error: OperationError) -> JSONResponse:
        _log.error("request_failed", path=request.url.path, reason=str(error))
        return problem_response(
            Problem(503, "enrolment-unable", "The enrolment service cannot do that now", str(error))
        )


def _add_est(app: FastAPI, registrar: Registrar) -> None:
    @app.get(f"{est.PATH}/cacerts")
    def cacerts() -> Response:
        """The CA certificates (RFC 7030, 4.1)."""
        return _certificates(est.certs_only(registrar.ca_certificates()))

    @app.get(f"{est.PATH}/csrattrs")
    def csrattrs() -> Response:
        """What a request must be: EC P-256, ECDSA with SHA-256 (RFC 7030, 4.5)."""
        return _base64(est.encode_body(est.CSR_ATTRIBUTES), est.ATTRIBUTES_TYPE)

    @app.post(f"{est.PATH}/simpleenroll")
    async def simpleenroll(
        request: Request, sealtrace_identity: Annotated[str, Header(max_length=4096)] = ""
    ) -> Response:
        """Enrol with a claim: HTTP Basic, user the box's name, password the claim in hex."""
        box, claim = _credentials(request)
        body, proof = await _request_body(request), _proof(sealtrace_identity)
        certificate = await run_in_threadpool(registrar.enrol, box, claim, body, proof)
        return _certificates(est.certs_only([certificate]))

    @app.post(f"{est.PATH}/simplereenroll")
    async def simplereenroll(
        request: Request, sealtrace_identity: Annotated[str, Header(max_length=4096)] = ""
    ) -> Response:
        """Renew the certificate that the connection was made with."""
        box, fingerprint = peer_of(request, boxes=True), str(request.state.peer_fingerprint)
        body, proof = await _request_body(request), _proof(sealtrace_identity)
        certificate = await run_in_threadpool(registrar.renew, box, fingerprint, body, proof)
        return _certificates(est.certs_only([certificate]))


def _add_boxes(app: FastAPI, registrar: Registrar) -> None:
    @app.get("/v1/box/configuration")
    def configuration(request: Request) -> CborResponse:
        """The calling box's configuration, signed by the registrar (CBOR)."""
        return CborResponse(registrar.configuration(peer_of(request, boxes=True)))

    @app.get("/v1/admissions")
    def admissions(request: Request) -> CborResponse:
        """The registrar's signed admissions (CBOR); 404 while no box was admitted or revoked."""
        _listed(request)
        registrar.sync()
        data = registrar.trust.signed_admissions
        if data is None:
            raise Problem(404, "no-admissions", "No box was admitted or revoked here yet")
        return CborResponse(data)

    @app.put("/v1/directory")
    async def put_directory(request: Request) -> dict[str, object]:
        """Take in a newer directory signed by the site's authority (CBOR), whoever brings it."""
        _listed(request)
        changed = await run_in_threadpool(registrar.trust.accept, await cbor_body(request))
        return {"version": registrar.trust.directory.version, "changed": changed}

    @app.get("/v1/status")
    def status(request: Request) -> dict[str, object]:
        """How many boxes were claimed, admitted and revoked; the versions in force."""
        _listed(request)
        boxes = registrar.store.boxes()
        return {
            "site": registrar.config.site,
            "directory_version": registrar.directory.version,
            "admissions_version": registrar.trust.admissions_version,
            "boxes": len(boxes),
            "waiting": sum(registrar.store.open_claim(box.name) is not None for box in boxes),
            "revoked": len(registrar.store.revocations()),
        }

    def _listed(request: Request) -> None:
        name = peer_of(request, boxes=True)
        principal = registrar.directory.principals.get(name)
        if principal is not None and principal.duties != {BOX}:
            peer_of(request)
        if principal is None or principal.revoked_at_ms is not None:
            raise Problem(403, "not-listed", "The directory lists no such principal in force", name)


def _credentials(request: Request) -> tuple[str, bytes]:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    try:
        value = value if scheme.lower() == "basic" else "-"
        box, _, claim = decode_base64(value, what="the claim").decode().partition(":")
        return box, bytes.fromhex(claim)
    except (MalformedMessage, ValueError):
        raise ClaimUnknown(
            "enrolling takes a claim: HTTP Basic with the box's name and the claim in hex"
        ) from None


async def _request_body(request: Request) -> bytes:
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != est.REQUEST_TYPE:
        raise Problem(
            415,
            "pkcs10-required",
            "The body must be a certificate request",
            f"Send it as {est.REQUEST_TYPE}, base64; it says {declared[:80] or 'nothing'}.",
        )
    return est.decode_body(await request.body())


def _proof(header: str) -> bytes:
    try:
        return decode_base64(header, what="the proof")
    except MalformedMessage:
        raise RequestInvalid(f"the header {est.IDENTITY_HEADER} is not base64") from None


def _certificates(body: bytes) -> Response:
    return _base64(body, est.ANSWER_TYPE)


def _base64(body: bytes, media_type: str) -> Response:
    return Response(body, media_type=media_type, headers={"content-transfer-encoding": "base64"})
