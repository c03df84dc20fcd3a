"""A site's folder, opened: what it says has been checked against the authority's key."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from protocol.directory import Directory, open_directory
from protocol.errors import ProtocolError, UnsupportedVersion
from protocol.policy import Policy, open_policy
from protocol.signing import VerifyKey
from provisioning.formats.layout import SitePaths
from provisioning.formats.plan import SitePlan
from runtime import config
from runtime.errors import OperationError
from runtime.fsio import FileProblem, read_file
from runtime.text import quoted

_MAX_BYTES = 64 << 20


class SiteError(OperationError):
    """A site cannot be made, read or changed as asked."""


@dataclass(frozen=True, slots=True)
class Site:
    """A site whose directory and policy verify."""

    paths: SitePaths
    plan: SitePlan
    authority: VerifyKey
    directory: Directory
    policy: Policy


def open_site(path: Path) -> Site:
    """Read the site in folder ``path`` and verify what the authority has signed.

    Raises:
        SiteError: not a site's folder, or its directory or policy is not the authority's.
        ConfigError: its ``site.toml`` cannot be used.
    """
    paths = SitePaths(path.absolute())
    if not paths.plan.is_file():
        raise SiteError(
            f"{path} is not a site's folder (no site.toml); make one with `sealtrace site init`"
        )
    plan = config.load(paths.plan, SitePlan)
    authority = read_authority(paths)
    try:
        directory = open_directory(
            read_file(paths.directory, _MAX_BYTES), authority, site=plan.site
        )
    except ProtocolError as error:
        raise SiteError(f"{paths.directory}: {error}; restore it from a backup") from error
    try:
        policy = open_policy(
            read_file(paths.policy, _MAX_BYTES),
            read_file(paths.policy_signature, _MAX_BYTES),
            authority,
            site=plan.site,
        )
    except UnsupportedVersion as error:
        raise SiteError(f"{paths.policy}: {error}") from error
    except ProtocolError as error:
        raise SiteError(
            f"{paths.policy}: {error}; if you changed it on purpose, put the old"
            f" one back and run `sealtrace site policy sign {quoted(path)} NEWFILE`"
        ) from error
    return Site(paths, plan, authority, directory, policy)


def read_authority(paths: SitePaths) -> VerifyKey:
    """Return the authority's public key.

    Raises:
        SiteError: the file is damaged.
        FileProblem: it is missing.
    """
    try:
        return VerifyKey(bytes.fromhex(read_file(paths.authority_public, 1024).decode().strip()))
    except (ValueError, ProtocolError) as error:
        raise SiteError(
            f"{paths.authority_public} is not a public key; restore it from a backup"
        ) from error


@contextmanager
def changing(paths: SitePaths) -> Iterator[None]:
    """Hold the site's lock: two commands that change one site take turns.

    Raises:
        FileProblem: the folder cannot be written.
    """
    try:
        stream = paths.lock.open("a")
    except OSError as error:
        raise FileProblem(
            f"cannot write in {paths.root}: {error.strerror}; is it the site's own medium?"
        ) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def milliseconds(moment: datetime) -> int:
    """Return an aware datetime as milliseconds since 1970."""
    return int(moment.timestamp() * 1000)
