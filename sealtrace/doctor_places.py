"""Find which role a machine has, by the configurations that are there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from runtime.doctor import Findings
from runtime.doctor.findings import owner_above, user_name
from runtime.errors import OperationError
from runtime.officer import OFFICER_ENVIRONMENT
from runtime.text import quoted

INSTALLED = Path("/etc/sealtrace")
"""Where packages put a role's configuration: here, or in a folder of its own in here."""
ON_A_CARD = Path("/var/lib/sealtrace/box")
"""Where the first boot of a card puts a box's."""
Examine = Callable[[Path, Findings], str]


class NoRole(OperationError):
    """It is not known what this machine is: no configuration is found, or several are."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Role:
    """A role: its name, the names of its configuration, and what looks at it."""

    name: str
    files: tuple[str, ...]
    module: str
    function: str = "examine"

    @property
    def examine(self) -> Examine:
        """What looks at it.

        Raises:
            NoRole: its software is not on this machine.
        """
        try:
            module = import_module(self.module)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if not missing or find_spec(missing) is not None:
                raise
            raise NoRole(
                f"this is a {self.name}'s configuration, and the software of that role is not whole"
                f" here: the Python package '{missing}' is missing; where several roles are"
                f" installed, SEALTRACE_ROLE={self.name} in front of the command takes that one's"
            ) from error
        return cast("Examine", getattr(module, self.function))


ROLES = (
    Role("edge", ("box",), "edge_agent.doctor"),
    Role("custodian", ("custodian",), "custodian.doctor"),
    Role("aggregator", ("aggregator",), "aggregator.doctor"),
    Role("registrar", ("registrar", "enrolment"), "provisioning.registrar.doctor"),
    Role("scheduler", ("scheduler",), "aggregator.cluster.doctor", "examine_scheduler"),
    Role("match-worker", ("match-worker",), "aggregator.cluster.doctor", "examine_worker"),
    Role("officer", ("officer",), "officers.doctor"),
    Role("site", ("site",), "provisioning.authority.doctor"),
)


def role_of(path: Path) -> Role | None:
    """Return the role whose configuration has such a name: ``aggregator-2.toml`` is one, too."""
    if path.suffix != ".toml":
        return None
    stem = path.stem
    for role in ROLES:
        for name in role.files:
            rest = stem.removeprefix(name)
            if stem.startswith(name) and (not rest or (rest[0] == "-" and rest[1:].isdigit())):
                return role
    return None


def find(
    given: Sequence[Path], *, role: str | None, here: Path, installed: Path = INSTALLED
) -> list[tuple[Path, Role]]:
    """Return the configurations to look at, each with its role.

    Args:
        given: files or folders; none: where configurations usually are.
        role: whose they are, where their names do not tell.
        here: the current folder; not looked into where everybody may write.
        installed: the folder of installed configurations.

    Raises:
        NoRole: none is found, or it cannot be told whose one is; or of the usual places that comes
            first several are found, of which one has to be named.
    """
    if role is not None and role not in {one.name for one in ROLES}:
        raise NoRole(f"--role {role}: there is no such role; there are {_names()}")
    if given:
        return [one for path in given for one in _given(path, role)]
    below = [one for folder in _folders(installed) for one in _in(folder)]
    ours = [] if _is_everybodys(here) else _in(here)
    places = [ours, [*_in(installed), *below], _in(ON_A_CARD)]
    if named := os.environ.get(OFFICER_ENVIRONMENT):
        places.insert(0, _known([Path(named)]))
    for place in places:
        found = [one for one in place if role in {None, one[1].name}]
        if len(found) > 1:
            commands = "\n".join(f"  sealtrace doctor {quoted(path)}" for path, _ in found)
            raise NoRole(f"several configurations are here; name one, or all:\n{commands}")
        if found:
            return found
    searched = (here, installed, *_folders(installed), ON_A_CARD)
    closed = [one for one in searched if one.is_dir() and not os.access(one, os.R_OK | os.X_OK)]
    if closed:
        commands = "\n".join(
            f"  sudo -u {owner_above(one)} sealtrace doctor {quoted(one)}" for one in closed
        )
        raise NoRole(f"user '{user_name()}' may not look where configurations are:\n{commands}")
    raise NoRole(
        f"no configuration is found in this folder, in {installed} or in {ON_A_CARD}: name one,"
        " such as `sealtrace doctor /path/to/custodian.toml` (a site's folder is one, too)"
    )


def _given(path: Path, role: str | None) -> list[tuple[Path, Role]]:
    if path.is_dir():
        found = _in(path)
        if len(found) == 1:
            return found
        names = ", ".join(one.name for one, _ in found) or "none"
        raise NoRole(f"{path} should hold one configuration; it holds: {names}")
    if not path.exists():
        raise NoRole(f"{path} does not exist; check the name")
    known = next((one for one in ROLES if one.name == role), None) or role_of(path)
    if known is None:
        raise NoRole(
            f"whose configuration {path} is, its name does not tell: add --role {_names()}"
        )
    return [(path, known)]


def _names() -> str:
    return ", ".join(role.name for role in ROLES)


def _in(folder: Path) -> list[tuple[Path, Role]]:
    try:
        return _known(sorted(folder.glob("*.toml")))
    except OSError:
        return []


def _is_everybodys(folder: Path) -> bool:
    """Tell whether anybody may have put a configuration there: what is advised rests on it."""
    try:
        return bool(folder.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return False


def _known(paths: Iterable[Path]) -> list[tuple[Path, Role]]:
    return [(path, role) for path in paths if (role := role_of(path)) is not None]


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(one for one in folder.iterdir() if one.is_dir())
    except OSError:
        return []
