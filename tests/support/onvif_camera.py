"""An ONVIF camera on loopback for tests: device and media service, a login, a wrong clock."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

SOAP = "http://www.w3.org/2003/05/soap-envelope"
FAULT = (
    "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>ter:{}</s:Value></s:Subcode>"
    "</s:Code><s:Reason><s:Text>{}</s:Text></s:Reason></s:Fault>"
)


class OnvifServer:
    """A camera on loopback, its clock an hour slow; keep what it is asked."""

    user, password = "viewer", "hunt er2"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.clock = datetime.now(UTC) - timedelta(hours=1)
        self.login = True
        self.media_host = "10.99.99.99:1"
        self.uri = "rtsp://viewer:hunter2@10.0.0.11:554/Streaming/Channels/{}?transportmode=unicast"
        self.raw: Callable[[str], tuple[int, bytes]] | None = None
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                camera.asked.append((self.path, body))
                status, data = camera.answer(body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, body: str) -> tuple[int, bytes]:
        if self.raw is not None:
            return self.raw(body)
        status, inner = self._inner(body)
        text = f'<s:Envelope xmlns:s="{SOAP}"><s:Body>{inner}</s:Body></s:Envelope>'
        return status, text.encode()

    def _inner(self, body: str) -> tuple[int, str]:
        if "GetSystemDateAndTime" in body:
            at = self.clock
            return 200, (
                "<GetSystemDateAndTimeResponse><SystemDateAndTime><UTCDateTime>"
                f"<Time><Hour>{at.hour}</Hour><Minute>{at.minute}</Minute><Second>{at.second}"
                f"</Second></Time><Date><Year>{at.year}</Year><Month>{at.month}</Month><Day>"
                f"{at.day}</Day></Date></UTCDateTime></SystemDateAndTime>"
                "</GetSystemDateAndTimeResponse>"
            )
        if self.login and not self._lets_in(body):
            return 400, FAULT.format("NotAuthorized", "Sender not authorized")
        if "GetCapabilities" in body:
            return 200, (
                "<GetCapabilitiesResponse><Capabilities><Media><XAddr>"
                f"http://{self.media_host}/onvif/media_service</XAddr></Media></Capabilities>"
                "</GetCapabilitiesResponse>"
            )
        if "GetProfiles" in body:
            profile = (
                '<Profiles token="{0}"><Name>{1}</Name><VideoEncoderConfiguration><Encoding>H264'
                "</Encoding><Resolution><Width>{2}</Width><Height>1080</Height></Resolution>"
                "<RateControl><FrameRateLimit>25</FrameRateLimit></RateControl>"
                "</VideoEncoderConfiguration></Profiles>"
            )
            return 200, (
                "<GetProfilesResponse>"
                + profile.format("p&amp;1", "main", 1920)
                + '<Profiles token="audio"><Name>sound</Name></Profiles>'
                + profile.format("p2", "sub\x7f", "wide")
                + "</GetProfilesResponse>"
            )
        token = re.search("<m:ProfileToken>(.*?)</m:ProfileToken>", body)
        assert token is not None
        return 200, (
            f"<GetStreamUriResponse><MediaUri><Uri>{self.uri.format(token[1])}</Uri></MediaUri></GetStreamUriResponse>"
        )

    def _lets_in(self, body: str) -> bool:
        given_values = [
            re.search(f"<{tag}(?: [^>]*)?>(.*?)</", body)
            for tag in ("w:Username", "w:Password", "w:Nonce", "u:Created")
        ]
        if not all(given_values):
            return False
        user, digest, nonce, created = [found[1] for found in given_values if found]
        at = datetime.strptime(created, "%Y-%m-%dT%H:%M:%S.000Z").replace(tzinfo=UTC)
        fresh = abs(at - self.clock) < timedelta(minutes=5)
        content = base64.b64decode(nonce) + created.encode() + self.password.encode()
        right = base64.b64encode(hashlib.sha1(content, usedforsecurity=False).digest()).decode()
        return fresh and user == self.user and digest == right
