"""Asks an RTSP camera what it offers before FFmpeg does, since FFmpeg does not say what is wrong.

One DESCRIBE (RFC 2326, 10.2), again with Digest (RFC 7616) or Basic when the camera asks, and
its SDP answer (RFC 8866). A password is tried once, so that no account is locked.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import socket
import time
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from edge_agent.camera_setup.errors import (
    CameraProblem,
    CameraRefused,
    CameraTimeout,
    HostUnknown,
    NotRtsp,
    NoVideo,
    PasswordNeeded,
    WrongPassword,
    WrongPath,
)
from runtime.redaction import redact

DEFAULT_PORT = 554
DEFAULT_TLS_PORT = 322
MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 256 * 1024
_HASHES = {"MD5": "md5", "SHA-256": "sha256"}


@dataclass(frozen=True, slots=True)
class Response:
    """An RTSP response: status code, headers (name in lower case, value) in order, body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for key, value in self.headers if key == name]


@dataclass(frozen=True, slots=True)
class Offer:
    """What a camera offers: its video's codec ("" unknown), stated rate, how it was let in."""

    codec: str
    fps: float | None
    login: str
    """"none", "Digest" or "Basic" (which sends the password as good as readable)."""


def ask(url: str, *, timeout_s: float = 5.0) -> Offer | None:
    """Ask the camera at an rtsp:// address what it offers.

    Returns:
        What it offers; None for rtsps://, of which only the connection is tried.

    Raises:
        CameraProblem: one of its kinds; the messages never hold the password.
    """
    parts = urlsplit(url)
    shown = redact(url)
    deadline = time.monotonic() + timeout_s
    secure = parts.scheme.lower() == "rtsps"
    port = parts.port or (DEFAULT_TLS_PORT if secure else DEFAULT_PORT)
    with connect(parts.hostname or "", port, shown, timeout_s) as connection:
        if secure:
            return None
        try:
            return _describe(_Conversation(connection, parts, deadline), parts, shown)
        except TimeoutError as error:
            raise CameraTimeout(
                f"{shown} takes the connection but does not answer in {timeout_s:g} s. Is it an "
                "RTSP camera? Restart it, or give another port."
            ) from error
        except OSError as error:
            raise CameraProblem(
                f"{shown} hung up ({error.strerror or error}). Restart the camera, then try again."
            ) from error


def connect(
    host: str, port: int, shown: str, timeout_s: float, *, service: str = "RTSP"
) -> socket.socket:
    """Connect to a camera's ``service``.

    Raises:
        CameraProblem: one of its kinds.
    """
    try:
        return socket.create_connection((host, port), timeout=timeout_s)
    except (socket.gaierror, UnicodeError) as error:
        raise HostUnknown(
            f"{shown}: no machine is known by the name '{host}'. Look for a slip of the pen, or "
            "give its IP address; `sealtrace camera discover` lists cameras on this network."
        ) from error
    except TimeoutError as error:
        raise CameraTimeout(
            f"{shown}: {host} does not answer within {timeout_s:g} s. Is the camera powered and on "
            "this network, and is the address right? A firewall may be in between."
        ) from error
    except ConnectionRefusedError as error:
        raise CameraRefused(
            f"{shown}: {host} is there but refuses connections on port {port}. Switch {service} on "
            "in the camera's own settings, or give the port that stands there."
        ) from error
    except OSError as error:
        raise CameraRefused(
            f"{shown}: {host} cannot be reached ({error.strerror or error}). Check the cable, the "
            "address and that both are on one network."
        ) from error


class _Conversation:
    """One connection and the number of the next request."""

    def __init__(self, connection: socket.socket, parts: SplitResult, deadline: float) -> None:
        self._connection, self._deadline = connection, deadline
        host = parts.netloc.rpartition("@")[2]
        query = f"?{parts.query}" if parts.query else ""
        self.uri = f"rtsp://{host}{parts.path}{query}"
        self._number = 0
        self._buffer = bytearray()

    def describe(self, authorization: str = "") -> Response:
        self._number += 1
        lines = [
            f"DESCRIBE {self.uri} RTSP/1.0",
            f"CSeq: {self._number}",
            "Accept: application/sdp",
            "User-Agent: sealtrace",
        ]
        if authorization:
            lines.append(f"Authorization: {authorization}")
        self._connection.settimeout(self._left_s())
        self._connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return self._receive()

    def _receive(self) -> Response:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > MAX_HEAD_BYTES or not self._more():
                return parse_response(bytes(self._buffer[:MAX_HEAD_BYTES]))
        head = parse_response(bytes(self._buffer[: end + 4]))
        length = min(content_length(head), MAX_BODY_BYTES)
        while len(self._buffer) < end + 4 + length and self._more():
            pass
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        return Response(head.status, head.headers, body)

    def _more(self) -> bool:
        self._connection.settimeout(self._left_s())
        data = self._connection.recv(16 * 1024)
        self._buffer += data
        return bool(data)

    def _left_s(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _describe(talk: _Conversation, parts: SplitResult, shown: str) -> Offer:
    answer, login = talk.describe(), "none"
    if answer.status == 401:
        if parts.username is None:
            raise PasswordNeeded(
                f"{shown} wants a user and a password. Give the user with --user (you are asked "
                "for the password), or in box.toml as rtsp://USER:PASSWORD@HOST/PATH."
            )
        user, password = unquote(parts.username), unquote(parts.password or "")
        challenges = answer.all("www-authenticate")
        reply = authorization(challenges, user, password, talk.uri)
        if reply is None:
            raise CameraProblem(
                f"{shown} wants a login of a kind that is not known here "
                f"({_plain(', '.join(challenges))[:80]}). Choose Digest in the camera's settings."
            )
        login = reply.partition(" ")[0]
        answer = talk.describe(reply)
        if answer.status in {401, 403}:
            raise WrongPassword(
                f"{shown} does not take this user or password (401). Check both in the camera's "
                "own settings; characters like @ : / # in a password are written %40 %3A %2F "
                "%23. Some cameras lock the account for a while after several wrong tries."
            )
    _refuse_status(answer.status, shown)
    codec, fps = video_of(answer.body)
    return Offer(codec, fps, login)


def _refuse_status(status: int, shown: str) -> None:
    if status == 200:
        return
    if status == 0:
        raise NotRtsp(
            f"{shown}: what answers there does not speak RTSP. Give the camera's RTSP port "
            f"(usually {DEFAULT_PORT}), not that of its web page."
        )
    if status == 403:
        raise WrongPassword(
            f"{shown}: the camera does not let this user see the video (403). Give the user the "
            "right to view in the camera's settings."
        )
    if status in {404, 451, 454}:
        raise WrongPath(
            f"{shown}: the camera answers, but has no stream by that path ({status}). Its manual "
            "or `sealtrace camera streams` gives the path."
        )
    if status in {301, 302, 303, 305}:
        raise WrongPath(
            f"{shown}: the camera says that the stream has moved ({status}). Look its address up "
            "with `sealtrace camera streams`."
        )
    if status in {453, 503}:
        raise CameraProblem(
            f"{shown}: the camera is busy ({status}); most serve few viewers at once. Close other "
            "viewers, or use its second stream."
        )
    raise CameraProblem(
        f"{shown}: the camera answers with error {status}. Restart it, or try its other stream."
    )


def parse_response(head: bytes) -> Response:
    """Parse status line and headers; what is no RTSP response has status 0. Never raises."""
    lines = head.decode("latin-1").split("\r\n")
    match = re.fullmatch(r"RTSP/1\.\d (\d{3})(?: .*)?", lines[0])
    if match is None:
        return Response(0, ())
    pairs = [line.partition(":") for line in lines[1:] if ":" in line]
    return Response(
        int(match[1]), tuple((name.strip().lower(), value.strip()) for name, _, value in pairs)
    )


def content_length(response: Response) -> int:
    """Return the length that the headers announce; 0 when they announce none that is a number."""
    value = next(iter(response.all("content-length")), "")
    return int(value) if re.fullmatch(r"[0-9]{1,9}", value) else 0


def authorization(challenges: list[str], user: str, password: str, uri: str) -> str | None:
    """Answer a camera's login challenges for DESCRIBE; None when none is known. Digest goes first.

    RFC 7616 (SHA-256, MD5; qop auth or none), RFC 7617.
    """
    digests = [fields for text in challenges if (fields := _digest_fields(text))]
    usable = [f for f in digests if f.get("algorithm", "MD5").upper() in _HASHES]
    if usable:
        best = max(usable, key=lambda f: f.get("algorithm", "MD5").upper() == "SHA-256")
        return _digest(best, user, password, uri)
    if any(text.lower().startswith("basic") for text in challenges):
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        return f"Basic {pair}"
    return None


def _digest_fields(text: str) -> dict[str, str]:
    if not text.lower().startswith("digest "):
        return {}
    # Not from the middle of a word: that would cost the square of its length.
    found = re.findall(r'(?<![A-Za-z-])([A-Za-z-]+)\s*=\s*(?:"([^"\\]*)"|([^\s,"]+))', text)
    return {name.lower(): quoted or bare for name, quoted, bare in found}


def _digest(fields: dict[str, str], user: str, password: str, uri: str) -> str:
    algorithm = fields.get("algorithm", "MD5").upper()

    def hashed(text: str) -> str:
        return hashlib.new(_HASHES[algorithm], text.encode(), usedforsecurity=False).hexdigest()

    realm, nonce = fields.get("realm", ""), fields.get("nonce", "")
    secret = hashed(f"{user}:{realm}:{password}")
    target = hashed(f"DESCRIBE:{uri}")
    answer = {"username": user, "realm": realm, "nonce": nonce, "uri": uri}
    extra = ""
    if "auth" in re.split(r"[,\s]+", fields.get("qop", "")):
        own = secrets.token_hex(8)
        answer["response"] = hashed(f"{secret}:{nonce}:00000001:{own}:auth:{target}")
        extra = f', qop=auth, nc=00000001, cnonce="{own}"'
    else:
        answer["response"] = hashed(f"{secret}:{nonce}:{target}")
    if "algorithm" in fields:
        extra += f", algorithm={algorithm}"
    if "opaque" in fields:
        answer["opaque"] = fields["opaque"]
    # A name that could end the header or the quotes would be a forged header: it is escaped.
    pairs = (f'{name}="{_quoted(value)}"' for name, value in answer.items())
    return "Digest " + ", ".join(pairs) + extra


def _quoted(value: str) -> str:
    return re.sub(r"[\r\n\0]", "", value).replace("\\", "\\\\").replace('"', '\\"')


def video_of(sdp: bytes) -> tuple[str, float | None]:
    """Return codec (lower case, "" unknown) and rate of the first video that an SDP lists.

    Raises:
        NoVideo: it lists none.
    """
    lines = sdp.decode("utf-8", "replace").splitlines()
    starts = [at for at, line in enumerate(lines) if line.startswith("m=video")]
    if not starts:
        raise NoVideo(
            "The camera answers, but offers no video (only sound or data, or nothing). Give the "
            "path of its video stream: `sealtrace camera streams` lists them."
        )
    media = lines[starts[0] + 1 :]
    media = media[: next((at for at, line in enumerate(media) if line[:2] == "m="), len(media))]
    kind = lines[starts[0]].split()[3:4]
    codec = {"26": "jpeg", "32": "mpv"}.get(kind[0], "") if kind else ""
    fps: float | None = None
    for line in media:
        if match := re.match(r"a=rtpmap:\d+ ([A-Za-z0-9.+_-]{1,32})/", line):
            codec = codec or match[1].lower()
        if match := re.match(r"a=framerate:\s*(\d{1,3}(?:\.\d{1,6})?)\s*$", line):
            fps = float(match[1]) if 0 < float(match[1]) <= 240 else None
    return codec, fps


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
