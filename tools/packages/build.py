"""Builds packages one after the other: what all share first, then each role's."""

from __future__ import annotations

import os
import platform
import subprocess
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tools.packages import elf
from tools.packages.deb import Build, Control, pack, scripts_of
from tools.packages.environment import BuildError, lay_out, wheels_of
from tools.packages.layout import (
    folders_of,
    lay_out_common,
    lay_out_role,
    settle,
    write_changelog,
)
from tools.packages.releases import RELEASES, Target
from tools.packages.roles import COMMON, ROOT, Role

_ACCOUNTS = "systemd | systemd-standalone-sysusers | systemd-sysusers"
_COMMON_SUMMARY = "Sealtrace: the command and the guides"
_COMMON_TEXT = (
    "What all roles of Sealtrace share: the command that finds the role which runs a sub-command,"
    " the command that puts a role's folder in its place, manual pages and guides."
)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be built.

    Args:
        roles: which; the shared package is built with any.
        target: for which release and architecture.
        build: version, time and the like.
        out: folder of the packages.
        wheels: where folders of wheels are kept from one build to the next.
    """

    roles: tuple[Role, ...]
    target: Target
    build: Build
    out: Path
    wheels: Path


def make(order: Order, scratch: Path, tell: Callable[[str], None]) -> list[Path]:
    """Build what was ordered and return the packages' files.

    Args:
        order: what.
        scratch: an empty folder for trees; a role takes up to 0.7 GB, freed by the caller.
        tell: takes a line each time that something begins or is done.

    Raises:
        BuildError: one cannot be built; those before it are whole.
    """
    made = [_done(partial(_common, order, scratch), tell)]
    for role in order.roles:
        tell(f"{role.package}: locks/{role.lock}.lock, Python {order.target.release.python}")
        made.append(_done(partial(_role, order, scratch, role, tell), tell))
    return made


def _done(one: Callable[[], Path], tell: Callable[[str], None]) -> Path:
    begin = time.monotonic()
    path = one()
    tell(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {time.monotonic() - begin:.0f} s")
    return path


def _common(order: Order, scratch: Path) -> Path:
    tree = scratch / COMMON
    tree.mkdir()
    lay_out_common(tree)
    write_changelog(tree, COMMON, order.build.changelog(COMMON))
    settle(tree)
    # Its own script needs nothing beyond what every Debian has.
    control = Control(COMMON, "all", (), _COMMON_SUMMARY, _COMMON_TEXT, suggests=("systemd",))
    return pack(tree, order.out, control, order.build, conffiles=[], scripts={})


def _role(order: Order, scratch: Path, role: Role, tell: Callable[[str], None]) -> Path:
    tree = scratch / role.package
    wheels = wheels_of(role, order.target, order.wheels, tell)
    return finish(order, tree, role, lay_out(tree, role, order.target, wheels))


def finish(order: Order, tree: Path, role: Role, packages: Path) -> Path:
    """Put everything but its environment, which is there, into a role's tree; return its package.

    Args:
        order: what is built.
        tree: the folder that becomes ``/``.
        role: whose it is.
        packages: the environment's ``site-packages``.

    Raises:
        BuildError: a library needs what nobody brings, or dpkg-deb refuses the tree.
    """
    conffiles = lay_out_role(tree, role, packages)
    write_changelog(tree, role.package, order.build.changelog(role.package))
    settle(tree)
    depends = [
        f"{COMMON} (>= {order.build.version})",
        *order.target.release.python_depends,
        *elf.depends(packages),
        *([_ACCOUNTS] if role.user else []),
    ]
    control = Control(
        role.package,
        order.target.architecture,
        tuple(depends),
        role.summary,
        role.text,
        suggests=role.suggests,
    )
    scripts = scripts_of(role, folders_of(role))
    return pack(tree, order.out, control, order.build, conffiles=conffiles, scripts=scripts)


def build_of(
    target: Target, version: str | None, maintainer: str | None, compression: str
) -> Build:
    """Return what the packages of a build have in common, from options, environment and commit.

    Raises:
        BuildError: neither SOURCE_DATE_EPOCH nor a commit tells the time.
    """
    told = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        epoch = int(told or _of_commit("%ct"))
    except ValueError as error:
        raise BuildError(
            f"SOURCE_DATE_EPOCH is {told!r}, no number of seconds; unset it or correct it"
        ) from error
    if version is None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
        moment = datetime.fromtimestamp(epoch, UTC)
        version = f"{project}+{moment:%Y%m%d.%H%M%S}~{target.release.suffix}"
    if maintainer is None:
        name, address = os.environ.get("DEBFULLNAME"), os.environ.get("DEBEMAIL")
        maintainer = f"{name} <{address}>" if name and address else _of_commit("%an <%ae>")
    return Build(version, epoch, maintainer, compression)


def _of_commit(form: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), "log", "-1", f"--format={form}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(
            f"{ROOT} has no commit to take time and author from: {done.stderr.strip()}; build from"
            " a checkout, or set SOURCE_DATE_EPOCH, DEBFULLNAME and DEBEMAIL"
        )
    return done.stdout.strip()


def release_here() -> str:
    """Return this machine's Debian release, or the oldest that packages are built for."""
    try:
        here = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        here = ""
    return here if here in RELEASES else next(iter(RELEASES))


def architecture_here() -> str:
    """Return this machine's architecture as Debian calls it, or amd64."""
    return "arm64" if platform.machine() == "aarch64" else "amd64"
