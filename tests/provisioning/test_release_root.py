"""The root of releases changes only with enough officers' keys, old and new; boxes follow it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from release_desk import COST, Box, Desk
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from provisioning.fleet.releases import root
from provisioning.fleet.releases.keys import make_key, read_public
from provisioning.fleet.releases.repository import role_keys
from provisioning.fleet.releases.root import InitPlan, RootChange
from provisioning.fleet.releases.verify import verify
from provisioning.formats.releases.errors import ReleaseError
from runtime.keyfiles import KeyFileError


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A desk with three officers, two of whom must sign."""
    return Desk(tmp_path / "desk")


def _officer(desk: Desk, name: str) -> Path:
    """A new officer's key; return its public half."""
    path = desk.folder / f"{name}.secret"
    make_key(path, name, desk.passphrases.make(name), COST)
    return path.with_suffix(".pub")


def _sign(desk: Desk, *names: str) -> list[str]:
    said: list[str] = []
    for name in names:
        own = desk.folder / f"{name}.secret"
        key = own if own.exists() else desk.officer_key(name)
        said = root.sign(desk.repository, key, desk.passphrases)
    return said


def _stage(desk: Desk, change: RootChange) -> list[str]:
    return root.stage(desk.repository, change, desk.passphrases)


def _version(desk: Desk) -> int:
    return desk.repository.root().signed.version


def test_one_signature_changes_nothing(desk: Desk) -> None:
    _stage(desk, RootChange())
    assert "waits for 1 more signature" in _sign(desk, "ana")[-1]
    assert _version(desk) == 1
    _sign(desk, "ana")
    assert _version(desk) == 1


def test_two_signatures_put_a_root_in_force(desk: Desk) -> None:
    _stage(desk, RootChange())
    said = _sign(desk, "ana", "bo")
    assert any("root version 2 is in force" in line for line in said)
    assert _version(desk) == 2
    assert not desk.repository.paths.staged_root.exists()
    assert verify(desk.path).roots == 2


def test_new_officers_need_old_and_new_signatures(desk: Desk) -> None:
    change = RootChange(
        add=(_officer(desk, "dora"), _officer(desk, "emil")), remove=("ana", "bo", "cy")
    )
    _stage(desk, change)
    _sign(desk, "dora", "emil")
    assert _version(desk) == 1
    _sign(desk, "ana")
    assert _version(desk) == 1
    _sign(desk, "bo")
    assert set(role_keys(desk.repository.root().signed, Root.type)) == {"dora", "emil"}


def test_a_removed_officer_signs_no_more(desk: Desk) -> None:
    _stage(desk, RootChange(remove=("cy",)))
    _sign(desk, "ana", "bo")
    _stage(desk, RootChange())
    with pytest.raises(ReleaseError, match="none of the keys that may sign"):
        _sign(desk, "cy")


def test_an_officer_gets_a_new_key_under_the_same_name(desk: Desk) -> None:
    _stage(desk, RootChange(add=(_officer(desk, "ana"),)))
    _sign(desk, "bo", "cy")
    assert len(role_keys(desk.repository.root().signed, Root.type)) == 3
    assert _version(desk) == 2


@pytest.mark.processes
def test_boxes_follow_every_change_from_their_first_root(desk: Desk, tmp_path: Path) -> None:
    first = desk.trusted_root
    box = Box(tmp_path / "box", desk, first)
    desk.models("good 1")
    box.updater().run()
    _stage(desk, RootChange(add=(_officer(desk, "dora"),), remove=("ana",)))
    _sign(desk, "bo", "cy")
    _stage(desk, RootChange(remove=("bo",)))
    _sign(desk, "dora", "cy")
    desk.models("good 2")
    assert box.updater().run().result == "updated"
    late = Box(tmp_path / "late", desk, first)
    assert late.updater().run().result == "updated"
    assert (box.runs, late.runs) == ("good 2", "good 2")


@pytest.mark.processes
def test_stolen_online_and_targets_keys_are_exchanged(desk: Desk, tmp_path: Path) -> None:
    desk.models("good 1")
    box = Box(tmp_path / "box", desk, desk.trusted_root)
    box.updater().run()
    old = desk.repository.root().signed
    roles = (Targets.type, Snapshot.type, Timestamp.type)
    _stage(desk, RootChange(new_keys=roles))
    _sign(desk, "ana", "bo")
    new = desk.repository.root().signed
    for role in roles:
        assert set(old.roles[role].keyids).isdisjoint(new.roles[role].keyids)
    desk.models("good 2")
    assert box.updater().run().result == "updated"
    verify(desk.path)


def test_a_new_targets_key_that_is_elsewhere_is_asked_for(desk: Desk) -> None:
    _stage(desk, RootChange(new_keys=(Targets.type,)))
    [new] = (
        desk.repository.read(desk.repository.paths.staged_root, Root)
        .signed.roles[Targets.type]
        .keyids
    )
    key = desk.repository.paths.role_key(Targets.type, new)
    away = key.rename(desk.folder / "away")
    assert "renew-targets" in _sign(desk, "ana", "bo")[-1]
    with pytest.raises(ReleaseError, match="not signed by the targets key"):
        desk.repository.publish()
    away.rename(key)
    desk.repository.renew_targets()
    verify(desk.path)


def test_a_root_that_waits_is_not_overwritten_but_can_be_dropped(desk: Desk) -> None:
    _stage(desk, RootChange(remove=("cy",)))
    with pytest.raises(ReleaseError, match="waits for signatures already"):
        _stage(desk, RootChange())
    root.discard(desk.repository)
    _stage(desk, RootChange())
    _sign(desk, "cy", "ana")
    assert _version(desk) == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (RootChange(threshold=1), "one stolen key"),
        (RootChange(remove=("ana", "bo")), "cannot give 2 signatures"),
        (RootChange(remove=("nobody",)), "not a release officer"),
        (RootChange(threshold=4), "cannot give 4 signatures"),
        (RootChange(new_keys=("root",)), "name one of"),
    ],
)
def test_a_root_that_could_not_be_kept_is_refused(
    desk: Desk, change: RootChange, says: str
) -> None:
    keys = sorted(desk.repository.paths.keys.iterdir())
    with pytest.raises(ReleaseError, match=says):
        _stage(desk, change)
    assert not desk.repository.paths.staged_root.exists()
    assert sorted(desk.repository.paths.keys.iterdir()) == keys


def test_one_key_cannot_stand_for_two_officers(desk: Desk) -> None:
    public = desk.officer_key("ana").with_suffix(".pub")
    twin = desk.folder / "twin.pub"
    twin.write_text(public.read_text().replace(" ana ", " dora "))
    with pytest.raises(ReleaseError, match="of their own"):
        _stage(desk, RootChange(add=(twin,)))


def test_officers_keys_made_elsewhere_sign_the_first_root(tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("words of an officer")
    publics = {}
    for name in ("ana", "bo"):
        path = tmp_path / f"{name}.secret"
        make_key(path, name, b"four words for tests", COST)
        publics[name] = path.with_suffix(".pub")
    desk = Desk(tmp_path / "desk", officers=publics)
    with pytest.raises(ReleaseError, match="waits for its officers' signatures"):
        desk.repository.root()
    for name in ("ana", "bo"):
        root.sign(desk.repository, tmp_path / f"{name}.secret", desk.passphrases)
    assert verify(desk.path).roots == 1
    assert not list(desk.repository.paths.keys.glob("officer-*"))


def test_stopped_just_after_a_root_came_into_force_is_no_dead_end(desk: Desk) -> None:
    _stage(desk, RootChange())
    _sign(desk, "ana")
    staged = desk.repository.paths.staged_root.read_bytes()
    _sign(desk, "bo")
    desk.repository.paths.staged_root.write_bytes(staged)
    _sign(desk, "bo")
    assert _version(desk) == 2
    assert not desk.repository.paths.staged_root.exists()


def test_a_renewed_root_lives_another_year(tmp_path: Path) -> None:
    start = datetime.now(UTC)
    desk = Desk(tmp_path / "desk", now=lambda: start)
    desk.now = lambda: start + timedelta(days=300)
    _stage(desk, RootChange())
    _sign(desk, "ana", "bo")
    assert desk.repository.root().signed.expires > start + timedelta(days=600)


def test_a_wrong_passphrase_signs_nothing(desk: Desk) -> None:
    _stage(desk, RootChange())
    wrong = desk.folder / "wrong"
    wrong.write_text("not these four words")
    desk.passphrases = type(desk.passphrases)({"": wrong}, cost=COST)
    with pytest.raises(KeyFileError, match="does not open"):
        _sign(desk, "ana")


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (InitPlan({"ana": None}), "cannot give 2"),
        (InitPlan({"ana": None, "bo": None}, threshold=1), "one stolen key"),
        (InitPlan({"ana": None, "bo": None}, lifetime_days={"snap": 1}), "name one of"),
        (InitPlan({"ana": None, "bo": None}, lifetime_days={"root": 0}), "1 to"),
        (InitPlan({"Ana!": None, "bo": None}), "not a name"),
    ],
)
def test_a_plan_that_cannot_be_leaves_nothing(
    desk: Desk, tmp_path: Path, plan: InitPlan, says: str
) -> None:
    with pytest.raises(ReleaseError, match=says):
        root.create(tmp_path / "new", plan, desk.passphrases)
    assert not list(tmp_path.glob("*new*"))


def test_public_halves_are_read_back(desk: Desk) -> None:
    path = desk.officer_key("ana").with_suffix(".pub")
    assert read_public(path, "ana").keyid in desk.repository.root().signed.keys
    with pytest.raises(ReleaseError, match="not of bo"):
        read_public(path, "bo")
    path.write_text("ssh-ed25519 AAAA")
    with pytest.raises(ReleaseError, match="not the public half"):
        read_public(path)
