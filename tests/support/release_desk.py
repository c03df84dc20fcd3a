"""A release desk and a box for tests: signed bundles, wheels, a mirror, a service that can be ill.

Keys cost next to nothing to open; nothing is mocked: the same code runs as at headquarters.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from provisioning.box.updates.update import BoxUpdater
from provisioning.box.updates.update_config import UpdatesConfig
from provisioning.fleet.releases import root
from provisioning.fleet.releases.keys import Passphrases
from provisioning.fleet.releases.repository import ReleaseRepository
from provisioning.formats.releases import packages
from runtime.bundle import Manifest, ModelEntry, write_manifest
from runtime.keyfiles import Cost

COST = Cost(memory_kib=64)
AUTHORITY_SEED = bytes(range(32))
AUTHORITY = Ed25519PrivateKey.from_private_bytes(AUTHORITY_SEED).public_key().public_bytes_raw()


def make_bundle(folder: Path, content: bytes, seed: bytes = AUTHORITY_SEED) -> Path:
    """A signed bundle of one "model" with that content."""
    folder.mkdir(parents=True)
    (folder / "face.bin").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    entry = ModelEntry(
        role="face_detector",
        name="face",
        model_id=f"face@{digest[:8]}",
        file="face.bin",
        sha256=digest,
        size=len(content),
        engine="yunet",
        licence="none",
        upstream="made by a test",
    )
    write_manifest(folder, Manifest(name="test", version="1", models=(entry,)), seed)
    return folder


def make_wheel(folder: Path, version: str, *, state: str = "good", starts: bool = True) -> Path:
    """A wheel called sealtrace that does no more than tell its version."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"sealtrace-{version}-py3-none-any.whl"
    info = f"sealtrace-{version}.dist-info"
    command = f"print('sealtrace {version}')\n" if starts else "raise SystemExit('broken wheel')\n"
    files = {
        "provisioning/__init__.py": "",
        "sealtrace/command.py": command,
        "agent_state.txt": state,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: sealtrace\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (files | {f"{info}/RECORD": record}).items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return path


class Desk:
    """Headquarters' release desk in a folder of its own."""

    def __init__(
        self, folder: Path, *, now: Callable[[], datetime] | None = None, **plan: Any
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        secret = folder / "passphrase"
        secret.write_text("four words for tests\n")
        self.passphrases = Passphrases({"": secret}, cost=COST)
        self.now = now
        self.path = folder / "releases"
        officers = plan.pop("officers", {"ana": None, "bo": None, "cy": None})
        self.made = root.create(
            self.path, root.InitPlan(officers=officers, **plan), self.passphrases, now=now
        )
        self._count = 0

    @property
    def repository(self) -> ReleaseRepository:
        """The repository, opened anew."""
        return ReleaseRepository(self.path, self.passphrases, now=self.now)

    @property
    def trusted_root(self) -> bytes:
        """What a box admitted now is given."""
        return self.repository.paths.trusted_root.read_bytes()

    def bundle(self, content: str, seed: bytes = AUTHORITY_SEED) -> Path:
        """A new signed bundle folder."""
        self._count += 1
        return make_bundle(self.folder / f"bundle-{self._count}", content.encode(), seed)

    def models(self, content: str, group: str | None = "all", seed: bytes = AUTHORITY_SEED) -> str:
        """Release a bundle, roll it out to ``group`` and return its version."""
        key = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        package = packages.bundle_package(self.bundle(content, seed), [key])
        self.repository.add(package)
        if group is not None:
            self.repository.roll_out("models", package.version, group)
        return package.version

    def agent(self, version: str, group: str | None = "all", **wheel: Any) -> str:
        """Release an agent, roll it out to ``group`` and return its version."""
        self._count += 1
        path = make_wheel(self.folder / f"dist-{self._count}", version, **wheel)
        self.repository.add(packages.agent_package([path]))
        if group is not None:
            self.repository.roll_out("agent", version, group)
        return version

    def copy_to(self, mirror: Path) -> Path:
        """Make ``mirror`` a copy of what is public now."""
        shutil.rmtree(mirror, ignore_errors=True)
        return Path(shutil.copytree(self.repository.paths.public, mirror))

    def officer_key(self, name: str) -> Path:
        """An officer's key file."""
        return self.repository.paths.officer_key(name)


_RESTART = """
cd "$(dirname "$0")"
models=- agent=-
test -e bundles/current && models=$(cat bundles/current/face.bin)
test -e agents/current && agent=$(cat agents/current/agent_state.txt)
echo "$models $agent" >> starts.txt
"""
_HEALTH = """
cd "$(dirname "$0")"
last=$(tail -n 1 starts.txt)
case "$last" in *bad*) echo "it is ill: $last"; exit 1;; esac
"""


class Box:
    """A box with a service that notes each start, and is ill with what calls itself bad."""

    def __init__(self, folder: Path, desk_or_url: Desk | str, root_data: bytes, **changed: Any):
        self.folder = folder
        folder.mkdir(parents=True)
        (folder / "trusted-root.json").write_bytes(root_data)
        (folder / "restart.sh").write_text(_RESTART)
        (folder / "health.sh").write_text(_HEALTH)
        url = desk_or_url
        if isinstance(url, Desk):
            url = url.repository.paths.public.as_uri()
        service = {
            "restart": ("sh", str(folder / "restart.sh")),
            "health": ("sh", str(folder / "health.sh")),
            "deadline_s": 0.7,
            "interval_s": 0.01,
            "times": 1,
        } | changed.pop("service", {})
        values = {
            "repository": url,
            "root": folder / "trusted-root.json",
            "authority": AUTHORITY.hex(),
            "state_dir": folder / "updates",
            "bundles": folder / "bundles",
            "agents": folder / "agents",
            "service": service,
        } | changed
        self.config = UpdatesConfig.model_validate(values)

    def updater(
        self,
        on_step: Callable[[str], None] = lambda _step: None,
        now: datetime | None = None,
    ) -> BoxUpdater:
        """One run."""
        return BoxUpdater(self.config, on_step=on_step, now=lambda: now or datetime.now(UTC))

    @property
    def starts(self) -> list[str]:
        """What ran at each start: models and agent."""
        path = self.folder / "starts.txt"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def runs(self) -> str | None:
        """Content of the model that is current."""
        path = self.folder / "bundles" / "current" / "face.bin"
        return path.read_text() if path.exists() else None
