"""Whose the files with secrets are, and who else may read them. None of them is opened."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

from runtime.doctor.findings import Findings, owner_name
from runtime.text import quoted

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def look_at_secrets(
    found: Findings, paths: Iterable[Path], *, state_dir: Path | None, optional: Iterable[Path] = ()
) -> None:
    """Look at files that their owner alone may read, and at the state folder.

    Args:
        found: takes what is found.
        paths: files that must be there.
        state_dir: the service's; its owner is whom the files must belong to, or root.
        optional: files that may be missing.
    """
    user: int | None = None
    with found.looking("state folder"):
        user = None if state_dir is None else _look_at_folder(found, state_dir)
    good = [path for path in dict.fromkeys(paths) if _look_at_file(found, path, user)]
    for path in optional:
        with found.looking("keys"):
            if path.exists() and _look_at_file(found, path, user):
                good.append(path)
    if good:
        found.well("keys", f"{', '.join(one.name for one in good)}: for their owner alone")


def _look_at_folder(found: Findings, folder: Path) -> int | None:
    if not folder.exists():
        found.warn(
            "state folder", f"{folder} is not there: the service has never run", "start the service"
        )
        return None
    told = folder.stat()
    if told.st_mode & _OTHERS:
        found.wrong(
            "state folder",
            f"others than its owner may enter {folder} (mode {stat.filemode(told.st_mode)})",
            f"chmod 700 {quoted(folder)}",
        )
    else:
        found.well("state folder", f"{folder}: for {owner_name(told.st_uid)} alone")
    return told.st_uid


def _look_at_file(found: Findings, path: Path, user: int | None) -> bool:
    """Tell whether a file is there, its owner's alone, and its owner the one that it should be."""
    with found.looking("keys", next=f"put {path.name} there, or correct the configuration"):
        told = path.stat()
        mode = stat.filemode(told.st_mode)
        if told.st_mode & _OTHERS:
            owner = owner_name(told.st_uid)
            found.wrong(
                "keys",
                f"others than {owner} may read or change {path} (mode {mode})",
                f"chmod 600 {quoted(path)}",
            )
        elif user is not None and told.st_uid != user:
            found.wrong(
                "keys",
                f"{path} belongs to {owner_name(told.st_uid)}, and the service's user is"
                f" {owner_name(user)}, who cannot read it",
                f"sudo chown {owner_name(user)} {quoted(path)}",
            )
        else:
            return True
    return False
