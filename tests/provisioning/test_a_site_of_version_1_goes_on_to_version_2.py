"""A site of version 1 goes on as it was until its office signs, then box by box in version 2."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from site_v1 import CUSTODIANS, SiteV1
from typer.testing import CliRunner, Result

from edge_agent.config import BoxConfig
from edge_agent.cover import AS_THEY_COME, HELD_BACK, Cover
from edge_agent.epochs import BoardEpochs, DayKeyring
from edge_agent.notices import Notices
from edge_agent.outbox import Outbox
from protocol.directory import open_directory
from protocol.signing import SigningKey
from provisioning.authority import changes, open_site
from provisioning.authority.box_versions import seal_versions
from provisioning.authority.site_cli import app
from provisioning.formats.secretfiles import open_authority
from runtime.config import load
from runtime.trust import Trust

Run = Callable[..., Result]


@pytest.fixture
def old(tmp_path: Path) -> SiteV1:
    return SiteV1.unpack(tmp_path)


@pytest.fixture
def run(old: SiteV1, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("SEALTRACE_PASSPHRASE", old.passphrase.decode())
    monkeypatch.delenv("SEALTRACE_OFFICER", raising=False)

    def ran(*arguments: object) -> Result:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert done.exit_code == 0, done.output
        return done

    return ran


class OldBox:
    """What box-1 of the old site would do, with what lies in its folder."""

    def __init__(self, old: SiteV1) -> None:
        self.config = load(old.paths.box("box-1"), BoxConfig)
        state = self.config.state_dir
        self.trust = Trust(
            site=self.config.site,
            authority=self.config.authority_key,
            installed=self.config.directory,
            state_dir=state,
        )
        self.notices = Notices(self.trust, file=state / "notice.cbor")
        self.outbox = Outbox(state / "outbox.sqlite", max_bytes=1 << 24, memory_bytes=1 << 20)
        self.epochs = BoardEpochs(
            self.config.address("cam-1"),
            trust=self.trust,
            keyring=DayKeyring(self.trust, site=self.config.site, folder=state / "day-keys"),
            board=SigningKey.generate("box-1"),
            models={},
            outbox=self.outbox,
        )
        self.cadence = Cover(self.trust, self.notices.standing).of("cam-1")

    def close(self) -> None:
        self.outbox.close()


@pytest.mark.slow
def test_boxes_seal_in_version_1_until_the_office_signs_and_in_version_2_from_then_on(
    old: SiteV1, run: Run
) -> None:
    with closing(OldBox(old)) as box:
        assert box.epochs.version == 1
        assert box.cadence(old.now_ms) == AS_THEY_COME
        before = box.trust.directory
        run("update", old.root, "--sign")
        assert box.trust.reload()
        assert (box.trust.directory.version, box.trust.directory.form) == (before.version + 1, 2)
        assert dict(box.trust.directory.principals) == dict(before.principals)
        assert box.epochs.version == 2
        assert box.cadence(old.now_ms) == HELD_BACK, "no notice has come yet"
    with closing(OldBox(old)) as again:
        assert again.epochs.version == 2


@pytest.mark.slow
def test_whoever_reads_the_first_form_alone_hears_of_every_change(old: SiteV1, run: Run) -> None:
    run("update", old.root, "--sign")
    changes.revoke(old.root, "box-2", old.passphrase)
    site = open_site(old.root)
    for folder in (old.paths.authority, *old.paths.role_folders()):
        first = open_directory((folder / "directory-1.cbor").read_bytes(), site.authority)
        assert (first.form, first.version) == (1, site.directory.version)
        assert first.principals["box-2"].revoked_at_ms is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", CUSTODIANS)
def test_a_custodian_takes_the_second_form_and_logs_which_form_it_goes_by(
    old: SiteV1, run: Run, name: str
) -> None:
    with closing(old.custodian(name)) as custodian:
        size = custodian.log.size
        run("update", old.root, "--sign")
        custodian.reload()
        site = custodian.trust.site
        assert (site.directory.form, site.directory_form) == (2, 2)
        assert custodian.log.size == size + 1
        first = custodian.trust.readable_in(1)
        assert open_directory(first, open_site(old.root).authority).form == 1
    with closing(old.custodian(name)) as again:
        assert again.trust.site.directory.form == 2


def test_what_the_second_form_says_is_never_lost_by_a_change_of_the_old_site(
    old: SiteV1, run: Run
) -> None:
    run("update", old.root, "--sign")
    seal_versions(old.root, {"box-1": old.now_ms}, old.passphrase)
    changes.revoke(old.root, "bo", old.passphrase)
    assert open_site(old.root).directory.principals["box-1"].version_1_until_ms == old.now_ms
    with closing(OldBox(old)) as box:
        assert box.trust.directory.principals["box-1"].version_1_until_ms == old.now_ms
        # Somebody holds the next second form back.
        later = open_site(old.root).directory.revoke("cy", at_ms=old.now_ms)
        authority = open_authority(old.paths, old.passphrase)
        assert box.trust.accept(later.sign(authority, 1).to_bytes())
        assert box.epochs.version == 2
        kept = replace(later, form=2).principals["box-1"]
        assert box.trust.directory.principals["box-1"] == kept
