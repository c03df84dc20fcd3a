"""`sealtrace desk` in a process of its own, over an officers' site in this one."""

from __future__ import annotations

import os
import re
import signal
import subprocess

from officer_site import OfficerSite

from demo.processes import ending_with_us, sealtrace

ADDRESS = re.compile(r"(http://localhost:(\d+)/start\?token=\S+)")


class Desk:
    """The command in a process of its own."""

    def __init__(self, site: OfficerSite, officer: str, *options: str) -> None:
        self.process = subprocess.Popen(
            ending_with_us(sealtrace("desk", "--no-browser", *options)),
            env={**os.environ, "SEALTRACE_OFFICER": str(site.officer(officer))},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = ""

    def address(self) -> str:
        """Wait for a start address."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if found := ADDRESS.search(line):
                return found[1]
        raise AssertionError(self.said)

    def end(self) -> tuple[int, str]:
        """Press Ctrl-C; return the exit code and the rest of what was said."""
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate(timeout=30)
        return self.process.returncode, rest
