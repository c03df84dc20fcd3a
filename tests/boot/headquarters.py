"""A site's servers on this machine, where a guest reaches them at 10.0.2.2, and its cameras.

All of it lives in a network namespace of loopback alone, with that address on it: the guest's
network (qemu's user network) ends there, so nothing reaches the world, whatever it tries, and the
servers know one another by the very address that the box knows them by.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
from looping import compose_short_clip
from running_site import SERVERS, RunningSite, is_whole

from demo.local_site import CUSTODIANS, OFFICERS
from demo.ports import free_port, free_ports
from demo.processes import Service, ending_with_us, run_command
from provisioning.formats.plan import SitePlan

ADDRESS = "10.0.2.2"
"""Where qemu's user network shows this machine to its guest."""
STREAMS = {"gate": "h264", "yard": "mjpeg"}
CAMERA_USER = "viewer"
SYSTEM_PYTHON = "/usr/bin/python3"
COVER_S = 10
"""Each camera sends an envelope so often, with somebody in it or without: a machine that is
translated looks at too few pictures to follow anybody, and its messages are to be counted."""
FPS = 1
"""A tenth of the film's own: a machine that is translated looks at a picture a second or so."""
_HERE = Path(__file__).resolve().parent
_TIME_CONF = """\
local stratum 1
allow all
port 123
cmdport 0
bindaddress 0.0.0.0
pidfile {folder}/chronyd.pid
driftfile {folder}/chronyd.drift
user root
"""


def isolated(arguments: list[str]) -> list[str]:
    """Return the command line that runs a program of ours in a network namespace of its own.

    Root needs no more than that. Anybody else makes a user namespace around it, in which the
    address is set and low ports (the clock's) are opened, and is who they were in a second one.
    """
    setup = (
        f'PATH="$PATH:/usr/sbin:/sbin"; ip link set lo up; ip addr add {ADDRESS}/32 dev lo; '
        'echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start; exec "$@"'
    )
    again = [sys.executable, *arguments]
    user, group = os.geteuid(), os.getegid()
    outer = ["unshare", "--net", "sh", "-ec", setup, "sh"]
    if user != 0:
        outer[1:1] = ["--user", "--map-root-user"]
        outer += ["unshare", "--user", f"--map-user={user}", f"--map-group={group}"]
    return ending_with_us([*outer, *again])


def is_isolated() -> bool:
    """Whether this process is in such a namespace."""
    interfaces = Path("/proc/net/dev").read_text().splitlines()[2:]
    return [line.split(":")[0].strip() for line in interfaces] == ["lo"]


def missing_parts() -> list[str]:
    """Return what the servers and the camera need and is not here, as packages of Debian."""
    found = []
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    for program, package in (("mosquitto", "mosquitto"), ("chronyd", "chrony"), ("ip", "iproute2")):
        if shutil.which(program, path=path) is None:
            found.append(package)
    probe = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); gi.require_version('Gst', '1.0')\n"
        "from gi.repository import Gst, GstRtspServer; Gst.init(None)\n"
        "assert all(map(Gst.ElementFactory.find, ('x264enc', 'jpegenc', 'rtph264pay')))"
    )
    done = subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, check=False)
    if done.returncode:
        found += [
            "python3-gi", "gir1.2-gst-rtsp-server-1.0", "gstreamer1.0-plugins-good",
            "gstreamer1.0-plugins-ugly",
        ]  # fmt: skip
    return found


def plan(bundle: Path) -> SitePlan:
    """Return the plan: 2 of 3 custodians, Mosquitto, a registrar, no box yet; steady cover."""
    ports = iter(free_ports(len(CUSTODIANS) + 4))

    def at(**more: Any) -> dict[str, Any]:
        return {"host": ADDRESS, "names": ["localhost"], "port": next(ports), **more}

    return SitePlan.model_validate(
        {
            "site": "boot",
            "threshold": 2,
            "bundle": bundle,
            "custodians": [at(name=name) for name in CUSTODIANS],
            "officers": [{"name": name, "duties": duties} for name, duties in OFFICERS.items()],
            "aggregator": at(settings={"mqtt": {"keepalive_s": 5}}),
            "broker": at(kind="mosquitto", headquarters_port=next(ports)),
            "registrar": at(),
            "policy": {"confirmations": 1, "cover": "steady", "cover_interval_s": COVER_S},
            "security": {"argon2_memory_kib": 1024},
        }
    )


@dataclass(slots=True)
class Headquarters:
    """The running site, its time server, its cameras."""

    folder: Path
    evidence: Path
    site: RunningSite
    frames: Path
    password: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    rtsp_port: int = field(default_factory=free_port)
    camera: Service = field(init=False)
    clock: Service = field(init=False)

    @classmethod
    def make(cls, folder: Path, evidence: Path, state: Path) -> Headquarters:
        """Make the site and the camera's pictures; start nothing."""
        clip = compose_short_clip(state / "photos", state / "demo" / "short-clip")
        frames = folder / "frames"
        _take_apart(clip.path, frames)
        made = cls(folder, evidence, RunningSite(plan(state / "models"), folder), frames)
        made.camera = Service(
            "camera",
            [SYSTEM_PYTHON, str(_HERE / "camera.py"), str(made.rtsp_port), str(frames), str(FPS)],
            folder,
            made.logs / "camera.log",
            {
                **{k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LANG"}},
                "CAMERA_USER": CAMERA_USER,
                "CAMERA_PASSWORD": made.password,
            },
            port=made.rtsp_port,
        )
        conf = folder / "chrony.conf"
        conf.write_text(_TIME_CONF.format(folder=folder))
        chronyd = shutil.which("chronyd", path=f"{os.environ['PATH']}:/usr/sbin") or "chronyd"
        made.clock = Service(
            "clock", [chronyd, "-x", "-d", "-U", "-f", str(conf)], folder, made.logs / "clock.log",
            {"PATH": os.environ["PATH"]},
        )  # fmt: skip
        return made

    @property
    def logs(self) -> Path:
        """Where the servers' logs are."""
        return self.folder / "logs"

    @property
    def root(self) -> str:
        """The site's folder, as commands take it."""
        return str(self.site.local.paths.root)

    def start(self) -> None:
        """Start the servers, the clock and the camera."""
        self.clock.start()
        self.camera.start()
        self.site.start(*SERVERS, "registrar")
        self.camera.wait_ready()

    def stop(self) -> None:
        """Stop everything, keep the logs as evidence."""
        for service in (self.camera, self.clock):
            service.stop()
        self.site.stop()
        with suppress(OSError):
            shutil.copytree(self.logs, self.evidence / "logs", dirs_exist_ok=True)

    def command(self, *arguments: str, timeout_s: float = 300.0, expect: int | None = 0) -> str:
        """Run ``sealtrace ARGUMENTS`` at headquarters; return all that it printed."""
        done = run_command(
            [sys.executable, "-m", "sealtrace.command", *arguments],
            folder=self.folder,
            environment=self.site.local.environment,
            timeout_s=timeout_s,
            expect=expect,
        )
        with (self.evidence / "commands.log").open("a") as log:
            text = f"$ sealtrace {' '.join(arguments)}\n{done.stdout}{done.stderr}\n"
            log.write(text.replace(self.password, "…"))
        return done.stdout + done.stderr

    def cameras(self, box: str, *, login: bool = False) -> dict[str, str]:
        """Return a box's cameras: name to address, with user and password if ``login``."""
        access = f"{CAMERA_USER}:{self.password}@" if login else ""
        place = f"{access}{ADDRESS}:{self.rtsp_port}"
        return {f"{box}-{name}": f"rtsp://{place}/{path}" for name, path in STREAMS.items()}

    def claim(self, box: str) -> Path:
        """Announce a box with its cameras; return its claim."""
        options = [f"--camera={name}={source}" for name, source in self.cameras(box).items()]
        self.command("box", "claim", self.root, box, *options)
        return self.folder / f"{box}.claim.toml"

    def seen(self, box: str) -> dict[str, Any] | None:
        """What the aggregator says of a box, None before it knows it."""
        return self.site.boxes().get(box)

    def stored(self, camera: str) -> list[int]:
        """The sequence numbers of a camera that are in store, in order."""
        try:
            return self.site.stored(camera)
        except Exception:
            return []

    def gapless(self, camera: str) -> bool:
        """Whether what is in store of a camera is 0, 1, 2, … without a gap."""
        return is_whole(self.stored(camera))


def _take_apart(film: Path, folder: Path) -> None:
    """Write a film's pictures as the camera plays them."""
    folder.mkdir(parents=True, exist_ok=True)
    reader = cv2.VideoCapture(str(film))
    count = 0
    while True:
        fine, picture = reader.read()
        if not fine:
            break
        small = cv2.resize(picture, (640, 360))
        cv2.imwrite(str(folder / f"{count:05d}.jpg"), small, [cv2.IMWRITE_JPEG_QUALITY, 85])
        count += 1
    reader.release()
