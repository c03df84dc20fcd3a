"""A portion opens for those it is sealed to, comes from the aggregator, and only they answer it."""

from __future__ import annotations

import io
import os
import pickle
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cluster_site import SUBJECTS, ClusterSite
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator.cluster.answers import WorkerFailed, read_answer, write_failure, write_report
from aggregator.cluster.identities import AGGREGATOR, SCHEDULER, WORKER, Distrusted, Identity
from aggregator.cluster.matching import PortionDesk
from aggregator.cluster.portions import read_portion, write_portion
from aggregator.cluster.sealing import (
    NotForUs,
    Recipient,
    introduce,
    open_portion,
    read_introduction,
    seal_portion,
)
from aggregator.cluster.work import ANSWERED, NOT_FOR_US, REFUSED
from aggregator.matching.coverage import Told, add_counts
from aggregator.matching.kernel import Kernel
from aggregator.matching.refusals import Altered
from aggregator.matching.report import MatchReport
from aggregator.store import StorePlace
from demo.match_cluster import ClusterCa
from protocol import hpke
from protocol.encoding import decode, encode
from protocol.errors import AuthenticationFailed, MalformedMessage, ProtocolError
from protocol.grant import GrantedKeys
from protocol.names import SightingName
from protocol.reconcile import DisputedKeys
from protocol.sightings import row_bytes
from protocol.v2.counts import MOST
from protocol.v2.rows import COVERED
from protocol.watching import COUNT_COLUMNS


class Cluster:
    """Identities of a cluster, and two workers' keys."""

    def __init__(self, folder: Path) -> None:
        ca = ClusterCa(folder)
        self.ca = ca
        self.aggregator = Identity(ca.issue("aggregator", AGGREGATOR))
        self.scheduler = Identity(ca.issue("scheduler", SCHEDULER))
        self.worker = Identity(ca.issue("rack-1", WORKER))
        self.keys = [hpke.PrivateKey.generate() for _ in range(3)]

    def recipients(self, *numbers: int) -> list[Recipient]:
        return [Recipient(f"rack-{number}", self.keys[number].public) for number in numbers]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(tmp_path_factory.mktemp("cluster"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> ClusterSite:
    return ClusterSite(tmp_path_factory.mktemp("site"))


def test_each_worker_that_it_is_sealed_to_opens_it_and_nobody_else(cluster: Cluster) -> None:
    sealed = seal_portion(bytearray(b"keys"), cluster.recipients(0, 1), cluster.aggregator)
    for number in (0, 1):
        opened = open_portion(sealed.data, cluster.keys[number], cluster.worker)
        assert opened.plain == b"keys"
        assert sealed.open_answer(opened.seal_answer(b"found")) == b"found"
    with pytest.raises(NotForUs):
        open_portion(sealed.data, cluster.keys[2], cluster.worker)


def test_the_scheduler_can_hand_out_no_portion_of_its_own(cluster: Cluster) -> None:
    false = seal_portion(bytearray(b"keys"), cluster.recipients(0), cluster.scheduler)
    with pytest.raises(Distrusted, match="no aggregator"):
        open_portion(false.data, cluster.keys[0], cluster.worker)


def test_the_scheduler_can_put_no_key_in_a_workers_place(cluster: Cluster) -> None:
    true = introduce(cluster.worker, cluster.keys[0].public)
    assert read_introduction(true, cluster.aggregator).key == cluster.keys[0].public
    mine = hpke.PrivateKey.generate().public
    with pytest.raises(Distrusted, match="no match-worker"):
        read_introduction(introduce(cluster.scheduler, mine), cluster.aggregator)
    said = decode(true, what="introduction")
    with pytest.raises(Distrusted):
        read_introduction(encode({**said, "key": mine.raw}), cluster.aggregator)


def test_an_altered_portion_opens_nowhere(cluster: Cluster) -> None:
    sealed = seal_portion(bytearray(b"keys" * 50), cluster.recipients(0), cluster.aggregator)
    for at in range(0, len(sealed.data), 97):
        altered = bytearray(sealed.data)
        altered[at] ^= 1
        with pytest.raises((Distrusted, ProtocolError)):
            open_portion(bytes(altered), cluster.keys[0], cluster.worker)


def test_an_answer_is_of_this_portion_and_of_who_opened_it(cluster: Cluster) -> None:
    one, other = (
        seal_portion(bytearray(b"keys"), cluster.recipients(0), cluster.aggregator)
        for _ in range(2)
    )
    answer = open_portion(one.data, cluster.keys[0], cluster.worker).seal_answer(b"found")
    with pytest.raises(AuthenticationFailed):
        other.open_answer(answer)
    for false in (os.urandom(len(answer)), bytes([answer[0] ^ 1]) + answer[1:]):
        with pytest.raises(AuthenticationFailed):
            one.open_answer(false)
    with pytest.raises(MalformedMessage):
        one.open_answer(b"")


def test_a_worker_finds_what_is_found_here(cluster: Cluster, site: ClusterSite) -> None:
    desk = PortionDesk(cluster.worker, StorePlace(site.state / "aggregator.db"))
    task = site.task()
    worker = read_introduction(desk.introduction, cluster.aggregator)
    sealed = seal_portion(write_portion(task, {}), [worker], cluster.aggregator)
    answer = desk.do(sealed.data)
    assert answer[:1] == ANSWERED
    report = read_answer(sealed.open_answer(answer[1:]), task)
    assert report == site.here(task)
    assert {one.subject for one in report.found} == set(SUBJECTS)
    assert len(report.candidates) == 1


def test_a_worker_answers_also_what_it_cannot_do_and_tells_no_stranger_why(
    cluster: Cluster, site: ClusterSite, tmp_path: Path
) -> None:
    desk = PortionDesk(cluster.worker, StorePlace(tmp_path / "missing.db"))
    worker = read_introduction(desk.introduction, cluster.aggregator)
    task = site.task()
    sealed = seal_portion(write_portion(task, {}), [worker], cluster.aggregator)
    with pytest.raises(WorkerFailed, match="StorageError"):
        read_answer(sealed.open_answer(desk.do(sealed.data)[1:]), task)
    others = seal_portion(bytearray(b"x"), cluster.recipients(0), cluster.aggregator)
    assert desk.do(others.data) == NOT_FOR_US
    assert desk.do(b"nonsense") == REFUSED
    assert desk.done == {"answered": 0, "failed": 1, "refused": 1, "not_for_us": 1}


def test_a_portion_reads_back_as_it_was(site: ClusterSite) -> None:
    task = site.task()
    read = read_portion(write_portion(task, {})).task
    assert [keys.scope for keys in read.scopes] == [keys.scope for keys in task.scopes]
    assert read.scopes[0].key(60, "face") == task.scopes[0].key(60, "face")
    assert np.array_equal(read.probes[0].matrix, task.probes[0].matrix)
    assert (read.probes[0].subjects, read.contacts) == (SUBJECTS, True)


class Runs:
    """Whose reading would run something."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.mkdir, (self.path,))


@pytest.mark.parametrize("named", ["os.system", "protocol.names.require_name", "builtins.eval"])
def test_a_portion_that_names_something_to_run_is_refused_unread(
    named: str, tmp_path: Path
) -> None:
    module, name = named.rsplit(".", 1)
    call = f"c{module}\n{name}\n(Vtouch {tmp_path}/ran\ntR.".encode()
    with pytest.raises(MalformedMessage, match="which no portion does"):
        read_portion(bytearray(call))
    with pytest.raises(MalformedMessage):
        read_portion(bytearray(pickle.dumps({"v": 1, "scopes": [Runs(tmp_path / "ran")]})))
    assert not (tmp_path / "ran").exists()


def spoilt(site: ClusterSite, **changed: Any) -> dict[str, Any]:
    value: dict[str, Any] = pickle.loads(  # noqa: S301 - our own
        bytes(write_portion(site.task(), {}))
    )
    return {**value, **changed}


@pytest.mark.parametrize(
    "changed",
    [
        {"v": 2}, {"scopes": ["x"]}, {"probes": 5}, {"contacts": 1}, {"max_candidates": -1},
        {"after": True}, {"calibrations": {"m": 1}},
        {"probes": [("face", "m", 4, bytes(16), bytes(4), [])]},
        {"probes": [("face", "m", 4, bytes(15), bytes(4), ["a"])]},
        {"probes": [("face", "m", 4, b"\xff" * 16, bytes(4), ["a"])]},
    ],
)  # fmt: skip
def test_a_portion_of_another_shape_is_refused(site: ClusterSite, changed: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage):
        read_portion(bytearray(pickle.dumps(spoilt(site, **changed))))


def test_what_it_was_written_into_on_the_way_is_wiped(
    site: ClusterSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    class Kept(io.BytesIO):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr("aggregator.cluster.portions.io.BytesIO", Kept)
    read_portion(write_portion(site.task(), {}))
    assert len(made) == 2
    assert all(not any(stream.getbuffer()) for stream in made)


def answered(site: ClusterSite, **changed: Any) -> bytes:
    value = decode(write_report(site.here(site.task())), what="answer")
    return encode({**value, **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {"v": 2}, {"found": 1}, {"cursor": -1}, {"segments": "many"}, {"left_out": {"cam-x": 1}},
        {"lying": {"cam-1": -1}}, {"altered": [[1, "cam-x", "?", None]]}, {"more": 1},
        {"altered": [[1, "cam-1", "x" * 600, None]]}, {"candidates": [b"\xa0"]},
        {"liars": {"c1": [["demo", "box-9", "cam-9", 1, 1, 0, 95]]}}, {"liars": {"c1": 7}},
    ],
)  # fmt: skip
def test_an_answer_of_another_shape_is_refused(site: ClusterSite, changed: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        read_answer(answered(site, **changed), site.task())


def test_an_answer_that_speaks_of_what_was_not_asked_is_refused(site: ClusterSite) -> None:
    task = site.task()
    report = site.here(task)
    assert read_answer(write_report(report), task) == report
    first = report.found[0]
    name = first.name
    for false in (
        replace(first, subject="somebody"),
        replace(first, space="another@00000000"),
        replace(first, score=float("inf")),
        replace(first, score=7.0),
        replace(first, name=SightingName("box-9", *name.to_value()[1:])),  # type: ignore[arg-type]
        replace(first, header=b"nothing"),
        replace(first, episode=b"short"),
    ):
        with pytest.raises(ProtocolError):
            read_answer(write_report(replace(report, found=(false,))), task)
    narrow = replace(task, scopes=task.scopes[1:])
    with pytest.raises(MalformedMessage, match=r"not asked|outside"):
        read_answer(write_report(report), narrow)
    few = replace(task, max_candidates=2)
    with pytest.raises(MalformedMessage):
        read_answer(write_report(report), few)


def test_what_cameras_watched_is_told_where_nothing_is_compared(
    cluster: Cluster, site: ClusterSite
) -> None:
    both = replace(site.task(), tell_through=site.desk.store.segments.newest())
    task = replace(both, probes=())
    here = site.here(task).told
    desk = PortionDesk(cluster.worker, StorePlace(site.state / "aggregator.db"))
    worker = read_introduction(desk.introduction, cluster.aggregator)
    sealed = seal_portion(write_portion(task, {}), [worker], cluster.aggregator)
    there = read_answer(sealed.open_answer(desk.do(sealed.data)[1:]), task).told
    assert here
    assert there is not None
    for ours, theirs in zip(here, there, strict=True):
        assert (ours.scope, ours.anew) == (theirs.scope, theirs.anew)
        for name in ("segments", "seconds", "counting", "counts"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name))
            assert getattr(theirs, name).dtype == np.int32
    assert here[0].seconds.any()
    with pytest.raises(MalformedMessage, match="templates to compare, and tells"):
        read_portion(write_portion(both, {}))


@pytest.mark.parametrize("part", range(2, 6))
@pytest.mark.parametrize("false", [b"x", b"\xff" * 4 * 96, b"\xff" * 4 * 96 * 6])
def test_what_is_told_in_another_size_or_below_nothing_is_refused(
    site: ClusterSite, part: int, false: bytes
) -> None:
    task = site.task()
    told: list[Any] = [task.scopes[0].scope.to_value(), True, b"", b"", b"", b""]
    read_answer(answered(site, told=[told]), task)
    told[part] = false
    with pytest.raises(MalformedMessage):
        read_answer(answered(site, told=[told]), task)
    with pytest.raises(MalformedMessage, match="twice"):
        read_answer(answered(site, told=[[*told[:2], *[b""] * 4]] * 2), task)


def test_a_score_that_a_template_of_the_greatest_length_has_is_read(site: ClusterSite) -> None:
    task = site.task()
    query = np.zeros((1, 512), np.float32)
    query[0, 0] = 1
    row = np.zeros((1, row_bytes(512)), np.uint8)
    row[0, 0] = 127
    row[0, 512:] = np.frombuffer(np.float32(1.0199 / 127).tobytes(), np.uint8)
    (score,) = Kernel(query, np.full(1, 0.5, np.float32)).hits(row).scores.tolist()
    one = replace(site.here(task).found[0], score=score)
    report = MatchReport(found=(one,))
    assert read_answer(write_report(report), task).found[0].score == pytest.approx(score)


def test_a_box_that_counts_more_than_there_are_people_ends_no_portion(site: ClusterSite) -> None:
    task = site.task()
    scope = task.scopes[0].scope
    slots = scope.last_slot - scope.first_slot + 1
    counts = np.zeros((slots, COUNT_COLUMNS), np.int32)
    lie = np.array([MOST, MOST, 0, 0, 0, MOST, MOST, MOST], np.int32)
    for _ in range(3000):  # segments of one quarter hour
        add_counts(counts[0], lie)
    one, six = np.ones(slots, np.int32), np.ones((slots, len(COVERED)), np.int32)
    report = MatchReport(told=(Told(scope, True, one, six, one, counts),))
    read = read_answer(write_report(report), task).told
    assert read is not None
    assert read[0].counts[0, 0] > MOST, "nobody believes that, as if it had been said at once"


def test_what_did_not_open_and_who_lied_is_told(site: ClusterSite) -> None:
    task = site.task()
    scope, other = task.scopes[0].scope, task.scopes[1].scope
    released = {name: GrantedKeys(scope, {}) for name in ("c1", "c2")}
    task = replace(task, scopes=(DisputedKeys(scope, 2, released), *task.scopes[1:]))
    report = MatchReport(
        altered=(Altered(4, scope.address.camera, "altered", scope),),
        liars={"c1": frozenset({scope})},
        skipped_models={"other@00000000": 3},
        left_out={scope.address.camera: 2},
        cursor=9,
    )
    assert read_answer(write_report(report), task) == report
    for name, scopes in (("c3", {scope}), ("c1", {scope, other}), ("c1", {other}), ("c1", ())):
        false = replace(report, liars={name: frozenset(scopes)})
        with pytest.raises(MalformedMessage, match="accuses"):
            read_answer(write_report(false), task)
    with pytest.raises(WorkerFailed, match="no memory"):
        read_answer(write_failure("no memory"), task)


@given(at=st.floats(0, 0.999), bit=st.integers(0, 7), cut=st.booleans())
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_answer_that_a_worker_spoilt_reads_as_something_else_or_is_refused(
    site: ClusterSite, at: float, bit: int, cut: bool
) -> None:
    task = site.task([site.keys()[0]])
    spoilt_answer = bytearray(write_report(site.here(task)))
    place = int(at * len(spoilt_answer))
    spoilt_answer[place] ^= 1 << bit
    if cut:
        del spoilt_answer[place:]
    with suppress(ProtocolError, WorkerFailed):
        read_answer(bytes(spoilt_answer), task)
