"""Lays out what a package installs beside its environment: units, account, skeletons, guides."""

from __future__ import annotations

import gzip
import re
from importlib.metadata import distributions
from pathlib import Path

from tools.licences import licences_of
from tools.packages.manpages import command_page, place_page
from tools.packages.roles import COMMON, CONFIGURATION, FILES, ROOT, STATE, UNITS, Role
from tools.packages.skeletons import skeleton

UNIT_FOLDER, ACCOUNT_FOLDER = "usr/lib/systemd/system", "usr/lib/sysusers.d"
_GUIDES = (".md", ".svg", ".cddl")
_COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Sealtrace
Comment: Built from the upstream checkout. An environment bundles wheels of others, each under the
 licence that its own metadata names; texts and notices are in its *.dist-info folder.
{bundled}
Files: *
Copyright: 2026 the Sealtrace authors
License: Apache-2.0

License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.
"""
_UNIT_OF_FOLDER = re.compile(rf"(?m)^WorkingDirectory={CONFIGURATION}/([a-z-]+)$")


def folders_of(role: Role) -> tuple[str, ...]:
    """Return the folders beneath /etc/sealtrace in which a role's units run, its own first.

    The broker's is not among them: it is Mosquitto's, and `sealtrace-place` makes it.
    """
    found = [
        folder
        for unit in role.units
        for folder in _UNIT_OF_FOLDER.findall((UNITS / unit).read_text())
    ]
    return tuple(dict.fromkeys(name for name in found if name != "broker"))


def lay_out_role(tree: Path, role: Role, packages: Path) -> list[str]:
    """Put everything of a role but its environment beneath ``tree``; return the conffiles.

    Args:
        tree: the folder that becomes ``/``; the environment is there already.
        role: which.
        packages: the environment's ``site-packages``, whose licences the copyright file names.
    """
    conffiles = []
    for unit in role.units:
        _put(tree / UNIT_FOLDER / unit, (UNITS / unit).read_text())
    if role.user:
        _put(
            tree / ACCOUNT_FOLDER / f"{role.package}.conf",
            f'u {role.user} - "Sealtrace {role.name}" {STATE}/{role.name}\n',
        )
        for name in folders_of(role):
            (tree / CONFIGURATION.lstrip("/") / name).mkdir(parents=True, exist_ok=True)
        name = f"{CONFIGURATION}/{role.name}/{role.config}.example"
        _put(tree / name.lstrip("/"), skeleton(role.name))
        conffiles.append(name)
    lines = (
        f" {one.name} {one.version}: {' AND '.join(licences_of(one))}\n"
        for one in distributions(path=[str(packages)])
    )
    _documents(tree, role.package, "".join(sorted(lines, key=str.lower)))
    return conffiles


def lay_out_common(tree: Path) -> None:
    """Put what all roles share beneath ``tree``: two commands, their pages, the guides."""
    for name, folder in (("sealtrace", "usr/bin"), ("sealtrace-place", "usr/sbin")):
        target = tree / folder / name
        _put(target, (FILES / name).read_text())
        target.chmod(0o755)
    _pack(tree / "usr/share/man/man1/sealtrace.1.gz", command_page())
    _pack(tree / "usr/share/man/man8/sealtrace-place.8.gz", place_page())
    guides = tree / "usr/share/doc" / COMMON
    for folder in ("", "cli", "decisions"):
        for path in sorted((ROOT / "docs" / folder).iterdir()):
            if path.is_file() and path.suffix in _GUIDES:
                _put(guides / folder / path.name, path.read_text())
    _documents(tree, COMMON, "")


def _documents(tree: Path, package: str, bundled: str) -> None:
    folder = tree / "usr/share/doc" / package
    _put(folder / "copyright", _COPYRIGHT.format(bundled=bundled))
    overrides = FILES / "overrides" / package
    general = FILES / "overrides" / "environment"
    text = "".join(
        path.read_text()
        for path in (overrides, general)
        if path.is_file() and (path is overrides or package != COMMON)
    )
    if text:
        _put(tree / "usr/share/lintian/overrides" / package, text)


def write_changelog(tree: Path, package: str, entry: str) -> None:
    """Put the package's changelog where Debian looks: our own and the entry of this build."""
    folder = tree / "usr/share/doc" / package
    _pack(folder / "changelog.gz", entry)
    _pack(folder / "NEWS.md.gz", (ROOT / "CHANGELOG.md").read_text())


def settle(tree: Path) -> None:
    """Give every file beneath ``tree`` a plain mode: whoever built it, and with which umask."""
    for path in sorted(tree.rglob("*"), reverse=True):
        if path.is_symlink():
            continue
        if path.is_dir():
            path.chmod(0o755)
        else:
            path.chmod(0o755 if _is_run(path) else 0o644)
    tree.chmod(0o755)


def _is_run(path: Path) -> bool:
    """Whether a file is a program: marked so, and no shared library or module."""
    if ".so" in path.suffixes or not path.stat().st_mode & 0o100:
        return False
    with path.open("rb") as file:
        return file.read(4).startswith((b"#!", b"\x7fELF"))


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _pack(path: Path, text: str) -> None:
    """Write gzip without name and time, so that the same text gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))


def size_kib(tree: Path) -> int:
    """Return what a tree takes installed, in KiB, as Installed-Size counts: files rounded up."""
    return sum(_rounded(path) for path in tree.rglob("*"))


def _rounded(path: Path) -> int:
    if path.is_symlink() or path.is_dir():
        return 1
    return -(-path.stat().st_size // 1024)
