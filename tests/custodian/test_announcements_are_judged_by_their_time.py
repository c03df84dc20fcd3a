"""What a box announced is judged by who might speak for its camera then, not by who may now."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest
from custodian_site import DAY_MS, Asked, Make, Time, approved, make_announcement, read_grant

from custodian.custodian import Custodian
from protocol.directory import Directory, Principal
from protocol.errors import (
    PrincipalRevoked,
    ProtocolError,
    SignatureInvalid,
    UnknownSigner,
    UnsupportedVersion,
)
from protocol.signing import SigningKey

OTHER_KEY = SigningKey("box-1", s.fixed("another key", 32))


def changed(directory: Directory, *boxes: Principal) -> Directory:
    """The next directory, with other boxes."""
    listed = {**directory.principals, **{box.name: box for box in boxes}}
    return directory.next_version(listed, at_ms=s.NOW_MS)


def moved(directory: Directory) -> Directory:
    """The first camera goes to the second box."""
    first, second = (directory.principals[name] for name in ("box-1", "box-2"))
    return changed(
        directory, replace(first, cameras=()), replace(second, cameras=("cam-1", "cam-2"))
    )


def bring(custodian: Custodian, directory: Directory) -> None:
    signed = directory.sign(s.authority(), directory.form)
    assert custodian.accept_directory(signed.to_bytes())


def opens(custodian: Custodian, message: bytes, time: Time) -> bool:
    asked = Asked(approved(time.ms, **window()), [message], time.ms)
    return bool(read_grant(custodian.granter.grant(asked.to_bytes()), "c1").scopes)


def window() -> s.QueryChanges:
    base = s.query()
    return {
        "window_from_ms": base.window_from_ms,
        "window_to_ms": base.window_to_ms,
        "live": False,
        "cameras": ("cam-1", "cam-3"),
    }


@pytest.mark.parametrize("restarted", [False, True])
def test_a_camera_that_went_to_another_box_opens_as_far_as_the_first_one_saw(
    make: Make, time: Time, restarted: bool
) -> None:
    c1 = make("c1")
    _, before = make_announcement([c1])
    time.ms += DAY_MS
    _, late = make_announcement([c1], now_ms=time.ms, epoch=s.EPOCH, generation=2)
    bring(c1, moved(s.directory()))
    if restarted:
        c1.close()
        c1 = make("c1", again=True)
    assert opens(c1, before, time)
    with pytest.raises(UnknownSigner, match="does not speak"):
        opens(c1, late, time)


def test_a_camera_that_comes_back_is_the_boxs_again(make: Make, time: Time) -> None:
    c1 = make("c1")
    away = moved(s.directory())
    bring(c1, away)
    back = changed(away, *(s.directory().principals[name] for name in ("box-1", "box-2")))
    bring(c1, back)
    _, message = make_announcement([c1])
    assert opens(c1, message, time)


def test_a_box_with_a_new_key_opens_by_the_old_one_as_far_as_that_counted(
    make: Make, time: Time
) -> None:
    c1 = make("c1")
    _, before = make_announcement([c1])
    time.ms += DAY_MS
    _, late = make_announcement([c1], now_ms=time.ms, epoch=s.EPOCH, generation=2)
    _, new = make_announcement([c1], now_ms=time.ms, epoch=s.EPOCH, generation=3, signer=OTHER_KEY)
    box = replace(s.directory().principals["box-1"], verify_key=OTHER_KEY.verify_key)
    bring(c1, changed(s.directory(), box))
    assert opens(c1, before, time)
    assert opens(c1, new, time)
    with pytest.raises(SignatureInvalid):
        opens(c1, late, time)


def test_a_revoked_box_that_came_back_with_another_key_stays_revoked_by_the_first(
    make: Make, time: Time
) -> None:
    c1 = make("c1")
    revoked = s.directory().revoke("box-1", at_ms=s.NOW_MS + 1)
    bring(c1, revoked)
    _, before = make_announcement([c1])
    _, after = make_announcement([c1], now_ms=s.NOW_MS + 1, generation=2)
    with pytest.raises(PrincipalRevoked):
        opens(c1, after, time)
    time.ms += DAY_MS
    box = replace(s.directory().principals["box-1"], verify_key=OTHER_KEY.verify_key)
    bring(c1, changed(revoked, box))
    assert opens(c1, before, time)
    with pytest.raises(SignatureInvalid):
        opens(c1, after, time)


def test_the_end_of_version_1_outlives_the_boxs_key(make: Make, time: Time) -> None:
    updated = replace(s.directory().principals["box-1"], version_1_until_ms=s.NOW_MS - 1)
    first = replace(changed(s.directory(), updated), form=2)
    c1 = make("c1", directory=first)
    _, dated_late = make_announcement([c1])
    _, second = make_announcement([c1], generation=2, version=2)
    with pytest.raises(UnsupportedVersion):
        opens(c1, dated_late, time)
    time.ms += DAY_MS
    bring(c1, changed(first, replace(updated, verify_key=OTHER_KEY.verify_key)))
    assert opens(c1, second, time)
    with pytest.raises(ProtocolError):
        opens(c1, dated_late, time)


def test_recordings_that_a_box_might_import_then_open_still(make: Make, time: Time) -> None:
    box = replace(s.directory().principals["box-1"], recordings=("cam-3",))
    first = replace(changed(s.directory(), box), form=2)
    c1 = make("c1", directory=first)
    _, film = make_announcement([c1], camera="cam-3", version=2, origin="recorded")
    _, live = make_announcement([c1], camera="cam-3", version=2)
    time.ms += DAY_MS
    bring(c1, changed(first, replace(box, recordings=())))
    asked = Asked(approved(time.ms, **window()), [film, live], time.ms)
    grant = read_grant(c1.granter.grant(asked.to_bytes()), "c1")
    assert len(grant.scopes) == len(grant.refused) == 1


def test_what_no_directory_ever_said_opens_nothing(make: Make, time: Time) -> None:
    c1 = make("c1")
    bring(c1, moved(s.directory()))
    time.ms += DAY_MS
    _, message = make_announcement([c1], box="box-3", signer=s.signing_key("box-3"))
    with pytest.raises(UnknownSigner, match="lists no box"):
        opens(c1, message, time)


def test_rights_are_forgotten_when_nothing_of_their_time_is_kept(make: Make, time: Time) -> None:
    c1 = make("c1")
    away = moved(s.directory())
    bring(c1, away)
    assert len([row for row in c1.store.box_rights() if row[4] is not None]) == 1
    for day in range(100):
        time.ms += DAY_MS
        if not day % 10:
            c1.rounds.go()
    third = s.principal("box-3", "box", cameras=("cam-3",))
    bring(c1, changed(away, third))
    assert [row for row in c1.store.box_rights() if row[4] is not None] == []
