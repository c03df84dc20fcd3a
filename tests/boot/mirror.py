"""A release repository for the box: its web server under the site's certificate, and releases.

A release is the agent's own wheel under a higher version; a bad one starts and tells its version,
as the box demands before it switches, and ends by an error as soon as it is to work.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import http.server
import io
import ssl
import threading
import zipfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from demo.ports import free_port
from runtime.errors import OperationError

if TYPE_CHECKING:
    from tests.boot.headquarters import Headquarters

OFFICERS = ("ana", "bo", "cy")
_BROKEN_IN = "edge_agent/outbox.py"
_BEGIN = b"from __future__ import annotations\n"
_BROKEN = b'raise RuntimeError("this release is broken on purpose")\n'


class Mirror:
    """The repository at headquarters and the server that boxes ask."""

    def __init__(self, hq: Headquarters, address: str) -> None:
        self._hq = hq
        self.folder = hq.folder / "releases"
        officers = [part for name in OFFICERS for part in ("--officer", name)]
        hq.command("release", "init", str(self.folder), *officers)
        self._port = free_port()
        self.url = f"https://{address}:{self._port}"
        self._server: http.server.ThreadingHTTPServer | None = None

    @property
    def root(self) -> Path:
        """What a box is given to trust."""
        return self.folder / "trusted-root.json"

    def start(self) -> None:
        """Serve what is public, in a thread called "mirror"."""
        tls = self._hq.site.folder("aggregator") / "tls"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls / "certificate.pem", tls / "private-key.pem")
        served = partial(_Quiet, directory=str(self.folder / "public"))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self._port), served)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, name="mirror", daemon=True).start()

    def stop(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def release(self, wheel: Path, version: str) -> None:
        """Add an agent and roll it out to every box."""
        folder = str(self.folder)
        self._hq.command("release", "add-agent", folder, str(wheel))
        self._hq.command(
            "release", "rollout", folder, "--kind", "agent", "--version", version, "--group", "all"
        )


def other_version(wheel: Path, version: str, folder: Path, *, broken: bool = False) -> Path:
    """Return a copy of our own wheel that calls itself ``version``."""
    old = wheel.name.split("-")[1]
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / wheel.name.replace(f"-{old}-", f"-{version}-")
    infos = (f"sealtrace-{old}.dist-info/", f"sealtrace-{version}.dist-info/")
    record, listed = [], f"{infos[1]}RECORD"
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as out:
        for item in source.infolist():
            name, data = item.filename.replace(*infos), source.read(item)
            if name == listed:
                continue
            if name.endswith("/METADATA"):
                data = _put(data, f"Version: {old}\n".encode(), f"Version: {version}\n".encode())
            if broken and name == _BROKEN_IN:
                data = _put(data, _BEGIN, _BEGIN + _BROKEN)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append((name, f"sha256={digest}", str(len(data))))
            out.writestr(name, data)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*record, (listed, "", "")])
        out.writestr(listed, text.getvalue())
    return made


def _put(data: bytes, old: bytes, new: bytes) -> bytes:
    if old not in data:
        raise OperationError(f"our own wheel has no {old.decode()!r} where it was looked for")
    return data.replace(old, new, 1)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing of each request."""

    def log_message(self, format: str, *args: object) -> None:
        del format, args
