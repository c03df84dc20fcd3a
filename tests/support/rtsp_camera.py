"""An RTSP camera on loopback for tests: one grey that rises, with or without a login."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import socket
import struct
import threading
from typing import BinaryIO

import cv2
import numpy as np

_QUALITY = 80


def scan_of(jpeg: bytes) -> bytes:
    """The entropy-coded part of a baseline JPEG, as RFC 2435 carries it."""
    at = 2
    while jpeg[at + 1] != 0xDA:
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") : -2]


class RtspCamera:
    """An RTSP server on loopback (RFC 2326; JPEG over RTP: RFC 2435) with a rising grey."""

    width, height = 128, 96

    def __init__(
        self, login: str = "", user: str = "viewer", password: str = "", *, sdp: str | None = None
    ) -> None:
        """`login` is "", "Basic", "MD5" or "SHA-256"; `sdp` replaces what is offered."""
        self.login, self.user, self.password, self.sdp = login, user, password, sdp
        self.requests: list[tuple[str, dict[str, str]]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.clients = 0
        self._sockets: list[socket.socket] = []
        self._closing = threading.Event()
        threading.Thread(target=self._accept, name="rtsp-test", daemon=True).start()

    def drop_clients(self) -> None:
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def close(self) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):  # who waits in accept() would take one more caller
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_clients()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as lines:
                while request := self._request(lines):
                    method, headers = request
                    self.requests.append(request)
                    if method == "DESCRIBE" and self.login and not self._lets_in(headers):
                        self._challenge(connection, headers)
                        continue
                    self._answer(connection, method, headers)
                    if method == "PLAY":
                        self.clients += 1
                        self._play(connection)
                        return
        except OSError:
            return

    def _request(self, lines: BinaryIO) -> tuple[str, dict[str, str]] | None:
        first = lines.readline().decode()
        headers: dict[str, str] = {}
        while line := lines.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return (first.split()[0], headers) if first.strip() else None

    def _challenge(self, connection: socket.socket, headers: dict[str, str]) -> None:
        kind = (
            'Basic realm="camera"'
            if self.login == "Basic"
            else f'Digest realm="camera", nonce="0a1b", algorithm={self.login}'
        )
        connection.sendall(
            f"RTSP/1.0 401 Unauthorized\r\nCSeq: {headers['cseq']}\r\n"
            f"WWW-Authenticate: {kind}\r\n\r\n".encode()
        )

    def _lets_in(self, headers: dict[str, str]) -> bool:
        given = headers.get("authorization", "")
        if self.login == "Basic":
            pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            return given == f"Basic {pair}"
        fields = dict(re.findall(r'(\w+)="([^"]*)"', given))
        name = {"MD5": "md5", "SHA-256": "sha256"}[self.login]

        def hashed(text: str) -> str:
            return hashlib.new(name, text.encode()).hexdigest()

        secret = hashed(f"{self.user}:camera:{self.password}")
        target = hashed(f"DESCRIBE:{fields.get('uri', '')}")
        return fields.get("response") == hashed(f"{secret}:0a1b:{target}")

    def _answer(self, connection: socket.socket, method: str, headers: dict[str, str]) -> None:
        extra, body = "", ""
        if method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif method == "DESCRIBE":
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\n"
                "m=video 0 RTP/AVP 26\r\na=control:track1\r\na=framerate:20\r\n"
            )
            body = body if self.sdp is None else self.sdp
            extra = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        elif method == "SETUP":
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        elif method == "PLAY":
            extra = "Session: 1\r\n"
        connection.sendall(
            f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\n{extra}\r\n{body}".encode()
        )

    def _play(self, connection: socket.socket) -> None:
        sequence = 0
        index = 0
        while not self._closing.wait(0.05):
            image = np.full((self.height, self.width, 3), 40 + index % 150, np.uint8)
            _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
            scan = scan_of(jpeg.tobytes())
            for offset in range(0, len(scan), 1200):
                part = scan[offset : offset + 1200]
                last = offset + 1200 >= len(scan)
                kind = 26 | (0x80 if last else 0)
                rtp = struct.pack("!BBHII", 0x80, kind, sequence & 0xFFFF, index * 4500, 1)
                size = self.width // 8, self.height // 8
                head = struct.pack("!BBHBBBB", 0, offset >> 16, offset & 0xFFFF, 1, _QUALITY, *size)
                packet = rtp + head + part
                connection.sendall(b"$\x00" + struct.pack("!H", len(packet)) + packet)
                sequence += 1
            index += 1
