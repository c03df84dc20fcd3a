"""From a blank card to a trace, and out of the fleet again; claims and images that are no good."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from blank_card import blank_card
from film_set import FilmSet
from puppet_box import PuppetBox, announced, person, slots_ago
from query_desk import QueryDesk, template_of
from running_site import PUPPET_MODEL, SERVERS, RunningSite, read_rows
from started_box import StartedBox
from stock_image import MIB, make_stock_image, packed, software_list
from waiting import wait_for

from demo.intruder import Intruder
from demo.local_site import CUSTODIANS, PASSPHRASE, plan_of
from demo.processes import Service
from demo.scenario import ClipTruth
from edge_agent.config import load_box
from protocol.names import EPOCH, SLOT_MS, epoch_of
from protocol.sightings import quantise_template
from provisioning.formats.claimfile import load_claim
from provisioning.registrar.broker_rights import BOXES_ACL, HEADQUARTERS_ACL
from runtime.config import MqttConfig, TlsConfig
from runtime.keyfiles import read_secret
from runtime.mqtt import Session

pytestmark = pytest.mark.mosquitto

BOX, CAMERA = "box-9", "gate"
REVOKED = 3
A_MINUTE_S = 60.0


@dataclass(frozen=True)
class Headquarters:
    """The running site, the stock image it starts from, the film that the new camera sees."""

    site: RunningSite
    stock: Path
    clip: ClipTruth
    slot_ms: int

    @property
    def root(self) -> str:
        """The site's folder, as commands take it."""
        return str(self.site.local.paths.root)

    def claim(self, box: str, camera: str) -> Path:
        """Announce a box whose camera plays the film as if recorded in the slot; its claim."""
        start = datetime.fromtimestamp(self.slot_ms / 1000 + 60, UTC)
        cameras = self.site.local.folder / f"{box}.cameras.toml"
        cameras.write_text(
            f'[[cameras]]\nname = "{camera}"\nsource = "file:{self.clip.path.resolve()}"\n'
            f'pace = "fast"\nrecorded_at = {start.isoformat()}\n'
        )
        self.site.command("box", "claim", self.root, box, "--cameras-file", str(cameras))
        return self.site.local.folder / f"{box}.claim.toml"

    def image(self, box: str, claim: Path, *options: str, expect: int = 0) -> tuple[Path, str]:
        """Build the image of a box's card; what the command said."""
        out = self.site.local.folder / f"{box}.img"
        software = software_list(self.site.local.folder, signer=None)
        self.site.command("image", "sign", self.root, "--requirements", str(software))
        said = self.site.command(
            "image", "build", "--base", str(self.stock), "--box", box, "--claim", str(claim),
            "--sha256", hashlib.sha256(self.stock.read_bytes()).hexdigest(),
            "--requirements", str(software), "--index-url", "https://packages.north.example/simple",
            "--models", str(self.site.local.paths.models), "--out", str(out), *options,
            expect=expect,
        )  # fmt: skip
        return out, said

    def start(self, image: Path, box: str, folder: Path) -> StartedBox:
        """Flash an image, put the card into a blank machine."""
        with blank_card(folder / f"{box}.card", image.stat().st_size + 2 * MIB) as card:
            said = self.site.command("flash", "--image", str(image), *card.options)
            assert "written and verified" in said
        environment = self.site.local.environment
        return StartedBox(card.content, folder / box, environment, name=box)


@pytest.fixture(scope="module")
def hq(
    tmp_path_factory: pytest.TempPathFactory,
    clips: list[ClipTruth],
    model_bundle_path: Path,
    mosquitto_program: str,
) -> Iterator[Headquarters]:
    """Mosquitto, custodians, aggregator and registrar; no box yet."""
    assert mosquitto_program
    cameras = {"cam-1": {"source": "file:none.mp4"}}
    floor = {"threshold_floor": {PUPPET_MODEL: 0.3}}
    plan = plan_of(cameras, bundle=model_bundle_path, broker="mosquitto", policy=floor)
    site = RunningSite(plan, tmp_path_factory.mktemp("fleet"))
    stock = packed(make_stock_image(site.local.folder / "raspios.img", boot_mib=127).path, ".xz")
    clip = next(c for c in clips if any(seen.who == "obama" for seen in c.sightings))
    try:
        site.start(*SERVERS, "registrar")
        yield Headquarters(site, stock, clip, slots_ago(4))
    finally:
        site.stop()


def spellings(secret: bytes) -> set[bytes]:
    """How a secret may stand in a file."""
    return {secret, secret.hex().encode(), b64encode(secret).rstrip(b"=")[:-1]}


def private_keys(site: RunningSite) -> list[bytes]:
    """The private keys that headquarters has."""
    passphrase = PASSPHRASE.encode()
    found = []
    for path in site.local.paths.root.rglob("identity.*"):
        sealed = passphrase if path.suffix == ".secret" else None
        found.append(read_secret(path, sealed, "identity"))
    return found


def let_in(tls: TlsConfig, site: RunningSite, name: str) -> bool:
    """Whether the broker lets somebody in with a certificate."""
    config = MqttConfig(host="localhost", port=site.plan.broker.port, tls=tls)
    session = Session(config, client_id=name, backoff_s=(0.05, 0.1))
    session.start()
    try:
        wait_for(lambda: session.connected or session.down_reason, "an answer of the broker")
        return session.connected
    finally:
        session.stop()


def everyone_has(site: RunningSite, version: int) -> None:
    """Wait until custodians and aggregator go by these admissions."""

    def has(name: str) -> bool:
        taken = site.local.services[name].events("directory_accepted")
        return any(int(str(event["admissions"])) >= version for event in taken)

    for name in (*CUSTODIANS, "aggregator"):
        wait_for(
            partial(has, name),
            f"{name} to hear of it",
            timeout_s=A_MINUTE_S,
        )


def watch_to_the_end(site: RunningSite, box: StartedBox, agent: Service, camera: str) -> None:
    """Wait until headquarters has confirmed all that the box has seen."""
    outbox = box.config.parent / "state" / "outbox.sqlite"
    wait_for(lambda: agent.events("source_ended"), "the end of the film", explain=agent.tail)
    wait_for(
        lambda: len(site.stored(camera)) > 1 and not read_rows(outbox, "SELECT 1 FROM message"),
        "receipts for the day's keys and all that the box has sealed",
        explain=agent.tail,
    )


def test_a_blank_card_becomes_a_box_and_a_stolen_box_becomes_nothing(
    hq: Headquarters, photos_path: Path, tmp_path: Path
) -> None:
    site = hq.site
    image, _ = hq.image(BOX, hq.claim(BOX, CAMERA))

    # The card holds nobody's private key.
    content = image.read_bytes()
    assert load_claim(site.local.folder / f"{BOX}.claim.toml").claim.encode() in content
    assert b"PRIVATE KEY" not in content
    keys = private_keys(site)
    assert len(keys) >= len(CUSTODIANS) + 2
    for key in keys:
        assert not [spelling for spelling in spellings(key) if spelling in content]

    # The installer puts it into a box, switches it on, and goes.
    box = hq.start(image, BOX, tmp_path)
    assert f"{BOX} is admitted" in box.first_boot()
    folder = box.config.parent
    own = read_secret(folder / "identity.key", None, "identity")
    card = (tmp_path / f"{BOX}.card").read_bytes()
    assert not [spelling for spelling in spellings(own) if spelling in card]
    certificate = TlsConfig(
        ca=folder / "tls/ca.pem",
        certificate=folder / "tls/certificate.pem",
        private_key=folder / "tls/private-key.pem",
    )
    everyone_has(site, 1)
    site.may_import(BOX, CAMERA, push=True)
    assert let_in(certificate, site, BOX)
    agent = box.agent()
    agent.start()
    try:
        agent.wait_ready()
        watch_to_the_end(site, box, agent, CAMERA)
        seen = site.boxes()[BOX]
        assert (seen["revoked"], seen["rejects"]) == (False, [])

        # Whom its camera saw is found by the officers, by the rules.
        films = FilmSet(site, [replace(hq.clip, camera=CAMERA)], hq.slot_ms, {}, photos_path)
        query = films.trace(films.enrol())
        (subject,) = site.local.run_json("ana", "trace", "show", query)["subjects"]
        assert [stay["camera"] for stay in subject["candidates"]] == [CAMERA]

        # It is stolen, running, and headquarters hears of it.
        stolen = site.local.paths.box(BOX).parent
        shutil.copytree(folder, stolen, ignore=shutil.ignore_patterns("*.sock"))
        said = site.command("box", "revoke", hq.root, BOX)
        assert f"{BOX} is revoked" in said
        assert agent.wait(A_MINUTE_S) == REVOKED, agent.tail()
    finally:
        agent.kill()
    everyone_has(site, 2)
    before = site.stored(CAMERA)  # also what the box sealed last, before it heard
    assert site.boxes()[BOX]["revoked"] is True
    assert not let_in(certificate, site, BOX)
    assert "revoked" in box.command("box", "renew", "--folder", str(folder), expect=1)

    # Keys of the thief's own making open for nobody.
    thief = person(9)
    puppet = PuppetBox(site, BOX, CAMERA)
    puppet.sequence = max(before) + 1
    announcement = puppet.announcement(epoch_of(hq.slot_ms))
    assert announced(announcement).address.box == BOX
    desk = QueryDesk(site)
    templates = [template_of(*quantise_template(thief))]
    case = desk.draft(templates, [CAMERA], hq.slot_ms, hq.slot_ms + SLOT_MS)
    approvals = [desk.approval(case, officer) for officer in ("bo", "cy")]
    answers = Intruder(site.local).ask(case.signed, approvals, [announcement])
    assert {answer.problem for answer in answers} == {"principal-revoked"}

    # Even a broker that lets everybody in does not help: the aggregator knows by itself.
    paths = site.local.paths
    site.local.services["broker"].stop()
    settings = paths.broker_config.read_text()
    paths.broker_config.write_text(settings.replace("crlfile ", "# crlfile "))
    for rights in (BOXES_ACL, HEADQUARTERS_ACL):
        (paths.broker / rights).write_text("topic readwrite #\npattern readwrite #\n")
    site.start("broker")
    refused = site.rejects(BOX).get("revoked-box", 0)
    with PuppetBox(site, BOX, CAMERA) as puppet:
        puppet.sequence = max(before) + 1
        puppet.publish(puppet.announcement(epoch_of(hq.slot_ms)), EPOCH)
        puppet.show(hq.slot_ms, thief)
        wait_for(
            lambda: site.rejects(BOX).get("revoked-box", 0) >= refused + 2,
            "the aggregator to refuse the stolen box",
        )
    assert site.stored(CAMERA) == before


def test_a_claim_opens_once_in_time_and_for_its_box(hq: Headquarters, tmp_path: Path) -> None:
    site = hq.site
    claim = hq.claim("box-11", "hall")
    join = ("box", "join", "--keys", "file", "--claim-file")
    said = site.command(*join, str(claim), "--folder", str(tmp_path / "first"))
    assert "box-11 is admitted" in said
    said = site.command(*join, str(claim), "--folder", str(tmp_path / "second"), expect=1)
    assert "claim already" in " ".join(said.split())
    assert "sealtrace box revoke" in " ".join(said.split())

    late = hq.claim("box-12", "yard")
    store = site.local.paths.registrar.parent / "state" / "enrolment.db"
    with closing(sqlite3.connect(store)) as database, database:
        now_ms = time.time_ns() // 1_000_000
        database.execute("UPDATE claims SET expires_ms = ? WHERE box = 'box-12'", (now_ms - 1,))
    said = site.command(*join, str(late), "--folder", str(tmp_path / "late"), expect=1)
    assert "has expired" in " ".join(said.split())
    old = load_claim(late).model_copy(update={"expires_at": datetime.now(UTC) - timedelta(hours=1)})
    old.write(late, overwrite=True)
    image, said = hq.image("box-12", late, expect=1)
    assert "ran out" in " ".join(said.split())
    assert not image.exists()

    image, said = hq.image("box-13", claim, expect=1)
    assert "is the claim of box 'box-11', not of 'box-13'" in " ".join(said.split())
    assert not image.exists()
    hq.claim("box-13", "lobby")
    renamed = tmp_path / "renamed.toml"
    load_claim(hq.claim("box-14", "stairs")).model_copy(update={"box": "box-13"}).write(renamed)
    said = site.command(*join, str(renamed), "--folder", str(tmp_path / "renamed"), expect=1)
    assert "not a claim of box 'box-13'" in " ".join(said.split())
    assert not (tmp_path / "renamed" / "box.toml").exists()


def test_an_altered_image_is_not_flashed(hq: Headquarters, tmp_path: Path) -> None:
    image, _ = hq.image("box-15", hq.claim("box-15", "roof"))
    content = image.read_bytes()
    place = content.index(load_claim(hq.site.local.folder / "box-15.claim.toml").url.encode())
    with image.open("r+b") as stream:
        stream.seek(place)
        stream.write(b"https://elsewhere.")
    target = tmp_path / "card"
    flash = ("flash", "--image", str(image), "--file", str(target))
    said = " ".join(hq.site.command(*flash, expect=1).split())
    assert "build" in said
    assert not target.exists() or not any(target.read_bytes()[:512])
    image.write_bytes(content[: len(content) // 2])
    said = " ".join(hq.site.command(*flash, expect=1).split())
    assert "cut short" in said


def test_a_box_without_a_network_comes_in_by_usb_stick(hq: Headquarters, tmp_path: Path) -> None:
    site, stick = hq.site, tmp_path / "stick"
    stick.mkdir()
    image, _ = hq.image("box-16", hq.claim("box-16", "cellar"))
    box = hq.start(image, "box-16", tmp_path)
    folder = box.config.parent
    here = ("--folder", str(folder))
    with site.without("registrar"):
        assert "cannot be reached" in box.first_boot(expect=1)
        assert not box.config.exists()
        box.command("box", "request", "--out", str(stick), *here)
        site.command("box", "admit", hq.root, str(stick / "box-16.request"), "--out", str(stick))
        answer = stick / "box-16.admission"
        told = box.command("box", "install", str(answer), *here)
        assert "box-16 is admitted" in told
        assert load_box(box.config).cameras[0].name == "cellar"
        altered = bytearray(answer.read_bytes())
        altered[len(altered) // 2] ^= 1
        (stick / "altered.admission").write_bytes(altered)
        other = ("box", "install", str(stick / "altered.admission"), *here)
        assert "error" in box.command(*other, expect=1)
    assert "its agent runs" in box.first_boot()  # it is tried again every minute
    assert not (box.boot / "sealtrace" / "claim.toml").exists()
    site.may_import("box-16", "cellar", push=True)
    agent = box.agent()
    agent.start()
    try:
        agent.wait_ready()
        watch_to_the_end(site, box, agent, "cellar")
    finally:
        agent.stop()
