"""What was found: how it is, about what, in which words, and what to type next."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from protocol.errors import ProtocolError
from runtime.errors import OperationError


class Level(StrEnum):
    """How something is; the worst of a machine is the command's exit code."""

    WELL = "well"
    WARNING = "warning"
    WRONG = "wrong"

    @property
    def exit_code(self) -> int:
        """0, 1, 2: as monitoring wants it."""
        return list(Level).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Args:
        level: how it is.
        about: what was looked at, in a word or two.
        what: how it was found.
        next: what to do, where something is to be done: a command, where there is one.
    """

    level: Level
    about: str
    what: str
    next: str = ""


@dataclass(slots=True)
class Findings:
    """What was found so far, in order.

    Args:
        tell: called with what is looked at now.
        again: the command with which this machine is looked at.
        network: whether others may be asked.
        deep: whether all of each database is read.
    """

    tell: Callable[[str], None] = lambda _: None
    again: str = "sealtrace doctor"
    network: bool = True
    deep: bool = False
    found: list[Finding] = field(default_factory=list)

    @property
    def worst(self) -> Level:
        """The worst of all."""
        return max((one.level for one in self.found), key=list(Level).index, default=Level.WELL)

    def well(self, about: str, what: str) -> None:
        """Note that something is as it should be."""
        self.found.append(Finding(Level.WELL, about, what))

    def warn(self, about: str, what: str, next: str = "") -> None:
        """Note what should be looked at, and does no harm yet."""
        self.found.append(Finding(Level.WARNING, about, what, next))

    def wrong(self, about: str, what: str, next: str = "") -> None:
        """Note what does harm, or soon will."""
        self.found.append(Finding(Level.WRONG, about, what, next))

    def within(
        self, about: str, what: str, next: str, *, value: float, warn: float, wrong: float
    ) -> None:
        """Note a value that had better be high: below ``warn`` and ``wrong`` it is not well."""
        if value < wrong:
            self.wrong(about, what, next)
        elif value < warn:
            self.warn(about, what, next)
        else:
            self.well(about, what)

    @contextmanager
    def looking(self, about: str, next: str = "") -> Iterator[None]:
        """Look at something in the block; what it raises for people is a finding, and no more."""
        self.tell(about)
        try:
            yield
        except PermissionError as error:
            self.unread(about, error.filename)
        except (OperationError, ProtocolError) as error:
            cause = error.__cause__
            if isinstance(cause, PermissionError):
                self.unread(about, cause.filename)
            else:
                self.wrong(about, str(error), next)
        except OSError as error:
            name = f"{error.filename}: " if error.filename is not None else ""
            self.wrong(about, f"{name}{error.strerror or error}", next)
        except Exception as error:  # a bug here is no reason to see nothing of the rest
            self.wrong(about, f"the doctor failed at it: {type(error).__name__}", "report it")

    def unread(self, about: str, path: object) -> None:
        """Note that this user may not read something, and who may."""
        self.warn(
            about,
            f"{path} cannot be read by user '{user_name()}'",
            f"sudo -u {owner_above(path)} {self.again}",
        )


def user_name() -> str:
    """Return as whom this process runs."""
    return owner_name(os.geteuid())


def owner_name(uid: int) -> str:
    """Return a user's name; the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def owner_above(path: object) -> str:
    """Return the owner of ``path``, or of the first folder above it that can be looked at."""
    if not isinstance(path, str | Path):
        return "root"
    place = Path(path).absolute()
    for one in (place, *place.parents):
        try:
            return owner_name(one.stat().st_uid)
        except OSError:
            continue
    return "root"
