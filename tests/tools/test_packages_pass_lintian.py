"""What of a package is ours passes Debian's own lintian, and what it refuses ends a build.

Environments are left out here, since one takes minutes: `make packages` looks at whole packages.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools.packages import lint
from tools.packages.build import Order, finish
from tools.packages.deb import Build, Control, pack
from tools.packages.environment import BuildError, put_commands
from tools.packages.layout import lay_out_common, settle, write_changelog
from tools.packages.releases import RELEASES, Target
from tools.packages.roles import ROLES, Role

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("lintian") is None, reason="no lintian here"),
    pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb here"),
]

BUILD = Build("0.1.0+1~deb12", 1_700_000_000, "Somebody <somebody@example.org>", "none")
TARGET = Target(RELEASES["bookworm"], "amd64")


def said_of(package: Path) -> list[str]:
    """Return what lintian says of a package; errors end the test."""
    lines: list[str] = []
    lint.look_at(package, lines.append)
    assert lines.pop() == f"{package.name}: lintian finds no error"
    return lines


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_roles_units_scripts_and_documents_are_as_debian_wants_them(
    role: Role, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    packages = put_commands(tree, role, TARGET)
    order = Order((role,), TARGET, BUILD, tmp_path, tmp_path)
    assert said_of(finish(order, tree, role, packages)) == []


def test_the_package_that_all_roles_share_is_as_debian_wants_it(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    lay_out_common(tree)
    write_changelog(tree, "sealtrace-common", BUILD.changelog("sealtrace-common"))
    settle(tree)
    control = Control("sealtrace-common", "all", (), "Sealtrace: the command", "Words.")
    assert said_of(pack(tree, tmp_path, control, BUILD, conffiles=[], scripts={})) == []


def test_what_lintian_refuses_ends_the_build(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "usr/local/bin").mkdir(parents=True)
    (tree / "usr/local/bin/something").write_text("a program\n")
    control = Control("sealtrace-something", "all", (), "Something", "Words.")
    package = pack(tree, tmp_path, control, BUILD, conffiles=[], scripts={})
    lines: list[str] = []
    with pytest.raises(BuildError, match="lintian refuses sealtrace-something"):
        lint.look_at(package, lines.append)
    assert any(line.startswith("E: ") and "usr/local" in line for line in lines)
