"""Turns a tree into a Debian package: control files, sums, and the same bytes for the same tree."""

from __future__ import annotations

import hashlib
import os
import subprocess
import textwrap
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from tools.packages.environment import BuildError
from tools.packages.layout import size_kib
from tools.packages.roles import FILES, Role

SCRIPTS = ("postinst", "prerm", "postrm")


@dataclass(frozen=True, slots=True)
class Build:
    """What all packages of one build have in common.

    Args:
        version: of every package, as Debian writes it.
        epoch: seconds since 1970: the time of every file and of the changelog.
        maintainer: name and address.
        compression: of the package's parts, as dpkg-deb names it.
    """

    version: str
    epoch: int
    maintainer: str
    compression: str = "xz"

    def changelog(self, package: str) -> str:
        """Return the entry of this build in a package's changelog."""
        date = format_datetime(datetime.fromtimestamp(self.epoch, UTC))
        return (
            f"{package} ({self.version}) unstable; urgency=medium\n\n"
            "  * Built from upstream's checkout. What changed: NEWS.md.gz beside this file.\n\n"
            f" -- {self.maintainer}  {date}\n"
        )


@dataclass(frozen=True, slots=True)
class Control:
    """The fields of one package that are its own."""

    package: str
    architecture: str
    depends: tuple[str, ...]
    summary: str
    text: str
    suggests: tuple[str, ...] = ()

    def render(self, build: Build, tree: Path) -> str:
        """Return the control file."""
        fields = {
            "Package": self.package,
            "Version": build.version,
            "Architecture": self.architecture,
            "Maintainer": build.maintainer,
            "Installed-Size": str(size_kib(tree)),
            "Depends": ", ".join(self.depends),
            "Suggests": ", ".join(self.suggests),
            "Section": "net",
            "Priority": "optional",
        }
        lines = [f"{name}: {value}" for name, value in fields.items() if value]
        text = textwrap.wrap(self.text, 76, break_on_hyphens=False)
        return "\n".join([*lines, f"Description: {self.summary}", *(f" {t}" for t in text)]) + "\n"


def scripts_of(role: Role, folders: tuple[str, ...]) -> dict[str, str]:
    """Return a role's maintainer scripts by name, filled in."""
    words = {
        "@ROLE@": role.name,
        "@USER@": role.user,
        "@FOLDERS@": " ".join(folders),
        "@UNITS@": " ".join(unit.replace("@.", "@*.") for unit in role.units),
    }
    scripts = {}
    for name in SCRIPTS:
        text = (FILES / name).read_text()
        for mark, value in words.items():
            text = text.replace(mark, value)
        scripts[name] = text
    return scripts


def pack(
    tree: Path,
    out: Path,
    control: Control,
    build: Build,
    *,
    conffiles: list[str],
    scripts: dict[str, str],
) -> Path:
    """Write the control files into ``tree`` and pack it; return the package's file.

    Raises:
        BuildError: dpkg-deb is not there, or refuses the tree.
    """
    meta = tree / "DEBIAN"
    sums = "".join(_sum(path, tree) for path in sorted(tree.rglob("*")))
    text = control.render(build, tree)
    meta.mkdir(mode=0o755)
    files = {"control": text, "md5sums": sums, **scripts}
    if conffiles:
        files["conffiles"] = "".join(f"{name}\n" for name in conffiles)
    for name, content in files.items():
        (meta / name).write_text(content)
        (meta / name).chmod(0o755 if name in SCRIPTS else 0o644)
    meta.chmod(0o755)
    for path in [tree, *tree.rglob("*")]:
        os.utime(path, (build.epoch, build.epoch), follow_symlinks=False)
    target = out / f"{control.package}_{build.version}_{control.architecture}.deb"
    done = _run_dpkg(
        ["--root-owner-group", f"-Z{build.compression}", "--build", str(tree), str(target)],
        build.epoch,
    )
    if done.returncode:
        target.unlink(missing_ok=True)
        raise BuildError(f"dpkg-deb refuses {control.package}: {done.stderr.strip()[:500]}")
    return target


def _run_dpkg(arguments: list[str], epoch: int) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["dpkg-deb", *arguments],
            env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise BuildError(
            "dpkg-deb is not on this machine; on Debian it is always there, elsewhere the package"
            " is called dpkg"
        ) from error


def _sum(path: Path, tree: Path) -> str:
    if path.is_symlink() or not path.is_file():
        return ""
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return f"{digest}  {path.relative_to(tree)}\n"
