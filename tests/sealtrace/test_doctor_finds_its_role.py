"""`sealtrace doctor` finds whose machine it is on, or says what to name."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioning.formats.layout import SitePaths
from runtime.officer import OFFICER_ENVIRONMENT
from sealtrace.doctor_places import ROLES, NoRole, find, role_of


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("box.toml", "edge"),
        ("custodian.toml", "custodian"),
        ("aggregator.toml", "aggregator"),
        ("aggregator-2.toml", "aggregator"),
        ("registrar.toml", "registrar"),
        ("enrolment.toml", "registrar"),
        ("match-worker.toml", "match-worker"),
        ("officer.toml", "officer"),
        ("site.toml", "site"),
        ("policy.toml", None),
        ("boxes.toml", None),
        ("custodian.toml.bak", None),
    ],
)
def test_a_configuration_tells_its_role_by_its_name(name: str, role: str | None) -> None:
    found = role_of(Path(name))
    assert (None if found is None else found.name) == role


def test_every_role_has_something_that_looks_at_it() -> None:
    assert all(callable(role.examine) for role in ROLES)


def test_the_current_folder_comes_before_the_installed_ones(tmp_path: Path) -> None:
    here, installed = tmp_path / "here", tmp_path / "etc"
    (installed / "custodian").mkdir(parents=True)
    here.mkdir()
    (installed / "custodian" / "custodian.toml").touch()
    found = find([], role=None, here=here, installed=installed)
    assert [(one.name, role.name) for one, role in found] == [("custodian.toml", "custodian")]
    (here / "box.toml").touch()
    assert find([], role=None, here=here, installed=installed)[0][1].name == "edge"


def test_what_anybody_may_have_put_into_the_current_folder_is_looked_at_only_when_named(
    tmp_path: Path,
) -> None:
    here, installed = tmp_path / "tmp", tmp_path / "etc"
    installed.mkdir()
    here.mkdir()
    here.chmod(0o1777)
    (installed / "custodian.toml").touch()
    planted = here / "custodian.toml"  # whose keys are /etc/shadow, and to be given to its author
    planted.touch()
    (found,) = find([], role=None, here=here, installed=installed)
    assert found[0] == installed / "custodian.toml"
    assert find([planted], role=None, here=here, installed=installed)[0][0] == planted


def test_several_are_refused_with_a_command_for_each(tmp_path: Path) -> None:
    for name in ("aggregator", "registrar"):
        (tmp_path / "my etc" / name).mkdir(parents=True)
        (tmp_path / "my etc" / name / f"{name}.toml").touch()
    with pytest.raises(NoRole) as refused:
        find([], role=None, here=tmp_path, installed=tmp_path / "my etc")
    for name in ("aggregator", "registrar"):
        command = f"sealtrace doctor '{tmp_path / 'my etc' / name / f'{name}.toml'}'"
        assert command in str(refused.value)
    chosen = find([], role="registrar", here=tmp_path, installed=tmp_path / "my etc")
    assert [role.name for _, role in chosen] == ["registrar"]


def test_none_is_said_with_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(NoRole, match=f"in this folder, in {tmp_path} or in"):
        find([], role=None, here=tmp_path, installed=tmp_path)


def test_a_folder_that_this_user_may_not_enter_is_named_with_who_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc" / "custodian").mkdir(parents=True)
    monkeypatch.setattr("os.access", lambda path, _mode: Path(path).name != "custodian")
    with pytest.raises(NoRole, match=r"sudo -u \w+ sealtrace doctor .*/etc/custodian"):
        find([], role=None, here=tmp_path, installed=tmp_path / "etc")


def test_an_officer_is_found_by_what_the_environment_says(
    site: SitePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OFFICER_ENVIRONMENT, str(site.officer("ana")))
    found = find([], role=None, here=tmp_path, installed=tmp_path)
    assert [(path, role.name) for path, role in found] == [(site.officer("ana"), "officer")]


def test_a_folder_stands_for_the_one_configuration_in_it(site: SitePaths) -> None:
    found = find([site.custodian("c1").parent, site.root], role=None, here=Path())
    assert [role.name for _, role in found] == ["custodian", "site"]


def test_a_name_that_tells_nothing_needs_the_role(tmp_path: Path) -> None:
    strange = tmp_path / "mine.toml"
    strange.touch()
    with pytest.raises(NoRole, match="add --role edge, custodian"):
        find([strange], role=None, here=tmp_path)
    assert find([strange], role="custodian", here=tmp_path)[0][1].name == "custodian"
    with pytest.raises(NoRole, match="no such role"):
        find([strange], role="doctor", here=tmp_path)
    with pytest.raises(NoRole, match="does not exist"):
        find([tmp_path / "box.toml"], role=None, here=tmp_path)


def test_a_role_whose_software_is_not_here_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named 'cv9' (for {name})", name="cv9")

    monkeypatch.setattr("sealtrace.doctor_places.import_module", missing)
    with pytest.raises(NoRole, match=r"package 'cv9' is missing; .*SEALTRACE_ROLE=edge"):
        _ = ROLES[0].examine
