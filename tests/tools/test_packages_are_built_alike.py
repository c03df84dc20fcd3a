"""A package of the same tree has the same bytes, its scripts are sound, and its commands say so."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.packages import elf
from tools.packages.__main__ import main
from tools.packages.deb import Build, Control, pack, scripts_of
from tools.packages.environment import BuildError
from tools.packages.layout import folders_of, lay_out_common, settle, write_changelog
from tools.packages.roles import FILES, ROOT, named

pytestmark = pytest.mark.processes

BUILD = Build("0.1.0+1~deb12", 1_700_000_000, "Somebody <somebody@example.org>", "none")
needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb here")


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", **variables}
    return subprocess.run(
        [str(word) for word in command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def common(folder: Path, *, written_s: int = 0) -> Path:
    """Build the package that all roles share; its files say that they were written then."""
    tree = folder / "tree"
    tree.mkdir(parents=True)
    lay_out_common(tree)
    write_changelog(tree, "sealtrace-common", BUILD.changelog("sealtrace-common"))
    settle(tree)
    os.utime(tree / "usr/bin/sealtrace", (written_s, written_s))
    control = Control("sealtrace-common", "all", (), "Sealtrace", "Words.")
    return pack(tree, folder, control, BUILD, conffiles=[], scripts={})


@needs_dpkg
def test_the_same_tree_gives_the_same_bytes_and_belongs_to_root(tmp_path: Path) -> None:
    first, second = common(tmp_path / "a"), common(tmp_path / "b", written_s=1000)
    assert first.read_bytes() == second.read_bytes()
    listed = run("dpkg-deb", "--contents", first).stdout.splitlines()
    assert all(" root/root " in line for line in listed)
    names = {line.split()[-1] for line in listed}
    assert {"./usr/bin/sealtrace", "./usr/sbin/sealtrace-place"} <= names
    assert "./usr/share/doc/sealtrace-common/operations.md" in names
    assert "2023-11-14 22:13" in listed[-1]


@needs_dpkg
def test_conffiles_and_scripts_get_into_the_package(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "etc/sealtrace").mkdir(parents=True)
    (tree / "etc/sealtrace/x.example").write_text("# an example\n")
    role = named(["custodian"])[0]
    control = Control(role.package, "amd64", ("python3",), role.summary, role.text)
    path = pack(
        tree,
        tmp_path,
        control,
        BUILD,
        conffiles=["/etc/sealtrace/x.example"],
        scripts=scripts_of(role, folders_of(role)),
    )
    told = run("dpkg-deb", "--info", path).stdout
    for name in ("conffiles", "md5sums", "postinst", "prerm", "postrm"):
        assert f" {name} " in told
    assert run("dpkg-deb", "--field", path, "Architecture").stdout == "amd64\n"


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck here")
def test_scripts_are_sound_shell() -> None:
    scripts = [path for path in FILES.iterdir() if path.is_file()]
    scripts += (ROOT / "tests" / "boot").glob("servers*.sh")
    assert len(scripts) >= 7
    done = run("shellcheck", *scripts)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf here")
def test_a_library_that_nobody_brings_ends_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = next(Path("/lib").glob("*-linux-gnu/libresolv.so.2"), None)
    if library is None:
        pytest.skip("no libresolv where Debian has it")
    shutil.copy(library, tmp_path / "libsomething.so.1")
    (tmp_path / "text.so").write_text("no library\n")
    assert elf.depends(tmp_path) == ["libc6"]
    monkeypatch.setattr(elf, "_OWNERS", {})
    with pytest.raises(BuildError, match=r"libc\.so\.6"):
        elf.depends(tmp_path)


def test_an_unknown_role_is_a_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cook"]) == 1
    assert "no such role: cook" in capsys.readouterr().err


def roles_here(folder: Path, **commands: str) -> Path:
    """Lay out the command as packages do, over environments that say their names."""
    command = folder / "bin" / "sealtrace"
    command.parent.mkdir()
    shutil.copy(FILES / "sealtrace", command)
    for role, owned in commands.items():
        place = folder / "lib" / "sealtrace" / role
        (place / "bin").mkdir(parents=True)
        (place / "commands").write_text(owned.replace(" ", "\n") + "\n")
        (place / "bin" / "sealtrace").write_text(f'#!/bin/sh\necho {role} "$@"\n')
        (place / "bin" / "sealtrace").chmod(0o755)
    return command


def test_a_command_runs_where_its_role_is_else_anywhere(tmp_path: Path) -> None:
    command = roles_here(tmp_path, aggregator="aggregator", officer="query desk")
    assert run(command, "query", "list", "--json").stdout == "officer query list --json\n"
    assert run(command, "aggregator", "a b").stdout == "aggregator aggregator a b\n"
    assert run(command, "custodian").stdout == "aggregator custodian\n"
    assert run(command).stdout == "aggregator\n"
    assert run(command, "-x").stdout == "aggregator -x\n"
    assert run(command, "quer.").stdout == "aggregator quer.\n"
    link = tmp_path / "linked"
    link.symlink_to(command)
    assert run(link, "query").stdout == "officer query\n"


def test_a_role_may_be_named_and_nothing_else(tmp_path: Path) -> None:
    command = roles_here(tmp_path, aggregator="aggregator", officer="query")
    assert run(command, "query", SEALTRACE_ROLE="aggregator").stdout == "aggregator query\n"
    for name in ("cook", "../../elsewhere", ".."):
        done = run(command, "query", SEALTRACE_ROLE=name)
        assert (done.returncode, done.stdout) == (2, "")
        assert "names no role that is installed" in done.stderr


def test_without_any_role_it_says_what_to_install(tmp_path: Path) -> None:
    done = run(roles_here(tmp_path), "query")
    assert done.returncode == 1
    assert "no role of Sealtrace is installed here" in done.stderr


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "holds no configuration of a role"),
        (["officer.toml"], "stays in that person's own account"),
        (["custodian.toml", "aggregator.toml"], "of both 'custodian' and 'aggregator'"),
    ],
    ids=["nothing", "an officer's", "two roles"],
)
def test_a_folder_that_is_no_roles_is_not_placed(
    tmp_path: Path, files: list[str], said: str
) -> None:
    for name in files:
        (tmp_path / name).touch()
    done = run("sh", FILES / "sealtrace-place", tmp_path)
    assert done.returncode == 1
    assert said in done.stderr


def test_placing_explains_itself() -> None:
    done = run("sh", FILES / "sealtrace-place", "--help")
    assert done.returncode == 0
    assert "Examples:" in done.stdout
    assert run("sh", FILES / "sealtrace-place", "--everything").returncode == 2


def test_no_script_deletes_a_key_a_log_or_a_configuration() -> None:
    """What scripts remove is named here: links, marks, what was compiled."""
    removing = [
        line.strip()
        for name in ("postinst", "prerm", "postrm")
        for line in (FILES / name).read_text().splitlines()
        if " rm " in f" {line} " or "rmdir" in line or "-delete" in line
    ]
    assert removing == [
        'rm -f "$ran"',
        'find "/usr/lib/sealtrace/$role" -name __pycache__ -type d -prune -exec rm -rf {} +',
        'rm -f "/run/sealtrace-$role.ran"',
        "rm -f /etc/systemd/system/multi-user.target.wants/$unit",
        'rm -f "$link"',
        'rmdir "/var/lib/sealtrace/$role" 2>/dev/null || true',
        'rmdir "/etc/sealtrace/$role" 2>/dev/null || true',
    ]


def test_manual_pages_are_roff_that_man_can_show(tmp_path: Path) -> None:
    lay_out_common(tmp_path)
    for name in ("man1/sealtrace.1.gz", "man8/sealtrace-place.8.gz"):
        text = gzip.decompress((tmp_path / "usr/share/man" / name).read_bytes()).decode()
        assert text.startswith(".TH SEALTRACE")
        assert not [line for line in text.splitlines() if line.startswith("'")]
    assert "\\-\\-passphrase\\-file" in text
