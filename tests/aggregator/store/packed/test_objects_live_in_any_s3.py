"""Segments are packed into an S3 as into a folder; while it is away nothing is lost."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from packed_site import PackedSite
from s3_server import ACCESS_KEY, SECRET_KEY, S3Server, s3_server
from sealed_boxes import DAY
from structlog.testing import capture_logs

from aggregator.store import SegmentRun
from aggregator.store.packed import place as place_module
from aggregator.store.retention import purge
from protocol.keytree import FACE
from protocol.names import EPOCH_MS
from runtime.database import StorageDamaged, StorageError, forget_damage
from runtime.lifecycle import Stop

pytestmark = pytest.mark.usefixtures("the_machines_authorities")


@pytest.fixture(scope="module")
def server() -> S3Server:
    return s3_server()


@pytest.fixture
def site(tmp_path: Path, server: S3Server) -> Iterator[PackedSite]:
    site = PackedSite(tmp_path, server.place(tmp_path))
    yield site
    site.store.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_module, "_TRIES_AGAIN", 0)


@pytest.mark.slow
def test_segments_packed_into_an_s3_come_back_as_they_came(site: PackedSite) -> None:
    site.fill((4, 8))
    assert site.pack().objects == 2
    site.reopen()
    site.require_all()
    again = pickle.loads(pickle.dumps(site.store.segments.source)).open()  # noqa: S301 - our own
    (run,) = again.runs(site.scope(site.boxes[0]), modalities=(FACE,))
    assert isinstance(run, SegmentRun)
    assert run.slots.tolist() == [4, 8]
    assert not (site.folder / "segments").exists()


@pytest.mark.slow
def test_a_days_objects_are_fetched_together_and_one_that_is_missing_is_named(
    site: PackedSite,
) -> None:
    site.fill((4, 8, 12, 16))
    site.pack()
    site.reopen()
    site.require_all()
    path = f"{DAY}/0000/03.idx"
    site.store.objects.delete([path])
    site.reopen()
    name = f"{site.store.objects.place.url}/{path}"
    with pytest.raises(StorageDamaged, match=f"{name} is damaged.*missing"):
        site.numbers()
    forget_damage(name)


@pytest.mark.slow
def test_a_store_that_lists_what_is_no_day_stops_nobody(site: PackedSite) -> None:
    site.fill((4,))
    site.pack()
    odd = [f"{'1' * 5000}/a", "²/a", "days/a"]  # of so many digits Python makes no number
    for path in odd:
        site.store.objects.put(path, b"")
    purge(site.store, now_ms=(DAY + 16) * EPOCH_MS, retention_days=14)
    site.pack()
    assert sorted(site.store.objects.folders()) == sorted(path.split("/")[0] for path in odd)


@pytest.mark.slow
def test_a_day_past_its_retention_is_deleted_there(site: PackedSite) -> None:
    site.fill((4,))
    site.fill((4,), day=DAY + 1)
    site.pack()
    assert site.store.objects.folders() == [str(DAY), str(DAY + 1)]
    purge(site.store, now_ms=(DAY + 16) * EPOCH_MS, retention_days=14)
    site.pack()
    assert site.store.objects.folders() == [str(DAY + 1)]
    assert len(site.numbers(DAY + 1)) == 3


def test_an_object_that_somebody_there_changed_is_named_and_not_matched(site: PackedSite) -> None:
    site.fill((4,))
    site.pack()
    path = f"{DAY}/0000/01.{FACE}"
    data = site.store.objects.get(path, most=1 << 20)
    assert data is not None
    site.store.objects.put(path, bytes(data[:-1]) + bytes([data[-1] ^ 1]))
    name = f"{site.store.objects.place.url}/{path}"
    with pytest.raises(StorageDamaged, match=name):
        list(site.store.segments.scan(site.scope(site.boxes[0]), modalities=(FACE,)))
    forget_damage(name)


@pytest.mark.parametrize("in_folder", [False, True])
@pytest.mark.parametrize("ending", ["idx", FACE])
def test_of_a_file_that_somebody_made_larger_no_more_is_read_than_it_had(
    tmp_path: Path, server: S3Server, ending: str, in_folder: bool
) -> None:
    site = PackedSite(tmp_path, None if in_folder else server.place(tmp_path))
    site.fill((4,))
    site.pack()
    objects, path = site.store.objects, f"{DAY}/0000/01.{ending}"
    data = objects.get(path, most=1 << 20)
    assert data is not None
    objects.put(path, bytes(data) + bytes(3 << 20))
    for most in (len(data), 1 << 20):
        found = objects.get(path, most=most)
        assert found is not None
        assert len(found) == most + 1
    site.reopen()
    name = f"{site.store.objects.place.url}/{path}"
    with pytest.raises(StorageDamaged, match=name):
        site.require_all()
    forget_damage(name)
    site.store.close()


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_while_it_is_away_packing_waits_and_goes_on_afterwards(
    site: PackedSite, server: S3Server
) -> None:
    site.fill((4,))
    site.pack()
    site.fill((8,))
    server.stop()
    stop = Stop()
    try:
        packer = site.packer()
        with pytest.raises(StorageError, match=r"cannot use s3://bucket-\d+/of/a-city.*reachable"):
            packer.round(stop)
        site.reopen()
        with pytest.raises(StorageError, match="cannot use s3://"):
            site.numbers()
        site.fill((9,))  # what comes is taken in as ever
        assert [hour.hour for hour in site.hours()] == [2]
    finally:
        server.start()
    assert site.pack().segments == 6
    site.require_all()


@pytest.mark.usefixtures("impatient")
def test_a_place_that_cannot_be_used_is_told_without_its_secret(
    tmp_path: Path, server: S3Server
) -> None:
    site = PackedSite(tmp_path, server.place(tmp_path, bucket=False))
    site.fill((4,))
    with capture_logs() as logs, pytest.raises(StorageError) as told:
        site.pack()
    said = f"{told.value} {logs} {site.store.objects.place}"
    assert "NoSuchBucket" in said
    assert SECRET_KEY not in said
    assert ACCESS_KEY not in said
    site.require_all()


def test_credentials_that_others_can_read_or_that_are_none_are_refused(
    tmp_path: Path, server: S3Server
) -> None:
    place = server.place(tmp_path)
    site = PackedSite(tmp_path, place)
    site.fill((4,))
    assert place.credentials is not None
    place.credentials.chmod(0o640)
    with pytest.raises(StorageError, match=r"others can read .*chmod 600"):
        site.pack()
    place.credentials.chmod(0o600)
    for text in ("access_key_id = 7", "no toml", 'access_key_id = "a"', f'secret = "{SECRET_KEY}"'):
        place.credentials.write_text(text)
        with pytest.raises(StorageError, match=r"s3\.toml") as told:
            site.pack()
        assert SECRET_KEY not in str(told.value)
    missing = PackedSite(tmp_path, replace(place, credentials=tmp_path / "nowhere"))
    with pytest.raises(StorageError, match="cannot read the credentials"):
        missing.pack()
    missing.store.close()
    site.store.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("gs://bucket", "s3://bucket"),
        ("s3:///prefix", "s3://bucket"),
        ("s3://key:secret@bucket/", "credentials"),
        ("s3://bucket/x?region=y", "s3://bucket"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        place_module.require_objects_url(url)


@pytest.mark.parametrize("url", ["http://s3.example", "http://10.0.0.1:9000", "ftp://x", "host:9"])
def test_without_tls_only_an_s3_on_this_machine_is_used(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        place_module.require_endpoint(url)
    assert place_module.require_endpoint("http://127.0.0.1:9000")
