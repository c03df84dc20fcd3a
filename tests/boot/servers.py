"""Installs the servers' packages in a fresh Debian with a systemd, and sees them start and go.

The Debian is made by mmdebstrap of what the packages depend on, and runs in namespaces of its own
(processes, mounts, names, cgroups, and a network of loopback alone), its systemd as process 1:
units, accounts, sandboxes and maintainer scripts are tried as they are, on this machine's kernel.
What is done in it stands in servers_guest.sh, how it is entered in servers_enter.sh.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from demo.processes import ending_with_us, sealtrace
from tools.packages.build import Order, build_of, make
from tools.packages.environment import BuildError
from tools.packages.releases import RELEASES, Release, Target
from tools.packages.roles import ROOT, named

Report = Callable[[str, bool, str, float], None]
"""Takes a step, whether it passed, what was seen, and the seconds that it took."""

HERE = ROOT / "build" / "boot-test" / "servers"
GUEST = Path(__file__).with_name("servers_guest.sh")
BUILDS = {"1": ["custodian", "aggregator", "registrar"], "2": ["custodian", "registrar"]}
"""What is built in each of two builds: of two versions on one machine each goes on."""
ENTER = GUEST.with_name("servers_enter.sh")
NEEDED = ("mmdebstrap", "unshare", "dpkg-deb", "readelf")
_PACKAGES = (
    "dbus", "init-system-helpers", "libstdc++6", "mosquitto", "procps", "python3", "systemd-sysv",
    "zlib1g",
)  # fmt: skip
_PATIENCE_S = 1500.0
_UNIT = """\
[Unit]
Description=What servers.py wants of this machine
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/bin/sh /root/payload/servers_guest.sh
StandardOutput=append:/root/console
StandardError=append:/root/console
"""
_HOOK = """\
set -eu
root=$1
cp "$WORK/check.service" "$root/etc/systemd/system/sealtrace-check.service"
mkdir -p "$root/etc/systemd/system/default.target.wants" "$root/root/payload"
ln -s ../sealtrace-check.service "$root/etc/systemd/system/default.target.wants/"
for unit in mosquitto.service getty.target console-getty.service systemd-logind.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
echo fresh > "$root/etc/hostname"
echo '127.0.0.1 localhost fresh' > "$root/etc/hosts"
"""
_SITE = """\
site = "north"
threshold = 1
[[custodians]]
name = "c1"
host = "localhost"
port = 8441
[aggregator]
host = "localhost"
port = 8440
[broker]
kind = "mosquitto"
host = "localhost"
port = 8883
[registrar]
host = "localhost"
port = 8445
[[officers]]
name = "ana"
duties = ["investigator"]
[[officers]]
name = "dan"
duties = ["investigator", "approver"]
[[officers]]
name = "eva"
duties = ["approver"]
[[officers]]
name = "fay"
duties = ["approver"]
[[officers]]
name = "aud"
duties = ["auditor"]
"""


class CheckFailed(Exception):
    """A step could not be tried; says why."""


def check(report: Report, suites: Sequence[str] = ("bookworm", "trixie")) -> None:
    """Try the servers' packages in a fresh Debian of each release; report every step.

    Raises nothing for a step that fails: what follows from it is left out.
    """
    missing = [tool for tool in NEEDED if shutil.which(tool) is None]
    if missing:
        needs = "apt install mmdebstrap util-linux dpkg-dev binutils"
        report("servers", False, f"{', '.join(missing)} missing here; {needs}", 0.0)
        return
    if os.geteuid():
        report("servers", False, "a systemd of its own needs root here; run it with sudo", 0.0)
        return
    for suite in suites:
        with tempfile.TemporaryDirectory(prefix="sealtrace-servers-") as folder:
            try:
                _check(RELEASES[suite], Path(folder), report)
            except CheckFailed as error:
                report(f"servers, {suite}", False, str(error), 0.0)


def _check(release: Release, folder: Path, report: Report) -> None:
    def step(name: str, what: Callable[[], str]) -> None:
        begin = time.monotonic()
        try:
            seen = what()
        except (CheckFailed, BuildError, OSError, subprocess.SubprocessError) as error:
            raise CheckFailed(f"{name}: {error}") from error
        report(f"servers, {release.name}: {name}", True, seen, time.monotonic() - begin)

    HERE.mkdir(parents=True, exist_ok=True)
    root = folder / "root"
    step("a fresh Debian", lambda: _fresh(release, root))
    step("packages, twice", lambda: _payload(release, root / "root" / "payload"))
    begin = time.monotonic()
    _run(release, root)
    results = root / "root" / "results"
    if not results.is_file():
        raise CheckFailed(f"its systemd did not get so far; {_log(release)} says more")
    shutil.copy(root / "root" / "console", HERE / f"{release.name}.console")
    ended = False
    for line in results.read_text(errors="replace").splitlines():
        name, _, rest = line.partition("\t")
        code, _, rest = rest.partition("\t")
        spent, _, seen = rest.partition("\t")
        if name == "end":
            ended = True
            continue
        title = f"servers, {release.name}: {name.replace('_', ' ')}"
        report(title, code == "0", seen, int(spent or 0) / 1000)
    if not ended:
        raise CheckFailed(f"it did not come to the end; {HERE}/{release.name}.console says more")
    seen = f"kept: build/boot-test/servers/{release.name}.console"
    report(f"servers, {release.name}: all of it", True, seen, time.monotonic() - begin)


def _log(release: Release) -> Path:
    return HERE / f"{release.name}-systemd.log"


def _fresh(release: Release, root: Path) -> str:
    """Unpack the fresh Debian, which is made once and found again by what it is made of."""
    recipe = "\0".join((*_PACKAGES, _HOOK, _UNIT))
    kept = HERE / f"{release.name}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.tar"
    was_there = kept.exists()
    if not was_there:
        with tempfile.TemporaryDirectory(prefix=".making-", dir=HERE) as folder:
            work = Path(folder)
            (work / "check.service").write_text(_UNIT)
            (work / "hook.sh").write_text(_HOOK)
            done = subprocess.run(
                [
                    "mmdebstrap", "--variant=apt", f"--include={','.join(_PACKAGES)}",
                    '--aptopt=APT::Install-Recommends "false"', "--dpkgopt=force-unsafe-io",
                    f'--customize-hook=env WORK={work} sh {work}/hook.sh "$1"',
                    release.name, str(work / "root.tar"),
                ],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                raise CheckFailed("mmdebstrap failed: " + " / ".join(done.stderr.splitlines()[-4:]))
            (work / "root.tar").rename(kept)
    root.mkdir()
    # Devices are made anew when it is entered.
    subprocess.run(
        ["tar", "-C", str(root), "--exclude=./dev/*", "-xpf", str(kept)], check=True, timeout=300
    )
    where = "was there" if was_there else "made"
    return f"{kept.name}, {kept.stat().st_size / 1e6:.0f} MB, {where}"


def _payload(release: Release, payload: Path) -> str:
    """Make a site, and build the packages in two versions."""
    payload.mkdir(exist_ok=True)
    (payload / "passphrase").write_text("a passphrase for one boot test\n")
    (payload / "site.toml").write_text(_SITE)
    shutil.copy(GUEST, payload / GUEST.name)
    done = subprocess.run(
        [*sealtrace("site", "init", "site"), "--config", "site.toml", "--passphrase-file",
         "passphrase"],
        cwd=payload, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise CheckFailed(f"no site: {done.stderr.strip()[-300:]}")
    target = Target(release, "amd64")
    made: list[Path] = []
    for number, roles in BUILDS.items():
        out = payload / number
        out.mkdir()
        version = f"0.1.0+{number}~{release.suffix}"
        build = build_of(target, version, "Boot test <boot-test@sealtrace.example>", "none")
        with tempfile.TemporaryDirectory(prefix="sealtrace-build-") as scratch:
            order = Order(named(roles), target, build, out, ROOT / "build" / "wheels")
            made += make(order, Path(scratch), lambda line: None)
    size = sum(path.stat().st_size for path in made)
    return f"{len(made)} packages, {size / 1e6:.0f} MB before compression"


def _run(release: Release, root: Path) -> None:
    """Let its systemd run until it switches itself off or time is up; end all of it then.

    Raises:
        CheckFailed: this machine has no place for its cgroups.
    """
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    hierarchy = next((Path(words[1]) for words in mounts if words[2] == "cgroup2"), None)
    if hierarchy is None:
        raise CheckFailed("this machine mounts no cgroup version 2, where a systemd could run")
    cgroup = hierarchy / f"sealtrace-servers-{os.getpid()}-{release.name}"
    cgroup.mkdir()
    try:
        with _log(release).open("wb") as log:
            process = subprocess.Popen(
                ending_with_us(
                    [
                        "unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork",
                        "--kill-child", "--propagation", "private",
                        "sh", str(ENTER), str(root), str(cgroup),
                    ]
                ),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
            with suppress(subprocess.TimeoutExpired):  # what it came to stands in its results
                process.wait(_PATIENCE_S)
            process.kill()
            process.wait()
    finally:
        for folder, _, _ in os.walk(cgroup, topdown=False):
            with suppress(OSError):  # one that somebody is still in goes with them
                Path(folder).rmdir()


def main() -> int:
    """Try the packages alone; 1 if a step failed."""
    failed = []

    def tell(name: str, passed: bool, seen: str, seconds: float) -> None:
        sys.stdout.write(f"{'ok' if passed else 'FAILED':8}{seconds:6.1f} s  {name}: {seen}\n")
        sys.stdout.flush()
        if not passed:
            failed.append(name)

    check(tell, sys.argv[1:] or ("bookworm", "trixie"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
