"""Every unit, command and lock has its package, and a package has what is locked and no more."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from custodian.config import CustodianConfig
from provisioning.fleet.image.wheels import Locked, read_lock
from runtime.config import load
from tools.packages.build import build_of
from tools.packages.deb import Build, Control, scripts_of
from tools.packages.environment import BuildError, hold_against, tidy
from tools.packages.layout import folders_of, lay_out_role
from tools.packages.releases import RELEASES, Target
from tools.packages.roles import ANYWHERE, ROLES, ROOT, UNITS, Role, lock_of, named
from tools.packages.skeletons import skeleton

BUILD = Build("0.1.0+1~deb12", 1_700_000_000, "Somebody <somebody@example.org>")


def distribution(packages: Path, name: str, version: str, licence: str = "MIT") -> None:
    """Lay out what a wheel of that name leaves of itself."""
    folder = packages / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    text = (
        f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: {licence}\n"
    )
    (folder / "METADATA").write_text(text)


def test_every_unit_is_in_just_one_package() -> None:
    packaged = [unit for role in ROLES for unit in role.units]
    assert sorted(packaged) == sorted(path.name for path in UNITS.iterdir())
    assert len(packaged) == len(set(packaged))


def test_every_command_is_of_a_role_or_of_any() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    commands = set(project["entry-points"]["sealtrace.commands"])
    owned = [name for role in ROLES for name in role.commands]
    assert len(owned) == len(set(owned))
    assert commands <= {*owned, *ANYWHERE}
    assert set(owned) <= commands


def test_every_role_has_a_lock_and_every_lock_but_the_smaller_aggregators_a_role() -> None:
    locks = {path.stem for path in (ROOT / "locks").glob("*.lock")}
    assert {role.lock for role in ROLES} == locks - {"aggregator"}
    smaller = read_lock(
        ROOT / "locks" / "aggregator.lock", Target(RELEASES["trixie"], "amd64").wheels
    )
    whole = read_lock(lock_of(named(["aggregator"])[0]), Target(RELEASES["trixie"], "amd64").wheels)
    assert {one.requirement for one in smaller} <= {one.requirement for one in whole}


@pytest.mark.parametrize("unit", sorted(UNITS.iterdir()), ids=lambda path: path.stem)
def test_a_unit_runs_the_packaged_command_as_its_roles_account_in_its_folder(unit: Path) -> None:
    text = unit.read_text()
    user = re.findall(r"(?m)^User=(.+)$", text)
    folder = re.findall(r"(?m)^WorkingDirectory=/etc/sealtrace/(.+)$", text)
    assert len(folder) == 1
    if unit.stem == "sealtrace-mosquitto":
        assert (user, folder) == (["mosquitto"], ["broker"])
        return
    role = next(role for role in ROLES if unit.name in role.units)
    assert user == [role.user]
    assert set(re.findall(r"(?m)^ExecStart(?:Pre)?=(\S+)", text)) == {"/usr/bin/sealtrace"}
    assert folder[0] in folders_of(role)
    for place in re.findall(r"(?m)^StateDirectory=(.+)$", text):
        assert place == f"sealtrace/{role.name}"
    for place in re.findall(r"(?m)^LoadCredential=passphrase:(.+)$", text):
        assert place == f"/etc/sealtrace/{role.name}.passphrase"


@pytest.mark.parametrize("role", [role for role in ROLES if role.config], ids=lambda r: r.name)
def test_a_service_brings_units_account_and_an_example_that_nobody_overwrites(
    role: Role, tmp_path: Path
) -> None:
    packages = tmp_path / "site-packages"
    distribution(packages, "some-library", "1.0")
    tree = tmp_path / "tree"
    conffiles = lay_out_role(tree, role, packages)
    assert conffiles == [f"/etc/sealtrace/{role.name}/{role.config}.example"]
    in_etc = {f"/{p.relative_to(tree)}" for p in (tree / "etc").rglob("*") if p.is_file()}
    assert in_etc == set(conffiles)  # the site's own file is never the package's
    for unit in role.units:
        assert (tree / "usr/lib/systemd/system" / unit).read_text() == (UNITS / unit).read_text()
    account = (tree / "usr/lib/sysusers.d" / f"{role.package}.conf").read_text()
    assert re.fullmatch(rf'u {role.user} - "[^:"]+" /var/lib/sealtrace/{role.name}\n', account)
    licences = (tree / "usr/share/doc" / role.package / "copyright").read_text()
    assert " some-library 1.0: MIT\n" in licences


def test_an_officers_package_has_no_service_account_or_configuration(tmp_path: Path) -> None:
    packages = tmp_path / "site-packages"
    packages.mkdir()
    assert lay_out_role(tmp_path / "tree", named(["officer"])[0], packages) == []
    assert not (tmp_path / "tree" / "etc").exists()
    assert not (tmp_path / "tree" / "usr/lib").exists()


@pytest.mark.parametrize("role", ["aggregator", "custodian", "registrar", "edge"])
def test_the_example_of_a_configuration_is_toml_and_explains_its_keys(role: str) -> None:
    text = skeleton(role)
    assert tomllib.loads(text)["site"] == "north"
    assert text.startswith("# An example, which no service reads")
    assert text.count("\n# ") > 20


def test_the_example_is_read_by_the_service_whose_it_is(tmp_path: Path) -> None:
    (tmp_path / "custodian.toml").write_text(skeleton("custodian"))
    read = load(tmp_path / "custodian.toml", CustodianConfig)
    assert read.state_dir == tmp_path / "state"


def test_what_is_locked_is_what_is_there(tmp_path: Path) -> None:
    distribution(tmp_path, "Some_Library", "1.0")
    distribution(tmp_path, "sealtrace", "0.1.0")
    hold_against(tmp_path, [Locked("some-library==1.0", frozenset({"0" * 64}))])


def test_plugins_of_accelerators_and_what_tells_of_this_machine_are_left_out(
    tmp_path: Path,
) -> None:
    distribution(tmp_path, "some_library", "1.0")
    kept = ["ai_edge_litert/interpreter.py", "some_library-1.0.dist-info/METADATA"]
    left_out = [
        "ai_edge_litert/vendors/samsung/compiler/plugin.so",
        "ai_edge_litert/tools/apply_plugin_main",
        "some_library/_vendor/.gitignore",
        "some_library-1.0.dist-info/direct_url.json",
        "bin/some-script",
    ]
    for name in (*kept[:1], *left_out):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    record = tmp_path / "some_library-1.0.dist-info" / "RECORD"
    record.write_text("".join(f"{name},,\n" for name in (*kept, *left_out)))
    tidy(tmp_path)
    there = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert there == {*kept, "some_library-1.0.dist-info/RECORD"}
    assert record.read_text() == "".join(f"{name},,\n" for name in sorted(kept))


@pytest.mark.parametrize(
    ("name", "version"), [("some-library", "1.1"), ("other", "1.0")], ids=["version", "package"]
)
def test_what_is_there_and_not_locked_so_ends_the_build(
    tmp_path: Path, name: str, version: str
) -> None:
    distribution(tmp_path, name, version)
    with pytest.raises(BuildError, match="not what is locked"):
        hold_against(tmp_path, [Locked("some-library==1.0", frozenset({"0" * 64}))])


def test_a_package_asks_for_the_python_that_it_was_built_for() -> None:
    assert RELEASES["bookworm"].python_depends == ("python3 (>= 3.11)", "python3 (<< 3.12)")
    assert RELEASES["trixie"].python_depends == ("python3 (>= 3.13)", "python3 (<< 3.14)")


def test_a_newer_commit_or_release_is_a_newer_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    monkeypatch.setenv("DEBFULLNAME", "Somebody")
    monkeypatch.setenv("DEBEMAIL", "somebody@example.org")
    build = build_of(Target(RELEASES["bookworm"], "amd64"), None, None, "xz")
    assert build.version.endswith("+20231114.221320~deb12")
    assert build.maintainer == "Somebody <somebody@example.org>"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(BuildError, match="SOURCE_DATE_EPOCH"):
        build_of(Target(RELEASES["bookworm"], "amd64"), None, None, "xz")


def test_a_control_file_is_one_that_dpkg_reads(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1500)
    control = Control("sealtrace-x", "all", ("a (>= 1)", "b"), "Summary", "Some words. " * 30)
    lines = control.render(BUILD, tmp_path).splitlines()
    assert "Installed-Size: 2" in lines
    assert "Depends: a (>= 1), b" in lines
    assert not any(line.startswith("Suggests") for line in lines)
    begin = lines.index("Description: Summary")
    assert all(line.startswith(" ") and len(line) <= 80 for line in lines[begin + 1 :])


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_maintainer_scripts_are_filled_in_and_name_all_units(role: Role) -> None:
    scripts = scripts_of(role, folders_of(role))
    assert set(scripts) == {"postinst", "prerm", "postrm"}
    for text in scripts.values():
        assert not re.findall(r"@[A-Z]+@", text)
        assert f"role='{role.name}'" in text
    for unit in role.units:
        assert unit.replace("@.", "@*.") in scripts["prerm"]


def test_a_role_that_is_not_there_is_named() -> None:
    assert [role.name for role in named(["sealtrace-edge", "custodian"])] == ["edge", "custodian"]
    assert named([]) == ROLES
    with pytest.raises(ValueError, match="no such role: cook"):
        named(["cook"])
