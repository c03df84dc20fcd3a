"""The edge agent as a process, and the field that it works in, for the tests of what it does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brokers import Embedded
from edge_brokers import Headquarters
from edge_site import DEADLINE_S, Opened, Site, wait_until

from demo.processes import ending_with_us, sealtrace

RUN = sealtrace("edge")
ENVIRONMENT = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}


class Process:
    """A running `sealtrace edge` and what it logs."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            ending_with_us([*RUN, *arguments]),
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT | dict(environment or {}),
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line)

    def events(self, name: str) -> list[dict[str, object]]:
        found = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return [event for event in found if event["event"] == name]

    def wait_event(self, name: str) -> dict[str, object]:
        wait_until(lambda: self.events(name) or self._process.poll() is not None, name)
        assert self.events(name), f"no {name} in:\n{''.join(self.lines)}"
        return self.events(name)[0]

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def end(self) -> int:
        code = self._process.wait(2 * DEADLINE_S)
        self._reader.join(60)
        return code

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True)
class Field:
    """Where a box works: its site, a broker, headquarters, a clip to look at, its own folder."""

    site: Site
    headquarters: Headquarters
    broker: Embedded
    clip: Path
    folder: Path
    bundle: str

    def config(self, *cameras: str, more: str = "") -> Path:
        path = self.folder / "box.toml"
        path.write_text(box_toml(self.site, self.bundle, more, self.broker.port, cameras))
        return path

    def recording(self, name: str, recorded_at: str = "") -> str:
        at = f"\nrecorded_at = {recorded_at}" if recorded_at else ""
        return f'name = "{name}"\nsource = "folder:{self.clip}?fps=10"\npace = "fast"{at}'

    def looping(self, name: str) -> str:
        return f'name = "{name}"\nsource = "folder:{self.clip}?fps=10"\nloop = true'

    def opened(self, camera: str) -> list[Opened]:
        return self.site.open(self.headquarters.payloads(camera), dimension=128)


def box_toml(site: Site, bundle: str, more: str, port: int, cameras: Sequence[str]) -> str:
    head = f"""
        site = "demo"
        box = "box-1"
        authority = "{site.authority.verify_key.raw.hex()}"
        directory = "{site.installed}"
        {bundle}
        health_s = 1
        {more}
        [mqtt]
        port = {port}
        [sealing]
        live_after_s = 0.2
        """
    return head + "".join(f"[[cameras]]\n{camera}\n" for camera in cameras)
