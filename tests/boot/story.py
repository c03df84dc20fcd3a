"""What is done to one box, from its blank card to its end; each step says what it saw.

Steps that others stand on end the story when they fail; others are told and the story goes on.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from demo.ports import free_port
from protocol.telemetry import ONLINE
from provisioning.formats.claimfile import load_claim
from tests.boot import disk
from tests.boot.guest import Guest, GuestFailed
from tests.boot.headquarters import ADDRESS, Headquarters
from tests.boot.mirror import Mirror, other_version
from tests.boot.stock import Stock
from tests.boot.tpm import SoftwareTpm

CARD_BYTES = 4 << 30
INSTALLING = "installing the software"
ASKING = "asking to be admitted"
RUNS = "this box is admitted and its agent runs"
EDGE = "sealtrace-edge.service"
WARM_WITHIN_S = 60.0
REVOKED = 3
COUNTS_OUTBOX = (
    "import glob, sqlite3; "
    "(found,) = glob.glob('/var/lib/sealtrace/**/outbox.sqlite', recursive=True); "
    "outbox = sqlite3.connect('file:' + found + '?mode=ro', uri=True); "
    "print(outbox.execute('SELECT count(*) FROM message').fetchone()[0])"
)


class Broken(AssertionError):
    """A promise did not hold."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its name, what it does (returns what it saw), whether the others stand on it."""

    name: str
    act: Callable[[], str]
    needed: bool = False


@dataclass(slots=True)
class Story:
    """A box of one release of Debian."""

    box: str
    stock: Stock
    wheels: Path
    hq: Headquarters
    mirror: Mirror
    folder: Path
    evidence: Path
    tpm: SoftwareTpm | None = None
    cpus: int = 1
    guest: Guest = field(init=False)
    claim: str = field(init=False, default="")

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        key = self.folder / "installer"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        self.guest = Guest(
            self.box, self.folder / f"{self.box}.card", self.folder, self.evidence, key,
            free_port(), self.tpm, cpus=self.cpus,
        )  # fmt: skip

    @property
    def cameras(self) -> list[str]:
        """The names of its cameras."""
        return list(self.hq.cameras(self.box))

    # ------------------------------------------------------------------ the steps

    def whole(self) -> Iterator[Step]:
        """Yield every step, in order."""
        yield Step("card", self.make_card, needed=True)
        yield Step("cut while the software is installed", self.cut_while_installing)
        yield from self.from_admission()
        yield Step("camera away and back", self.camera_restarts)
        yield Step("cut with a full outbox, boot without the cable", self.cut_with_full_outbox)
        yield Step("clean reboot", self.reboot)
        yield Step("release forward", self.release_forward)
        yield Step("bad release comes back", self.release_back)
        yield Step("revocation", self.revoke)
        yield Step("no claim, no password on the disk", self.nothing_left)

    def short(self) -> Iterator[Step]:
        """Yield what every variant shows: from the card to sightings, and a clean reboot."""
        yield Step("card", self.make_card, needed=True)
        yield Step("cut while it asks to be admitted", self.cut_while_admitted)
        yield from self.from_admission()
        yield Step("clean reboot", self.reboot)
        yield Step("no claim, no password on the disk", self.nothing_left)

    def from_admission(self) -> Iterator[Step]:
        """Yield the steps from the first boot to sightings."""
        yield Step("admission", self.admitted, needed=True)
        yield Step("what the cameras see arrives", self.messages)
        if self.tpm is not None:
            yield Step("keys in the TPM", self.keys_in_tpm)
        yield Step("hardening", self.hardening)
        yield Step("the system is well", self.system_is_well)

    # ------------------------------------------------------------------ first boot

    def make_card(self) -> str:
        """Claim, sign, build, flash to a file; the card is larger than the image, as cards are."""
        hq, out = self.hq, self.folder / f"{self.box}.img"
        claim = hq.claim(self.box)
        self.claim = load_claim(claim).claim
        hq.command("image", "sign", hq.root, "--wheels", str(self.wheels))
        options = [
            f"--camera={n}={source}" for n, source in hq.cameras(self.box, login=True).items()
        ]
        hq.command(
            "image", "build", "--base", str(self.stock.image), "--box", self.box,
            "--claim", str(claim), "--sha256", self.stock.sha256, "--wheels", str(self.wheels),
            "--models", str(hq.site.local.paths.models), "--ntp", ADDRESS,
            "--ssh-key", f"{self.guest.ssh_key}.pub", "--releases", self.mirror.url,
            "--releases-root", str(self.mirror.root), "--out", str(out), *options,
        )  # fmt: skip
        hq.command("flash", "--image", str(out), "--file", str(self.guest.card))
        size = out.stat().st_size
        out.unlink()
        with self.guest.card.open("r+b") as card:
            card.truncate(CARD_BYTES)
        wheels = len(list(self.wheels.glob("*.whl")))
        return f"Debian {self.stock.suite}, {wheels} wheels, image of {size / 1e6:.0f} MB"

    def cut_while_installing(self) -> str:
        """Cut the power some seconds into the installation."""
        self.guest.switch_on()
        began = self.guest.wait_says(INSTALLING, 240)
        time.sleep(6 * self.guest.patience)  # anywhere in the midst of it
        self._must(ASKING not in self.guest.says(), "the installation was over already")
        self.guest.cut_power()
        return f"began {began:.0f} s after power on; cut 6 s later"

    def cut_while_admitted(self) -> str:
        """Cut the power as soon as it asks to be admitted."""
        self.guest.switch_on()
        asked = self.guest.wait_says(ASKING, 600)
        self.guest.cut_power()
        self._must(RUNS not in self.guest.says(), "it was admitted already")
        return f"began anew, asked {asked:.0f} s after power on; cut at once"

    def admitted(self) -> str:
        """Boot with no hand in the guest, to the agent that headquarters hears."""
        if not self.guest.running:
            self.guest.switch_on()
        asked = self.guest.wait_says(ASKING, 600)
        done = self.guest.wait_says(RUNS, 240)
        self.guest.wait(self._online, f"word of {self.box} at headquarters", 120)
        listed = self.hq.command("box", "list", self.hq.root, "--live")
        self._must(self.box in listed and "online" in listed, f"box list says: {listed}")
        return (
            f"asked {asked:.0f} s after power on, its agent ran at {done:.0f} s, "
            f"heard at {self.guest.on_for_s:.0f} s"
        )

    def messages(self) -> str:
        """See that both cameras are read and their sealed messages arrive, whole.

        A machine that is translated looks at a picture a minute and can follow nobody; a steady
        cover has messages leave with or without somebody in them.
        """
        for name in self.cameras:
            self._arrive(name, len(self.hq.stored(name)) + 3)
        frames = [self._figure(f"camera.{name}.read") for name in self.cameras]
        self._must(all(frames), f"frames read of the cameras: {frames}")
        read = " and ".join(f"{count:.0f}" for count in frames)
        return f"{read} frames read; {self._whole()}"

    def keys_in_tpm(self) -> str:
        """See that the disk holds only what this very TPM unseals."""
        self.guest.wait_reachable()
        box = "/var/lib/sealtrace/box"
        there = self.guest.ask(
            f"ls {box} {box}/tls /run/sealtrace; findmnt -no FSTYPE /run"
        ).split()
        self._must("identity.tpm" in there and "private-key.tpm" in there, f"there: {there}")
        kept = self.guest.ask(f"ls {box}/identity.key {box}/tls/private-key.pem || true").strip()
        self._must(not kept, f"plain keys on the disk: {kept}")
        self._must(there[-1] == "tmpfs", "/run is on a disk")
        return "sealed on the disk, open in memory alone"

    def hardening(self) -> str:
        """Look at the agent as the kernel sees it."""
        self.guest.wait_reachable()
        self.guest.wait(self._agent_runs, "the agent", 240)
        pid = self._show("MainPID")
        status = self.guest.ask(f"cat /proc/{pid}/status")

        def of(name: str) -> str:
            found = re.search(rf"^{name}:\s*(.*)$", status, re.MULTILINE)
            return found[1].strip() if found else ""

        user = self.guest.ask(f"stat -c %U /proc/{pid}").strip()
        mounts = self.guest.ask(f"cat /proc/{pid}/mounts").splitlines()
        root = next(line.split()[3] for line in mounts if line.split()[1] == "/")
        self._must(user == "sealtrace", f"the agent runs as {user}")
        self._must(int(of("CapEff"), 16) == 0 == int(of("CapBnd"), 16), "it has capabilities")
        self._must(of("NoNewPrivs") == "1" and of("Seccomp") == "2", "no filter of system calls")
        self._must("ro" in root.split(","), f"/ is mounted {root} for it")
        said = self.guest.ask(f"systemd-analyze security --no-pager {EDGE} | tail -n 1").strip()
        score = re.search(r"[0-9.]+ [A-Z]+", said)
        return f"user {user}, no capabilities, / read-only, systemd-analyze: {score and score[0]}"

    def system_is_well(self) -> str:
        """No unit failed, cloud-init ended well, the clock is set, no key is readable by others."""
        failed = self.guest.ask("systemctl --failed --plain --no-legend | cut -d' ' -f1").split()
        said = self.guest.ask("cloud-init status --long --format json || true")
        cloud = json.loads(said)
        self._must(cloud["status"] in {"done", "disabled"}, f"cloud-init: {said}")
        self._must(not failed, f"failed: {', '.join(failed)}")
        synchronised = self.guest.ask("timedatectl show -p NTPSynchronized --value").strip()
        loose = self.guest.ask("find /var/lib/sealtrace /etc/sealtrace -perm /o+r -name '*.key'")
        self._must(not loose.strip(), f"readable by all: {loose}")
        return f"no unit failed, cloud-init {cloud['status']}, clock set by NTP: {synchronised}"

    # ------------------------------------------------------------------ what happens to boxes

    def cut_with_full_outbox(self) -> str:
        """Let messages wait, cut the power, boot with no cable; put it in, and none is missing."""
        self.guest.wait_reachable()
        before = {name: len(self.hq.stored(name)) for name in self.cameras}
        with self.hq.site.without("broker"):
            self.guest.wait(lambda: self._waiting() >= 6, "messages that wait", 120)
            waiting = self._waiting()
            self.guest.cut_power()
        self.guest.switch_on(cable=False)
        self.guest.wait_says("login:", 240)
        time.sleep(15 * self.guest.patience)  # its console tells of no unit from here on
        plugged = self.guest.on_for_s
        self.guest.plug(cable=True)
        self.guest.wait_reachable(180)
        up = self._agent_up_s()
        since_kernel = float(self.guest.ask("cut -d' ' -f1 /proc/uptime"))
        plugged -= self.guest.on_for_s - since_kernel
        self._must(up < plugged, f"up {up:.0f} s after kernel start, the cable {plugged:.0f} s")
        for name in self.cameras:
            self._arrive(name, before[name] + 3)
        self.guest.wait(lambda: self._waiting() <= 2, "an empty outbox", 120)
        return (
            f"{waiting} messages waited; agent up {up:.0f} s after kernel start, cable put in at "
            f"{plugged:.0f} s; {self._whole()}{self._in_time(up)}"
        )

    def camera_restarts(self) -> str:
        """End the camera, start it again; both streams come back by themselves."""
        self.hq.camera.kill()
        time.sleep(5)
        self.hq.camera.start()
        self.hq.camera.wait_ready()
        began = time.monotonic()
        counts = {name: len(self.hq.stored(name)) for name in self.cameras}
        for name in self.cameras:
            self._arrive(name, counts[name] + 2)
        return f"gone for 5 s; both streams were seen again after {time.monotonic() - began:.0f} s"

    def reboot(self) -> str:
        """Shut down by its button, look at the disk, boot again to the agent."""
        self.guest.shut_down()
        root, boot = disk.is_clean(self.guest.card)
        self._must(root, "the root file system was not unmounted")
        self._must(boot, "the EFI partition was not unmounted")
        self.guest.switch_on()
        self.guest.wait_reachable(180)
        up = self._agent_up_s()
        self.guest.wait(self._online, f"word of {self.box} at headquarters", 120)
        return f"file systems clean; agent up {up:.0f} s after kernel start{self._in_time(up)}"

    # ------------------------------------------------------------------ releases

    def release_forward(self) -> str:
        """Release a higher version; the box runs it."""
        self.guest.wait_reachable()
        return self._release("0.1.1", broken=False)

    def release_back(self) -> str:
        """Release one whose agent ends by an error; the box goes back by itself."""
        return self._release("0.1.2", broken=True)

    def _release(self, version: str, *, broken: bool) -> str:
        own = next(self.wheels.glob("sealtrace-*.whl"))
        wheel = other_version(own, version, self.hq.folder / "dist", broken=broken)
        self.mirror.release(wheel, version)
        began = time.monotonic()
        self.guest.ask("systemctl start sealtrace-update.service || true", timeout_s=400)
        state = json.loads(
            self.guest.ask("/opt/sealtrace/bin/sealtrace release status --json"
                           " --config /etc/sealtrace/updates.toml")
        )["report"]  # fmt: skip
        running = state["running"].get("agent")
        wanted = "rolled-back" if broken else "updated"
        self._must(state["result"] == wanted, f"the box says {state}")
        self._must((running == version) != broken, f"the box runs {running}")
        self.guest.wait(self._agent_runs, "the agent", 60)
        counts = {name: len(self.hq.stored(name)) for name in self.cameras}
        for name in self.cameras:
            self._arrive(name, counts[name] + 1)
        return (
            f"{version}: {state['result']} in {time.monotonic() - began:.0f} s, runs {running}; "
            f"{self._whole()}"
        )

    # ------------------------------------------------------------------ the end

    def nothing_left(self) -> str:
        """Shut the box down and look for what must not be on its whole disk."""
        if self.guest.running:
            self.guest.shut_down()
        secrets = {
            "claim": self.claim.encode(),
            "claim in bytes": bytes.fromhex(self.claim),
            "camera's password": self.hq.password.encode(),
        }
        places = disk.search(self.guest.card, secrets)
        allowed = {"camera's password": "/var/lib/sealtrace/box/"}  # the agent opens them by it
        wrong = [
            place for place in places
            if place.what not in allowed or not place.file.startswith(allowed[place.what])
        ]  # fmt: skip
        told = ", ".join(f"{p.what} at {p.at} ({p.file})" for p in wrong[:6])
        self._must(not wrong, f"{len(wrong)} found: {told}")
        kept = sorted({place.file for place in places})
        size = self.guest.card.stat().st_size >> 20
        return f"{size} MiB searched; passwords of cameras in {', '.join(kept) or 'no file'} alone"

    def revoke(self) -> str:
        """Revoke the running box; its agent ends for good and nobody calls it online."""
        if not self.guest.running:
            self.guest.switch_on()
        self.guest.wait_reachable(180)
        self.guest.wait(self._agent_runs, "the agent", 120)
        self.guest.wait(self._online, f"word of {self.box} at headquarters", 60)
        began = time.monotonic()
        self.hq.command("box", "revoke", self.hq.root, self.box)
        listed = self.hq.command("box", "list", self.hq.root, "--live")
        line = next(line for line in listed.splitlines() if line.startswith(self.box))
        self._must("online" not in line, f"box list says: {line}")
        ended = {"inactive", "failed"}  # it takes leave of the broker first
        self.guest.wait(lambda: self._show("ActiveState") in ended, "end of the agent", 60)
        took = time.monotonic() - began
        code = self._show("ExecMainStatus")
        self._must(code == str(REVOKED), f"the agent ended with {code}")
        seen = self.hq.seen(self.box)
        self._must(bool(seen and seen["revoked"]), "headquarters do not know")
        return f"nobody calls it online; its agent ended {took:.0f} s later with exit code {code}"

    # ------------------------------------------------------------------ looking

    def _must(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise Broken(otherwise)

    def _show(self, name: str) -> str:
        return self.guest.ask(f"systemctl show {EDGE} -p {name} --value").strip()

    def _agent_runs(self) -> bool:
        return self._show("ActiveState") == "active"

    def _agent_up_s(self) -> float:
        """Seconds from the start of the kernel until the agent was ready."""
        self.guest.wait(self._agent_runs, "the agent", 240)
        return int(self._show("ActiveEnterTimestampMonotonic")) / 1e6

    def _in_time(self, up_s: float) -> str:
        """Check that the agent was up in time, and say how much time it was given."""
        limit = WARM_WITHIN_S * self.guest.patience
        self._must(up_s < limit, f"the agent was up {up_s:.0f} s after kernel start")
        return "" if limit == WARM_WITHIN_S else f" (of {limit:.0f} s by TCG)"

    def _waiting(self) -> int:
        """How many messages wait: as `edge status` says, which TCG takes a minute to start."""
        return int(self.guest.ask(f'/usr/bin/python3 -I -c "{COUNTS_OUTBOX}"'))

    def _online(self) -> bool:
        seen = self.hq.seen(self.box)
        return bool(seen and seen["state"] == ONLINE)

    def _figure(self, name: str) -> float:
        """A figure of its last report."""
        seen = self.hq.seen(self.box)
        return float(seen["figures"].get(name, 0)) if seen else 0.0

    def _arrive(self, camera: str, count: int) -> None:
        def there() -> bool:
            return len(self.hq.stored(camera)) >= count and self.hq.gapless(camera)

        try:
            self.guest.wait(there, f"{count} messages of {camera} without a gap", 150)
        except GuestFailed as error:
            raise Broken(f"{error}; in store: {self.hq.stored(camera)[-20:]}") from None

    def _whole(self) -> str:
        counts = [f"{len(self.hq.stored(name))} of {name}" for name in self.cameras]
        gaps = [name for name in self.cameras if not self.hq.gapless(name)]
        self._must(not gaps, f"gaps in {', '.join(gaps)}")
        return f"{', '.join(counts)} in store, no gap"
