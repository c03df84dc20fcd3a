"""The registrar's HTTP interface: EST (RFC 7030), the boxes' configuration, admissions.

Everything is over TLS 1.3. Joining takes a claim in place of a password and no certificate;
everything else takes a client certificate of a principal in force.
"""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import FastAPI, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from protocol.encoding import decode_base64
from protocol.errors import MalformedMessage
from provisioning.formats import est
from provisioning.formats.errors import ClaimUnknown, RegistrarRefused, RequestInvalid
from provisioning.registrar.registrar import Registrar
from runtime.http import CborResponse, Problem, peer_of
from runtime.problems import problem_response, problem_type
from runtime.role_api import Callers, role_app, site_routes

_FORMER_NAME, _REALM = "enrolment", "enrolment claim"
"""Names the problem and the realm as version 1 did: callers may go by them."""
_log = structlog.get_logger()


def make_app(registrar: Registrar) -> FastAPI:
    """Return the application."""
    app = role_app(
        _FORMER_NAME,
        "registrar",
        description="Lets claimed boxes in, renews their certificates, tells them what to do.",
    )
    callers = Callers(lambda: registrar.directory, boxes=True)
    app.include_router(
        site_routes(
            registrar.trust,
            tell_status=registrar.status,
            about_status="How many boxes were claimed, admitted and revoked; the versions in"
            " force.",
            accept=registrar.trust.accept,
            known=callers.listed,
            bringer=callers.listed,
        )
    )
    _add_errors(app)
    _add_est(app, registrar)

    @app.get("/v1/box/configuration")
    def configuration(request: Request) -> CborResponse:
        """The calling box's configuration, signed by the registrar (CBOR)."""
        return CborResponse(registrar.configuration(peer_of(request, boxes=True)))

    @app.get("/v1/time")
    def time(nonce: Annotated[str, Query(pattern=r"^[0-9a-f]{64}$")]) -> CborResponse:
        """The time by this machine's clock, signed by the registrar for a nonce of 32 bytes (hex).

        For boxes that no time server has told it, before they are let in: it takes no certificate.
        """
        return CborResponse(registrar.time(bytes.fromhex(nonce)))

    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RegistrarRefused)
    async def on_refusal(request: Request, error: RegistrarRefused) -> JSONResponse:
        kind = problem_type(type(error))
        _log.warning("refused", path=request.url.path, problem=kind, reason=str(error))
        title = "The registrar refuses"
        response = problem_response(Problem(error.status, kind, title, str(error)))
        if error.status == 401:
            response.headers["www-authenticate"] = f'Basic realm="{_REALM}"'
        return response


def _add_est(app: FastAPI, registrar: Registrar) -> None:
    @app.get(f"{est.PATH}/cacerts")
    def cacerts() -> Response:
        """The CA certificates (RFC 7030, 4.1)."""
        return _certificates(est.certs_only(registrar.issuer.ca_certificates()))

    @app.get(f"{est.PATH}/csrattrs")
    def csrattrs() -> Response:
        """What a request must be: EC P-256, ECDSA with SHA-256 (RFC 7030, 4.5)."""
        return _base64(est.encode_body(est.CSR_ATTRIBUTES), est.ATTRIBUTES_TYPE)

    @app.post(f"{est.PATH}/simpleenroll")
    async def simpleenroll(
        request: Request, sealtrace_identity: Annotated[str, Header(max_length=4096)] = ""
    ) -> Response:
        """Join with a claim: HTTP Basic, user the box's name, password the claim in hex."""
        box, claim = _credentials(request)
        body, proof = await _request_body(request), _proof(sealtrace_identity)
        certificate = await run_in_threadpool(registrar.admit, box, claim, body, proof)
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


def _credentials(request: Request) -> tuple[str, bytes]:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    try:
        value = value if scheme.lower() == "basic" else "-"
        box, _, claim = decode_base64(value, what="the claim").decode().partition(":")
        return box, bytes.fromhex(claim)
    except (MalformedMessage, ValueError):
        raise ClaimUnknown(
            "joining takes a claim: HTTP Basic with the box's name and the claim in hex"
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
