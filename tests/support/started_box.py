"""A flashed card in a box, without cloud-init and systemd: an ordinary process in a folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from stock_image import read_fat_file, unpack_fat_folder

from demo.processes import Service, run_command, sealtrace


class StartedBox:
    """A box in a folder: what cloud-init and systemd do with its card, done by hand.

    Args:
        card: what was flashed.
        folder: the machine; it is made.
        environment: that of the site's processes, of which a box gets nothing that is a secret.
        name: of the box.
    """

    def __init__(
        self, card: Path, folder: Path, environment: Mapping[str, str], *, name: str
    ) -> None:
        self.folder, self.name = folder, name
        self._environment = {
            key: value for key, value in environment.items() if not key.startswith("SEALTRACE")
        } | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        folder.mkdir()
        self.boot = folder / "boot"
        unpack_fat_folder(card, 1 << 20, "sealtrace", self.boot)
        self._user_data: dict[str, Any] = yaml.safe_load(read_fat_file(card, 1 << 20, "user-data"))
        for entry in self._user_data["write_files"]:
            path = self.path(entry["path"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(entry["content"])
            path.chmod(int(entry["permissions"], 8))
        command = folder / "sealtrace"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m sealtrace.command "$@"\n')
        systemctl = folder / "systemctl"
        systemctl.write_text(f'#!/bin/sh\necho "$@" >> {folder}/units\n')
        for program in (command, systemctl):
            program.chmod(0o755)

    def path(self, there: str) -> Path:
        """Where a path of the box's system is here."""
        return self.folder / "root" / there.lstrip("/")

    @property
    def config(self) -> Path:
        """The agent's configuration."""
        return self.path("/var/lib/sealtrace/box/box.toml")

    def first_boot(self, *, expect: int = 0) -> str:
        """Run the scripts that the card brought, as their units do; return what they say."""
        said = self._script("first-boot", expect)
        return said + (self._script("card", 0) if expect == 0 else "")

    def _script(self, name: str, expect: int) -> str:
        done = subprocess.run(
            [str(self.path(f"/usr/local/sbin/sealtrace-{name}"))],
            env={
                **self._environment,
                "SEALTRACE_ETC": str(self.path("/etc/sealtrace")),
                "SEALTRACE_VAR": str(self.path("/var/lib/sealtrace")),
                "SEALTRACE_BOOT": str(self.boot),
                "SEALTRACE_COMMAND": str(self.folder / "sealtrace"),
                "SEALTRACE_SYSTEMCTL": str(self.folder / "systemctl"),
                "SEALTRACE_USER": "",
                "SEALTRACE_SYSTEM_ETC": str(self.path("/etc")),
                "SEALTRACE_MOUNT": "true",
                "SEALTRACE_MOUNTS": "/dev/null",
                "SEALTRACE_CLOCK_WAIT_S": "0",
            },
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    def command(self, *arguments: str, expect: int = 0) -> str:
        """Run ``sealtrace ARGUMENTS`` on the box; return all that it printed."""
        done = run_command(
            [str(self.folder / "sealtrace"), *arguments],
            folder=self.folder,
            environment=self._environment,
            expect=expect,
        )
        return done.stdout + done.stderr

    def agent(self) -> Service:
        """The agent as its unit starts it."""
        unit = self.path("/etc/systemd/system/sealtrace-edge.service").read_text()
        line = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
        words = line.removeprefix("ExecStart=").split()
        assert words[0] == "/opt/sealtrace/bin/sealtrace"
        arguments = [str(self.path(w)) if w.startswith("/") else w for w in words[1:]]
        return Service(
            self.name,
            sealtrace(*arguments),
            self.config.parent,
            self.folder / "agent.log",
            self._environment,
        )
