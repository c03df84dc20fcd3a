"""A site with its registrar served over real HTTPS in this process, and boxes' folders."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from provisioning.authority import SitePaths, SitePlan, create_site
from provisioning.box.firstboot import steps
from provisioning.box.firstboot.install import Folder
from provisioning.box.firstboot.keys import FileKeys
from provisioning.formats.claimfile import ClaimFile
from provisioning.registrar.api import make_app
from provisioning.registrar.config import RegistrarConfig
from provisioning.registrar.keys import open_keys
from provisioning.registrar.registrar import Registrar
from runtime.clock import system_ms
from runtime.config import load
from runtime.http import Ready, serve
from runtime.lifecycle import Stop

CAMERA = {"name": "door", "source": "rtsp://user:secret@10.0.0.7/s1"}


@dataclass(slots=True)
class Clock:
    """The service's clock: the machine's, moved by the test."""

    ahead_ms: int = 0

    def __call__(self) -> int:
        return system_ms() + self.ahead_ms

    def advance(self, *, minutes: int = 0, days: int = 0) -> None:
        self.ahead_ms += 60_000 * (minutes + 24 * 60 * days)


@dataclass(slots=True)
class RegistrarSite:
    """The site, its registrar, and a folder for each box."""

    paths: SitePaths
    passphrase: bytes
    boxes: Path
    clock: Clock = field(default_factory=Clock)
    registrar: Registrar = field(init=False)

    def __post_init__(self) -> None:
        self.registrar = self.open()

    @property
    def config(self) -> RegistrarConfig:
        return load(self.paths.registrar, RegistrarConfig)

    def open(self) -> Registrar:
        return Registrar(self.config, open_keys(self.config, self.passphrase), now_ms=self.clock)

    def claim(
        self, box: str = "box-7", cameras: Sequence[Mapping[str, object]] = (CAMERA,)
    ) -> Path:
        """Claim a box; return the claim file."""
        made = self.registrar.claim(box, cameras)
        path = self.boxes / f"{box}.claim.toml"
        path.parent.mkdir(exist_ok=True)
        made.write(path, overwrite=True)
        return path

    def begin(self, claim: Path, name: str = "box-7") -> tuple[Folder, ClaimFile, FileKeys]:
        """A box's own side, before it was admitted."""
        folder, read = steps.begin(self.boxes / name, claim)
        return folder, read, FileKeys(folder.path)

    def join(self, claim: Path, name: str = "box-7") -> Folder:
        """Join a box over HTTPS; return its folder."""
        folder, read, keys = self.begin(claim, name)
        steps.join(folder, read, keys)
        return folder


@contextmanager
def served(registrar: Registrar) -> Iterator[int]:
    """Serve the registrar on its configured port."""
    stop, ready = Stop(), Ready()
    config = registrar.config

    def run() -> None:
        serve(
            make_app(registrar),
            config.http.host,
            config.http.port,
            config.tls,
            stop,
            ready=ready,
            clients_may_be_unknown=True,
        )

    thread = threading.Thread(target=run, name="registrar")
    thread.start()
    try:
        yield ready.wait(60)
    finally:
        stop.set("the test is over")
        thread.join(60)


def make_site(
    plan: Callable[..., SitePlan], folder: Path, passphrase: bytes, *, port: int
) -> RegistrarSite:
    """Make a site whose registrar is to listen on ``port``."""
    paths = create_site(plan(registrar={"port": port}), folder / "site", passphrase)
    return RegistrarSite(paths, passphrase, folder / "boxes")


def copy_of(made: SitePaths, folder: Path, passphrase: bytes) -> RegistrarSite:
    """Return a site of the test's own, with the keys and the port of one that was made once."""
    root = shutil.copytree(made.root, folder / "site", symlinks=True)
    return RegistrarSite(SitePaths(Path(root)), passphrase, folder / "boxes")
