"""Asks an HTTP camera for its stream before FFmpeg does, since FFmpeg does not say what is wrong.

One GET, of whose answer the head alone is read, and one more with the login that the camera asks
for: a password is tried once, so that no account is locked.
"""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx

from edge_agent.camera_setup.errors import (
    CameraProblem,
    CameraTimeout,
    NoVideo,
    PasswordNeeded,
    WrongPassword,
    WrongPath,
)
from edge_agent.camera_setup.rtsp import connect
from runtime.http import StreamingClient
from runtime.redaction import redact

_PORTS = {"http": 80, "https": 443}
_NO_VIDEO = ("text/", "image/jpeg", "application/json")
"""Kinds of answer that are a page or one picture: the address is not that of the stream."""


def ask(url: str, *, timeout_s: float = 5.0) -> str:
    """Ask the camera at an http:// address for its stream.

    Returns:
        How it let us in: "none", "Digest" or "Basic" (which sends the password as good as
        readable); "" for https://, of which only the connection is tried.

    Raises:
        CameraProblem: one of its kinds; the messages never hold the password.
    """
    parts = urlsplit(url)
    scheme, shown = parts.scheme.lower(), redact(url)
    port = parts.port or _PORTS[scheme]
    connect(parts.hostname or "", port, shown, timeout_s, service="HTTP").close()
    if scheme == "https":
        return ""
    address = urlunsplit((scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
    # However fast it comes: an answer whose head is not there by then is none.
    strict = {"least_per_s": float("inf"), "patience_s": timeout_s}
    with StreamingClient(None, timeout_s, **strict, headers={}) as client:
        status, kind, challenges = _head(client, address, shown)
        if status != 401:
            _refuse(status, kind, shown)
            return "none"
        if parts.username is None:
            raise PasswordNeeded(
                f"{shown} wants a user and a password. Give the user with --user (you are asked "
                "for the password), or in box.toml as http://USER:PASSWORD@HOST/PATH."
            )
        login = unquote(parts.username), unquote(parts.password or "")
        reply = _authorization(client.build_request("GET", address), challenges, *login)
        if reply is None:
            raise CameraProblem(
                f"{shown} wants a login of a kind that is not known here. Choose Digest in the "
                "camera's settings."
            )
        status, kind, _ = _head(client, address, shown, reply)
        _refuse(status, kind, shown)
        return reply.partition(" ")[0]


def _head(
    client: StreamingClient, address: str, shown: str, authorization: str = ""
) -> tuple[int, str, list[str]]:
    """Return an answer's status, its kind of content and what logins it asks for."""
    own = {b"authorization": authorization.encode()} if authorization else {}
    try:
        with client.stream("GET", address, headers=own) as answer:
            headers = answer.headers
            return (
                answer.status_code,
                headers.get("content-type", ""),
                headers.get_list("www-authenticate"),
            )
    except httpx.TimeoutException as error:
        raise CameraTimeout(
            f"{shown} takes the connection but does not answer. Is it a camera? Restart it, or "
            "give another port."
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CameraProblem(
            f"{shown}: what answers there does not speak HTTP. Give the camera's HTTP port "
            "(usually 80), or its rtsp:// address."
        ) from error


def _authorization(
    request: httpx.Request, challenges: list[str], user: str, password: str
) -> str | None:
    """Answer a camera's login challenges; None when none is known. Digest goes first.

    httpx computes it and sends nothing: sending, it would read all of the refusal.
    """
    for challenge in challenges:
        if challenge.lower().startswith("digest "):
            flow = httpx.DigestAuth(user, password).sync_auth_flow(request)
            headers = httpx.Headers({"www-authenticate": challenge}, encoding="utf-8")
            refused = httpx.Response(401, headers=headers, request=next(flow))
            with suppress(KeyError, ValueError, NotImplementedError, httpx.ProtocolError):
                return flow.send(refused).headers["authorization"]
    if any(challenge.lower().startswith("basic") for challenge in challenges):
        return next(httpx.BasicAuth(user, password).sync_auth_flow(request)).headers[
            "authorization"
        ]
    return None


def _refuse(status: int, kind: str, shown: str) -> None:
    if status in {401, 403}:
        raise WrongPassword(
            f"{shown} does not take this user or password ({status}). Check both in the camera's "
            "own settings; characters like @ : / # in a password are written %40 %3A %2F %23."
        )
    if status != 200:
        raise WrongPath(
            f"{shown}: the camera answers, but has no stream by that path ({status}). Its manual "
            "gives the path of its MJPEG stream; `sealtrace camera streams` its rtsp:// address."
        )
    if kind.lower().startswith(_NO_VIDEO):
        raise NoVideo(
            f"{shown} is a page or a single picture ({kind[:40]!r}), not a stream. The camera's "
            "manual gives the path of its MJPEG stream."
        )


__all__ = ["ask"]
