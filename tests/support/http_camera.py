"""A camera on loopback that sends its pictures over HTTP, for tests."""

from __future__ import annotations

import base64
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
from films import drawn


class HttpCamera:
    """Serves /mjpg (JPEG pictures without end), /film (its bytes over and over) and /still.

    With a password, it lets in user "viewer" alone.
    """

    def __init__(self, *, password: str = "", film: bytes = b"") -> None:
        camera = self
        self.password, self.film = password, film
        self.clients = 0
        self._closing = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera._answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="http-test", daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        login = base64.b64encode(f"viewer:{self.password}".encode()).decode()
        if self.password and request.headers.get("Authorization") != f"Basic {login}":
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="camera"')
            request.end_headers()
            return
        if request.path == "/still":
            request.send_response(200)
            request.send_header("Content-Type", "image/jpeg")
            request.end_headers()
            return
        if request.path not in {"/mjpg", "/film"}:
            request.send_error(404)
            return
        self.clients += 1
        request.send_response(200)
        kind = (
            "multipart/x-mixed-replace; boundary=part" if request.path == "/mjpg" else "video/mpeg"
        )
        request.send_header("Content-Type", kind)
        request.end_headers()
        try:
            self._send(request)
        except OSError:
            return

    def _send(self, request: BaseHTTPRequestHandler) -> None:
        number = 0
        while not self._closing.wait(0.03):
            if request.path == "/film":
                request.wfile.write(self.film)
                continue
            _, jpeg = cv2.imencode(".jpg", drawn(number))
            head = f"--part\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            request.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")
            number += 1
