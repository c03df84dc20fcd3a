"""A machine that boots a card: qemu with UEFI firmware, its cable, its power switch, its console.

The firmware, the shim, GRUB and the kernel are the distribution's; nothing is given to the kernel
from outside. By KVM where that works, else by TCG, with six times the patience. What the
guest is asked it is asked over SSH, as an installer would; that is looking, not setting up.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from demo.processes import ProcessFailed, ending_with_us
from runtime.errors import OperationError
from tests.boot.tpm import SoftwareTpm

_FIRMWARE = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
)
PATIENCE_WITH_TCG = 6.0
_POLL_S, _PROBE_S = 0.2, 15.0
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class GuestFailed(OperationError):
    """The guest did not do what was waited for; the console says what it did."""


@cache
def kvm_works() -> bool:
    """Whether the processor's virtualisation can be used and runs the firmware.

    Having the device is not enough: where this machine is itself a guest, KVM may be one that runs
    kernels made for it alone. So the firmware is started on nothing, and must say something.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    code, variables = next(pair for pair in _FIRMWARE if Path(pair[0]).exists())
    with tempfile.TemporaryDirectory(prefix="sealtrace-kvm-") as folder:
        memory, said = Path(folder, "firmware.fd"), Path(folder, "console")
        shutil.copyfile(variables, memory)
        command = [
            "qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", "q35,accel=kvm",
            "-cpu", "host", "-m", "256", "-serial", f"file:{said}",
            "-drive", f"if=pflash,format=raw,readonly=on,file={code}",
            "-drive", f"if=pflash,format=raw,file={memory}",
        ]  # fmt: skip
        with subprocess.Popen(
            ending_with_us(command), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as tried:
            deadline = time.monotonic() + _PROBE_S
            while tried.poll() is None and time.monotonic() < deadline:
                if said.exists() and said.stat().st_size:
                    break
                time.sleep(_POLL_S)
            tried.kill()
        return said.exists() and said.stat().st_size > 0


def missing_parts() -> list[str]:
    """Return what a guest needs and is not here, as packages of Debian."""
    found = []
    if shutil.which("qemu-system-x86_64") is None:
        found.append("qemu-system-x86")
    if not any(Path(code).exists() for code, _ in _FIRMWARE):
        found.append("ovmf")
    if shutil.which("ssh") is None:
        found.append("openssh-client")
    return found


@dataclass(slots=True)
class Guest:
    """One machine and its card; started and cut off as often as one likes.

    Attributes:
        name: what its files here are called.
        card: the disk that it boots from, raw.
        folder: where its firmware's memory and sockets lie.
        evidence: where its consoles are kept, one file a boot.
        ssh_key: private key of who may look.
        ssh_port: port of loopback that leads to its SSH.
        tpm: a TPM by software; None: it has none.
        cpus: processors, each of which takes a core of this machine by TCG.
        boots: how often it was switched on.
    """

    name: str
    card: Path
    folder: Path
    evidence: Path
    ssh_key: Path
    ssh_port: int
    tpm: SoftwareTpm | None = None
    boots: int = 0
    cpus: int = 1
    memory_mib: int = 1800
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _on_since: float = field(default=0.0, init=False)

    @property
    def console(self) -> Path:
        """The serial console of the present or last boot."""
        return self.evidence / f"{self.name}-boot-{self.boots}.console"

    @property
    def patience(self) -> float:
        """By what deadlines are multiplied."""
        return 1.0 if kvm_works() else PATIENCE_WITH_TCG

    @property
    def on_for_s(self) -> float:
        """Seconds since it was switched on."""
        return time.monotonic() - self._on_since

    @property
    def running(self) -> bool:
        """Whether it is on."""
        return self.process is not None and self.process.poll() is None

    def switch_on(self, *, cable: bool = True) -> None:
        """Give it power; it boots. Without ``cable`` its network has no link from the start."""
        if self.running:
            raise GuestFailed(f"{self.name} runs already")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.boots += 1
        self._monitor_path.unlink(missing_ok=True)
        if self.tpm is not None:
            self.tpm.have_it_run()
        with (self.evidence / f"{self.name}-qemu.log").open("ab") as log:
            self.process = subprocess.Popen(
                ending_with_us(self._command()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._on_since = time.monotonic()
        if not cable:
            self.plug(cable=False)
        self._monitor("cont")

    def cut_power(self) -> None:
        """End it as a power cut does: nothing in it hears of it.

        What it had handed to its disk stays (the host keeps that); a card that loses such writes
        is not tried by this.
        """
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def shut_down(self, timeout_s: float = 60.0) -> None:
        """Press its button; it goes down by itself.

        Raises:
            GuestFailed: it does not, in time; it is cut off then.
        """
        self._monitor("system_powerdown")
        if self.process is None:
            return
        try:
            self.process.wait(timeout_s * self.patience)
        except subprocess.TimeoutExpired:
            self.cut_power()
            raise GuestFailed(f"{self.name} did not shut down:\n{self.tail()}") from None

    def plug(self, *, cable: bool) -> None:
        """Pull its cable out, or put it in."""
        self._monitor("set_link", name="net0", up=cable)

    def says(self) -> str:
        """What its console has said in this boot, without colours."""
        with suppress(FileNotFoundError):
            return _COLOURS.sub("", self.console.read_bytes().decode("utf-8", "replace"))
        return ""

    def tail(self, lines: int = 12) -> str:
        """The last lines of the console."""
        return "\n".join(self.says().replace("\r", "").splitlines()[-lines:])

    def wait_says(self, text: str, timeout_s: float) -> float:
        """Wait until the console says something; return the seconds since it was switched on.

        Raises:
            GuestFailed: it does not say so, or ended.
        """
        self.wait(lambda: text in self.says(), f"'{text}' on its console", timeout_s)
        return self.on_for_s

    def wait(self, ready: Callable[[], object], what: str, timeout_s: float) -> None:
        """Wait for something of this guest.

        Raises:
            GuestFailed: it does not come in time, or the machine ended.
        """
        deadline = time.monotonic() + timeout_s * self.patience
        while not ready():
            if not self.running:
                raise GuestFailed(f"{self.name} ended before {what}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise GuestFailed(
                    f"no {what} within {timeout_s * self.patience:.0f} s:\n{self.tail()}"
                )
            time.sleep(_POLL_S)

    def ask(self, command: str, *, timeout_s: float = 60.0) -> str:
        """Run a command in it as the installer, by SSH, with sudo; return what it prints.

        Raises:
            ProcessFailed: it cannot be reached, or the command fails.
        """
        done = self._ssh(command, timeout_s * self.patience)
        if done.returncode:
            raise ProcessFailed(f"{self.name}: {command}: {done.stdout}{done.stderr}".strip())
        return done.stdout

    def wait_reachable(self, timeout_s: float = 120.0) -> None:
        """Wait until it lets the installer in by SSH.

        Raises:
            GuestFailed: it does not.
        """
        self.wait(lambda: self._ssh("true", 20.0).returncode == 0, "login by SSH", timeout_s)

    def _ssh(self, command: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        words = [
            "ssh", "-i", str(self.ssh_key), "-p", str(self.ssh_port), "-F", "none", "-q",
            "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes",
            "installer@127.0.0.1", f"sudo sh -c {_quoted(command)}",
        ]  # fmt: skip
        try:
            return subprocess.run(
                words, capture_output=True, text=True, timeout=timeout_s, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(words, 255, "", f"no answer in {timeout_s:.0f} s")

    @property
    def _monitor_path(self) -> Path:
        return self.folder / "qmp"

    def _monitor(self, command: str, **arguments: object) -> None:
        """Tell qemu something (QMP), as soon as it listens."""
        deadline = time.monotonic() + 20.0
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(20.0)
            while line.connect_ex(str(self._monitor_path)):
                if not self.running or time.monotonic() > deadline:
                    log = self.evidence / f"{self.name}-qemu.log"
                    said = log.read_text()[-500:] if log.exists() else ""
                    raise GuestFailed(f"qemu does not answer: {said}")
                time.sleep(0.05)
            with line.makefile("rwb") as talk:
                talk.readline()
                for name, values in (("qmp_capabilities", {}), (command, arguments)):
                    order = {"execute": name, "arguments": values}
                    talk.write(json.dumps(order).encode() + b"\n")
                    talk.flush()
                    while "return" not in (
                        answer := json.loads(talk.readline() or b'{"return":0}')
                    ):
                        if "error" in answer:
                            raise GuestFailed(f"qemu: {answer['error']['desc']}")

    def _command(self) -> list[str]:
        code, variables = next(pair for pair in _FIRMWARE if Path(pair[0]).exists())
        memory = self.folder / "firmware.fd"
        if not memory.exists():
            shutil.copyfile(variables, memory)
        kvm = kvm_works()
        command = [
            "qemu-system-x86_64", "-name", self.name, "-nodefaults", "-display", "none", "-S",
            "-machine", "q35", "-accel", "kvm" if kvm else "tcg,thread=multi,tb-size=512",
            "-cpu", "host" if kvm else "max,la57=off",
            "-smp", str(self.cpus), "-m", str(self.memory_mib),
            "-drive", f"if=pflash,format=raw,readonly=on,file={code}",
            "-drive", f"if=pflash,format=raw,file={memory}",
            "-drive", f"if=virtio,format=raw,discard=unmap,file={self.card}",
            "-netdev", f"user,id=user0,hostfwd=tcp:127.0.0.1:{self.ssh_port}-:22",
            "-device", "virtio-net-pci,id=net0,netdev=user0",
            "-device", "virtio-rng-pci",
            "-chardev", f"file,id=console,path={self.console}",
            "-serial", "chardev:console",
            "-qmp", f"unix:{self._monitor_path},server=on,wait=off",
        ]  # fmt: skip
        if self.tpm is not None:
            command += [
                "-chardev", f"socket,id=tpm,path={self.tpm.socket}",
                "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0",
            ]  # fmt: skip
        return command


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
