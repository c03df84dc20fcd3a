"""What a box's claim lay in is overwritten, and nothing else, whoever else writes in its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioning.box.firstboot.wiping import replace_wiped

FORMER = ".claim.toml.former"


def replaced(claim: Path) -> None:
    """Replace a claim by one that was used, as a box does once it is in."""

    def write() -> None:
        new = claim.with_name("new")
        new.write_bytes(b"used")
        new.replace(claim)

    replace_wiped(claim, write)
    assert claim.read_bytes() == b"used"
    assert [one.name for one in claim.parent.iterdir()] == [claim.name]


def test_a_claim_is_overwritten_where_it_lay(tmp_path: Path) -> None:
    claim = tmp_path / "box" / "claim.toml"
    claim.parent.mkdir()
    claim.write_bytes(b"the claim")
    with claim.open("rb") as lay:
        replaced(claim)
        assert lay.read() == bytes(len(b"the claim"))


@pytest.mark.parametrize("name", [FORMER, "claim.toml"])
def test_a_link_that_the_agents_account_put_there_has_nothing_else_overwritten(
    name: str, tmp_path: Path
) -> None:
    shadow = tmp_path / "shadow"
    shadow.write_bytes(b"everybody's passwords")
    claim = tmp_path / "box" / "claim.toml"
    claim.parent.mkdir()
    claim.write_bytes(b"the claim")
    claim.with_name(name).unlink(missing_ok=True)
    claim.with_name(name).symlink_to(shadow)
    replaced(claim)
    assert shadow.read_bytes() == b"everybody's passwords"


def test_a_link_to_nothing_stops_no_box_from_joining(tmp_path: Path) -> None:
    claim = tmp_path / "box" / "claim.toml"
    claim.parent.mkdir()
    claim.write_bytes(b"the claim")
    claim.with_name(FORMER).symlink_to("nowhere")
    replaced(claim)
