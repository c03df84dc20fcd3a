"""Root hands a box's folder to the agent's account, and nothing that lies elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from provisioning.box.firstboot.keys import give_to_owner

AGENT = 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def box(tmp_path: Path) -> Path:
    folder = tmp_path / "box"
    (folder / "tls").mkdir(parents=True)
    for name in ("box.toml", "tls/first", "tls/shadow"):
        (folder / name).write_bytes(b"ours")
    os.chown(folder, AGENT, AGENT)
    return folder


def test_all_that_is_in_it_becomes_the_agents_and_no_link_is_followed(
    box: Path, tmp_path: Path
) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "shadow").write_bytes(b"everybody's passwords")
    (box / "link").symlink_to(etc)
    (box / "tls" / "link").symlink_to(etc / "shadow")
    give_to_owner(box, owner_of=box)
    for path in (box, *box.rglob("*")):
        assert path.lstat().st_uid == path.lstat().st_gid == AGENT, path
    assert etc.stat().st_uid == (etc / "shadow").stat().st_uid == 0


@pytest.mark.parametrize("calls", range(6))
def test_a_folder_that_the_agent_exchanges_for_a_link_meanwhile_has_nothing_elsewhere_given_away(
    box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    for name in ("first", "shadow"):
        (etc / name).write_bytes(b"everybody's passwords")
    real, before = os.chown, [calls]

    def exchanging(*given: Any, **options: Any) -> None:
        before[0] -= 1
        if before[0] == -1:
            (box / "tls").rename(box / "aside")
            (box / "tls").symlink_to(etc)
        real(*given, **options)

    monkeypatch.setattr(os, "chown", exchanging)
    give_to_owner(box, owner_of=box)
    assert before[0] < 0
    assert [one.stat().st_uid for one in (etc, etc / "first", etc / "shadow")] == [0, 0, 0]
