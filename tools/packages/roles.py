"""What each package is: its lock file, commands, units, user and configuration, in one table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "docs" / "systemd"
FILES = Path(__file__).resolve().parent / "files"
LIBRARY = "/usr/lib/sealtrace"
"""Where each role's environment is: LIBRARY/ROLE."""
CONFIGURATION, STATE = "/etc/sealtrace", "/var/lib/sealtrace"
COMMON = "sealtrace-common"
"""The package of what all roles share: the command, the account's folder, guides."""


@dataclass(frozen=True, slots=True)
class Role:
    """One kind of machine.

    Args:
        name: the package is ``sealtrace-NAME``, the environment ``/usr/lib/sealtrace/NAME``.
        lock: name of the lock file in ``locks/``.
        commands: sub-commands that this role's environment runs, where several roles are installed.
        config: the file that `sealtrace site` writes into the role's folder; empty: the role has
            no service, and its folder is a person's own.
        units: in ``docs/systemd``.
        summary: one line, for people who list packages.
        text: what they read next, as paragraphs.
        suggests: Debian packages that some machines of this role want.
    """

    name: str
    lock: str
    commands: tuple[str, ...]
    summary: str
    text: str
    config: str = ""
    units: tuple[str, ...] = ()
    suggests: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """The Debian package's name."""
        return f"sealtrace-{self.name}"

    @property
    def user(self) -> str:
        """The account that its services run as; empty where there are none."""
        return self.package if self.config else ""

    @property
    def environment(self) -> str:
        """Where its Python environment is installed."""
        return f"{LIBRARY}/{self.name}"


ROLES = (
    Role(
        "edge",
        "edge",
        ("edge", "camera", "footage"),
        "Sealtrace: the agent beside cameras",
        "Turns video into short sightings, forgets the pictures, seals each quarter hour under"
        " keys that custodians share, and forgets those too. For boards that are set up by hand;"
        " cards that `sealtrace image` makes bring their own.",
        config="box.toml",
        units=("sealtrace-edge.service",),
        suggests=("ffmpeg",),
    ),
    Role(
        "custodian",
        "custodian",
        ("custodian",),
        "Sealtrace: a key custodian",
        "Holds one share of each day's keys. Checks each query for itself, writes its log, and"
        " only then releases the keys of exactly the cameras and quarter hours that were approved."
        " After retention it destroys them.",
        config="custodian.toml",
        units=("sealtrace-custodian.service",),
    ),
    Role(
        "aggregator",
        "cluster",
        ("aggregator",),
        "Sealtrace: headquarters' server",
        "Stores sealed sightings that it cannot read, and compares what custodians released for"
        " approved queries. Also the scheduler and the match workers of a site that matches on"
        " several machines, and the unit of its broker.",
        config="aggregator.toml",
        units=(
            "sealtrace-aggregator.service",
            "sealtrace-scheduler.service",
            "sealtrace-match-worker@.service",
            "sealtrace-mosquitto.service",
        ),
        suggests=("mosquitto", "postgresql"),
    ),
    Role(
        "registrar",
        "office",
        ("registrar", "site", "box", "image", "flash", "release"),
        "Sealtrace: the registrar, and the commands of the authority's office",
        "The registrar lets new boxes in and renews their certificates. The same package has the"
        " commands that make a site, its cards and its releases, for a machine off the network.",
        config="registrar.toml",
        units=("sealtrace-registrar.service",),
    ),
    Role(
        "officer",
        "officer",
        ("desk", "query", "trace", "audit", "subject"),
        "Sealtrace: an officer's machine",
        "The officers' desk in the browser, and the same as commands: ask, approve, decide,"
        " trace, audit. No service: each officer starts the desk from an account of their own.",
        suggests=("chromium",),
    ),
)

ANYWHERE = ("protocol", "models", "broker", "demo", "doctor")
"""Sub-commands that belong to no role: the first role that is installed here runs them."""
_BETWEEN = re.compile(r"[\s,]+")


def named(names: list[str]) -> tuple[Role, ...]:
    """Return the roles of these names, in the table's order; all when none is named.

    Raises:
        ValueError: there is no such role.
    """
    wanted = {name.removeprefix("sealtrace-") for text in names for name in _BETWEEN.split(text)}
    known = [role.name for role in ROLES]
    if unknown := sorted(wanted - {""} - set(known)):
        raise ValueError(f"no such role: {', '.join(unknown)}; there are {', '.join(known)}")
    return tuple(role for role in ROLES if not wanted or role.name in wanted)


def lock_of(role: Role) -> Path:
    """Return the lock file of a role."""
    return ROOT / "locks" / f"{role.lock}.lock"
