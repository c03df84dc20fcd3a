"""Where everything of a release repository lies: what mirrors may copy, and what they must not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_METADATA = re.compile(r"([1-9][0-9]{0,9})\.([a-z]+)\.json")


@dataclass(frozen=True, slots=True)
class ReleasePaths:
    """The folder that `sealtrace release init` makes."""

    folder: Path

    @property
    def public(self) -> Path:
        """What any static HTTPS server or mirror serves; nothing in it is secret."""
        return self.folder / "public"

    @property
    def metadata(self) -> Path:
        """Signed metadata: ``N.root.json``, ``N.targets.json``, ..., ``timestamp.json``."""
        return self.public / "metadata"

    @property
    def targets(self) -> Path:
        """The packages themselves, each under its SHA-256."""
        return self.public / "targets"

    @property
    def keys(self) -> Path:
        """Key files. Officers' and the targets key belong offline: on media of their own."""
        return self.folder / "keys"

    @property
    def staged_root(self) -> Path:
        """A root that waits for officers' signatures."""
        return self.folder / "staged-root.json"

    @property
    def trusted_root(self) -> Path:
        """The newest root in force: what a box gets when it is admitted."""
        return self.folder / "trusted-root.json"

    @property
    def timestamp(self) -> Path:
        """The one metadata file whose name has no version."""
        return self.metadata / "timestamp.json"

    def versioned(self, role: str, version: int) -> Path:
        """Return where version ``version`` of a role's metadata lies."""
        return self.metadata / f"{version}.{role}.json"

    def versions(self, role: str) -> list[int]:
        """Return the versions of a role's metadata that are here, oldest first."""
        names = (_METADATA.fullmatch(path.name) for path in self.metadata.glob(f"*.{role}.json"))
        return sorted(int(name[1]) for name in names if name and name[2] == role)

    def newest(self, role: str) -> int:
        """Return the highest version of a role's metadata here; 0 when there is none."""
        return max(self.versions(role), default=0)

    def role_key(self, role: str, key_id: str) -> Path:
        """Return where the key file of a role lies."""
        return self.keys / f"{role}-{key_id[:8]}.secret"

    def officer_key(self, name: str) -> Path:
        """Return where `init` puts an officer's key file when it makes one."""
        return self.keys / f"officer-{name}.secret"
