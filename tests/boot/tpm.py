"""A TPM 2.0 by software (swtpm), for as long as the machine that it is in."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from demo.processes import ProcessFailed, Service
from runtime.errors import OperationError


class SoftwareTpm:
    """What it keeps lies in a folder. Qemu ends it when its machine is shut down: it begins anew.

    Args:
        folder: its own, made here.
        log: where what it says goes.

    Raises:
        OperationError: swtpm is not installed.
    """

    def __init__(self, folder: Path, log: Path) -> None:
        if shutil.which("swtpm") is None:
            raise OperationError("swtpm is not installed here; install it: apt install swtpm")
        folder.mkdir(parents=True)
        self.socket = folder / "socket"
        self._service = Service(
            "tpm",
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}", "--ctrl",
             f"type=unixio,path={self.socket}"],
            folder, log, {"PATH": os.environ["PATH"]},
        )  # fmt: skip

    def have_it_run(self) -> None:
        """Start it unless it runs.

        Raises:
            ProcessFailed: it does not start.
        """
        if self._service.running:
            return
        self.socket.unlink(missing_ok=True)
        self._service.start()
        deadline = time.monotonic() + 10
        while not self.socket.exists():
            if time.monotonic() > deadline or not self._service.running:
                raise ProcessFailed(f"swtpm did not start: {self._service.tail()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it; what it keeps stays."""
        self._service.stop()
