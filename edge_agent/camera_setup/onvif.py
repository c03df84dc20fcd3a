"""Asks one ONVIF camera, named by its owner, for its streams' addresses (ONVIF Media, ver10).

The user's name and a digest of the password go to the named machine only: whatever other addresses
the camera gives, its host is kept. The digest is WS-Security's UsernameToken (1.0), over the
camera's own clock, since cameras' clocks are wrong; HTTP Digest follows where a camera wants that.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit, urlunsplit

import httpx

from edge_agent.camera_setup.errors import (
    CameraProblem,
    CameraRefused,
    CameraTimeout,
    HostUnknown,
    PasswordNeeded,
    WrongPassword,
)
from edge_agent.camera_setup.soap import (
    MAX_XML_BYTES,
    Element,
    XmlRefused,
    envelope,
    escape,
    parse_envelope,
    plain,
)
from edge_agent.sources import SourceError, parse_source_url
from runtime.http import PeerUnreachable, client
from runtime.redaction import redact

DEFAULT_PATH = "/onvif/device_service"
MAX_PROFILES = 16
ANSWER_S = 15.0
_DEVICE = "http://www.onvif.org/ver10/device/wsdl"
_MEDIA = "http://www.onvif.org/ver10/media/wsdl"
_SCHEMA = "http://www.onvif.org/ver10/schema"
_WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
_WSU = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
_DIGEST = (
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0"
    "#PasswordDigest"
)


@dataclass(frozen=True, slots=True)
class Stream:
    """One of a camera's streams; `url` has no password in it."""

    profile: str
    codec: str
    width: int
    height: int
    fps: float
    url: str


class OnvifCamera:
    """One camera's ONVIF services. Use as a context manager, or `close`."""

    def __init__(
        self, address: str, user: str | None = None, password: str = "", *, timeout_s: float = 5.0
    ) -> None:
        """Name the camera: its ONVIF address, or its host alone.

        Raises:
            CameraProblem: that is not an address.
        """
        self._address = service_address(address)
        self._shown = redact(self._address)
        self._user, self._password = user, password
        self._offset = timedelta(0)
        self._client = client(
            "", None, timeout_s, max_answer_bytes=MAX_XML_BYTES, within_s=ANSWER_S
        )
        if user is not None:
            self._client.auth = httpx.DigestAuth(user, password)

    def __enter__(self) -> OnvifCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def streams(self) -> list[Stream]:
        """Return the camera's streams in its own order, usually the largest first.

        Raises:
            CameraProblem: one of its kinds.
        """
        self._learn_clock()
        media = self._media_address()
        body = self._call(media, f'<m:GetProfiles xmlns:m="{_MEDIA}"/>')
        answer = body.child("GetProfilesResponse")
        profiles = list(answer.named("Profiles")) if answer is not None else []
        streams = [self._stream(media, profile) for profile in profiles[:MAX_PROFILES]]
        usable = [stream for stream in streams if stream is not None]
        if not usable:
            raise CameraProblem(
                f"{self._shown} tells of no video stream; look its address up in the manual"
            )
        return usable

    def _learn_clock(self) -> None:
        """How far the camera's clock is off ours; asked without a login, as ONVIF allows."""
        try:
            body = self._call(
                self._address, f'<t:GetSystemDateAndTime xmlns:t="{_DEVICE}"/>', login=False
            )
        except (CameraTimeout, CameraRefused, HostUnknown):
            raise
        except CameraProblem:  # some want a login even for that; then the clocks must agree
            return
        found = body.at("GetSystemDateAndTimeResponse", "SystemDateAndTime", "UTCDateTime")
        if found is None:
            return
        try:
            numbers = [
                int(found.words(part, name))
                for part, name in (
                    ("Date", "Year"), ("Date", "Month"), ("Date", "Day"),
                    ("Time", "Hour"), ("Time", "Minute"), ("Time", "Second"),
                )
            ]  # fmt: skip
            year, month, day, hour, minute, second = numbers
            theirs = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
        except (ValueError, OverflowError):
            return
        self._offset = theirs - datetime.now(UTC)

    def _media_address(self) -> str:
        body = self._call(
            self._address,
            f'<t:GetCapabilities xmlns:t="{_DEVICE}"><t:Category>Media</t:Category>'
            "</t:GetCapabilities>",
        )
        given = body.words("GetCapabilitiesResponse", "Capabilities", "Media", "XAddr")
        try:
            path = urlsplit(given).path
        except ValueError:
            path = ""
        own = urlsplit(self._address)
        return urlunsplit((own.scheme, own.netloc, path or own.path, "", ""))

    def _stream(self, media: str, profile: Element) -> Stream | None:
        token = profile.attributes.get("token", "")
        encoder = profile.child("VideoEncoderConfiguration")
        if not token or encoder is None:
            return None
        body = self._call(
            media,
            f'<m:GetStreamUri xmlns:m="{_MEDIA}" xmlns:tt="{_SCHEMA}"><m:StreamSetup>'
            "<tt:Stream>RTP-Unicast</tt:Stream><tt:Transport><tt:Protocol>RTSP</tt:Protocol>"
            f"</tt:Transport></m:StreamSetup><m:ProfileToken>{escape(token)}</m:ProfileToken>"
            "</m:GetStreamUri>",
        )
        found = body.at("GetStreamUriResponse", "MediaUri", "Uri")
        url = "" if found is None else found.text.strip()
        try:
            parse_source_url(url)
        except SourceError:
            return None
        if not url.lower().startswith(("rtsp://", "rtsps://")) or not url.isprintable():
            return None
        return Stream(
            profile=profile.words("Name") or plain(token),
            codec=plain(encoder.words("Encoding"), 20),
            width=_count(encoder.words("Resolution", "Width")),
            height=_count(encoder.words("Resolution", "Height")),
            fps=float(_count(encoder.words("RateControl", "FrameRateLimit"))),
            url=_without_login(url),
        )

    def _call(self, address: str, body: str, *, login: bool = True) -> Element:
        header = self._token() if login and self._user is not None else ""
        try:
            response = self._client.post(
                address,
                content=envelope(body, header),
                headers={"Content-Type": "application/soap+xml; charset=utf-8"},
            )
        except PeerUnreachable as error:
            raise self._unreachable(error.__cause__) from error
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        except (KeyError, ValueError, NotImplementedError) as error:  # httpx's, at the challenge
            raise CameraProblem(
                f"{self._shown} wants a login of a kind that is not known here. Choose Digest in "
                "the camera's settings."
            ) from error
        return self._open(response.status_code, response.content)

    def _unreachable(self, why: BaseException | None) -> CameraProblem:
        if isinstance(why, httpx.TimeoutException):
            return CameraTimeout(
                f"{self._shown} does not answer; check the address, and that ONVIF is switched on "
                "in the camera's settings"
            )
        if isinstance(why, httpx.ConnectError):
            return _cannot_connect(self._shown, why)
        kind = "too long or encoded" if why is None else type(why).__name__
        return CameraProblem(
            f"{self._shown} does not answer as an ONVIF camera would ({kind}); check the port"
        )

    def _open(self, status: int, data: bytes) -> Element:
        try:
            _, body = parse_envelope(data)
        except XmlRefused as error:
            self._refuse_login(status == 401)
            raise CameraProblem(
                f"{self._shown} does not answer as an ONVIF camera (HTTP {status}: {error}); "
                f"check port and path, usually {DEFAULT_PATH}"
            ) from error
        fault = body.child("Fault")
        said = "" if fault is None else " ".join(plain(each.text) for each in fault.walk())
        refused = any(word in said for word in ("NotAuthorized", "FailedAuthentication"))
        self._refuse_login(status == 401 or refused)
        if fault is not None or status != 200:
            reason = plain(said or f"HTTP {status}", 120)
            raise CameraProblem(
                f"{self._shown} refuses: {reason}. Update its firmware, or look the stream's "
                "address up in its manual."
            )
        return body

    def _refuse_login(self, refused: bool) -> None:
        if not refused:
            return
        if self._user is None:
            raise PasswordNeeded(
                f"{self._shown} wants a user and a password; give the user with --user"
            )
        raise WrongPassword(
            f"{self._shown} does not take this user or password. Many cameras have separate users "
            "for ONVIF: make one in the camera's settings. Others take none while their clock is "
            "wrong."
        )

    def _token(self) -> str:
        nonce = secrets.token_bytes(16)
        created = (datetime.now(UTC) + self._offset).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        digest = password_digest(nonce, created, self._password)
        return (
            f'<w:Security xmlns:w="{_WSSE}" xmlns:u="{_WSU}" s:mustUnderstand="1">'
            f"<w:UsernameToken><w:Username>{escape(self._user or '')}</w:Username>"
            f'<w:Password Type="{_DIGEST}">{digest}</w:Password>'
            f"<w:Nonce>{base64.b64encode(nonce).decode()}</w:Nonce>"
            f"<u:Created>{created}</u:Created></w:UsernameToken></w:Security>"
        )


def password_digest(nonce: bytes, created: str, password: str) -> str:
    """Base64 of SHA-1 over nonce, time and password (WSS UsernameToken Profile 1.0, 3.1)."""
    hashed = hashlib.sha1(nonce + created.encode() + password.encode(), usedforsecurity=False)
    return base64.b64encode(hashed.digest()).decode()


def service_address(address: str) -> str:
    """Complete `HOST[:PORT]` or an http(s) address to that of the camera's device service.

    Raises:
        CameraProblem: it is neither.
    """
    text = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if not host or parts.scheme not in {"http", "https"} or not text.isprintable() or " " in text:
        raise CameraProblem(
            f"'{plain(redact(text), 60)}' is not a camera's ONVIF address; write its IP address, "
            f"or http://ADDRESS{DEFAULT_PATH} as `sealtrace camera discover` shows it"
        )
    if parts.username is not None:
        raise CameraProblem("leave user and password out of the address; give the user with --user")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") or DEFAULT_PATH, "", ""))


def _cannot_connect(shown: str, error: httpx.ConnectError) -> CameraProblem:
    said = str(error)
    if "certificate" in said.lower():
        return CameraProblem(
            f"{shown}: the camera's certificate is signed by nobody known; use http:// on a "
            "network of the cameras' own"
        )
    if "Name or service" in said or "getaddrinfo" in said or "name resolution" in said:
        return HostUnknown(f"{shown}: no machine is known by that name; give its IP address")
    return CameraRefused(
        f"{shown} refuses connections or cannot be reached; check the address and the port, and "
        "that ONVIF is switched on in the camera's settings"
    )


def _without_login(url: str) -> str:
    """The address without user and password, which some cameras put into it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
