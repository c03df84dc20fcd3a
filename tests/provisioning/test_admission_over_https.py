"""A box joins, is configured, renews and is revoked, over real HTTPS with real certificates."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hostile_cbor import BOMBS, within
from registrar_site import CAMERA, RegistrarSite, copy_of, make_site, served

from edge_agent.config import load_box
from edge_agent.identity import load_board_key, require_box
from protocol.directory import BOX, CUSTODIAN
from protocol.errors import PrincipalRevoked
from protocol.joining import CONFIGURATION_KIND, BoxConfiguration, BoxIdentity
from protocol.signing import Signed, SigningKey, sign
from provisioning.authority import SitePaths, SitePlan, changes
from provisioning.box.firstboot import est_client, steps
from provisioning.box.firstboot.errors import FirstBootError, InstallRefused
from provisioning.box.firstboot.install import Folder, install, write_certificate
from provisioning.box.firstboot.keys import FileKeys, make_request
from provisioning.formats import est, pki
from provisioning.formats.claimfile import load_claim
from provisioning.formats.errors import ClaimUnknown, ClaimUsed, RegistrarRefused, RequestInvalid
from provisioning.formats.secretfiles import open_authority
from provisioning.registrar.keys import open_keys
from runtime.http import PeerUnreachable, ProblemError, client
from runtime.trust import Trust


@pytest.fixture
def site(
    made_registrar_site: SitePaths, tmp_path: Path, passphrase: bytes
) -> Iterator[RegistrarSite]:
    made = copy_of(made_registrar_site, tmp_path, passphrase)
    with served(made.registrar):
        yield made
    made.registrar.close()


def refused(kind: str) -> pytest.RaisesExc[ProblemError]:
    return pytest.RaisesExc(ProblemError, check=lambda error: error.type == kind)


def fetch(site: RegistrarSite, folder: Folder) -> bytes:
    return est_client.configuration(folder.read_claim(), folder.tls(FileKeys(folder.path)))


@pytest.mark.slow
def test_an_admitted_box_starts_with_what_it_was_told(site: RegistrarSite) -> None:
    folder = site.join(site.claim())
    config = load_box(folder.box_toml)
    assert [(c.name, c.source) for c in config.cameras] == [("door", CAMERA["source"])]
    assert (config.mqtt.port, config.authority_key) == (8883, site.config.authority_key)
    trust = Trust(
        site=config.site,
        authority=config.authority_key,
        installed=config.directory,
        state_dir=config.state_dir,
    )
    key = load_board_key(config)
    assert require_box(trust.directory, config, key.verify_key).cameras == ("door",)
    tls = config.mqtt.tls
    assert tls is not None
    with client(site.config.url, tls) as http:
        assert http.get("/v1/admissions").content == trust.signed_admissions
    assert folder.read_claim().claim == ""


@pytest.mark.slow
def test_a_used_claim_is_overwritten_where_it_lay(site: RegistrarSite) -> None:
    claim = site.claim()
    folder, read, keys = site.begin(claim)
    inode, kept = folder.claim.stat().st_ino, folder.path.parent / "kept"
    assert site.begin(claim)[0].claim.stat().st_ino == inode, "a retry writes no second copy"
    kept.hardlink_to(folder.claim)
    folder.claim.with_name(".claim.toml.former").write_bytes(claim.read_bytes())  # left by a cut
    steps.join(folder, read, keys)
    assert kept.read_bytes() == bytes(len(claim.read_bytes()))
    assert folder.read_claim() == read.used()
    assert not list(folder.path.glob(".*"))


@pytest.mark.slow
def test_no_private_key_leaves_the_box_and_no_other_user_reads_one(site: RegistrarSite) -> None:
    claim = site.claim()
    assert b"PRIVATE KEY" not in claim.read_bytes()
    folder = site.join(claim)
    seed = (folder.path / "identity.key").read_bytes()
    pem = (folder.path / "tls/private-key.pem").read_bytes()
    database = site.config.database.read_bytes()
    secret = load_claim(claim).secret
    for kept in (seed.split(b"\n\n")[1][:40], pem.splitlines()[1], secret, secret.hex().encode()):
        assert kept not in database
    for path in ("identity.key", "tls/private-key.pem", "box.toml", "claim.toml"):
        assert (folder.path / path).stat().st_mode & 0o077 == 0, path


@pytest.mark.slow
def test_a_claim_is_good_once(site: RegistrarSite) -> None:
    claim = site.claim()
    site.join(claim)
    with refused("claim-used"):
        site.join(claim, "thief")
    assert not (site.boxes / "thief" / "box.toml").exists()


@pytest.mark.slow
def test_a_lost_answer_can_be_asked_for_again_by_the_same_keys_for_a_while(
    site: RegistrarSite,
) -> None:
    folder, claim, keys = site.begin(site.claim())
    keys.make()
    identity, key = keys.load("box-7")
    first, _ = est_client.join(claim, identity, key)
    again, _ = est_client.join(claim, identity, key)
    assert again == first
    with refused("claim-used"):
        est_client.join(claim, SigningKey.generate("box-7"), key)
    site.clock.advance(minutes=11)
    with refused("claim-used"):
        est_client.join(claim, identity, key)
    assert not folder.box_toml.exists()


def test_an_admission_that_was_interrupted_is_finished_by_the_next_run(
    site: RegistrarSite,
) -> None:
    path = site.claim()
    folder, claim, keys = site.begin(path)
    keys.make()
    identity, key = keys.load("box-7")
    certificate, chain = est_client.join(claim, identity, key)
    pem = b"".join(pki.pem(one) for one in (certificate, *chain))
    folder.certificate.write_bytes(pem)  # and here the power went
    folder.ca.write_text(claim.ca)
    site.clock.advance(minutes=60)
    assert site.join(path).read_certificate() == certificate
    before = folder.box_toml.read_bytes()
    site.join(path)
    assert folder.box_toml.read_bytes() == before


def test_an_expired_a_replaced_an_unknown_and_a_foreign_claim(site: RegistrarSite) -> None:
    first = load_claim(site.claim())
    site.claim()
    folder, _, keys = site.begin(site.boxes / "box-7.claim.toml")
    keys.make()
    identity, key = keys.load("box-7")
    with refused("claim-unknown"):
        est_client.join(first, identity, key)
    with refused("claim-unknown"):
        est_client.join(first.model_copy(update={"claim": "00" * 32}), identity, key)
    site.claim("box-8", [{"name": "yard", "source": "rtsp://10.0.0.8/s1"}])
    other = load_claim(site.boxes / "box-8.claim.toml").model_copy(update={"box": "box-7"})
    with refused("claim-unknown"):
        est_client.join(other, identity, key)
    site.clock.advance(days=4)
    with refused("claim-expired"):
        est_client.join(load_claim(site.boxes / "box-7.claim.toml"), identity, key)
    assert not folder.certificate.exists()


@pytest.mark.slow
def test_a_request_must_prove_both_keys_and_name_the_box(site: RegistrarSite) -> None:
    claim = load_claim(site.claim())
    context = ssl.create_default_context(cadata=claim.ca)
    identity, key = SigningKey.generate("box-7"), ec.generate_private_key(ec.SECP256R1())
    request = make_request("box-7", key)
    proof = BoxIdentity.of("demo", identity, request).to_bytes()
    other = make_request("box-8", key)
    tampered = request[:-1] + bytes([request[-1] ^ 1])
    cases = {
        "the identity of another request": (request, BoxIdentity.of("demo", identity, b"x")),
        "of another site": (request, BoxIdentity.of("south", identity, request)),
        "another name": (other, BoxIdentity.of("demo", identity, other)),
        "a wrong signature": (tampered, BoxIdentity.of("demo", identity, tampered)),
        "P-384": (
            (big := make_request("box-7", ec.generate_private_key(ec.SECP384R1()))),
            BoxIdentity.of("demo", identity, big),
        ),
    }
    login = httpx.BasicAuth("box-7", claim.claim)
    with httpx.Client(base_url=claim.url, verify=context, auth=login) as http:

        def post(body: bytes, proof: bytes, kind: str = est.REQUEST_TYPE) -> httpx.Response:
            headers = {"content-type": kind, "sealtrace-identity": base64.b64encode(proof).decode()}
            return http.post(f"{est.PATH}/simpleenroll", content=body, headers=headers)

        for what, (der, signed) in cases.items():
            answer = post(est.encode_body(der), signed.to_bytes())
            assert answer.status_code == 400, what
            assert answer.json()["type"].endswith("request-invalid"), what
        assert post(b"\xff", proof).status_code == 400
        assert post(est.encode_body(request), b"").status_code == 400
        assert post(est.encode_body(request), proof, "text/plain").status_code == 415
        http.auth = httpx.Auth()  # says nothing
        nobody = post(est.encode_body(request), proof)
        assert (nobody.status_code, "www-authenticate" in nobody.headers) == (401, True)
        http.auth = login
        answer = post(est.encode_body(request), proof)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/pkcs7-mime; smime-type=certs-only"
        assert answer.headers["content-transfer-encoding"] == "base64"
        assert [pki.common_name(c) for c in est.read_certs_only(answer.content)] == ["box-7"]
        names = [
            pki.common_name(c) for c in est.read_certs_only(http.get(f"{est.PATH}/cacerts").content)
        ]
        assert set(names) == {"enrolment CA", "issuing CA", "root CA"}
        assert http.get(f"{est.PATH}/csrattrs").headers["content-type"] == "application/csrattrs"


def test_nothing_that_a_stranger_sends_is_read_before_the_claim_is_known(
    site: RegistrarSite,
) -> None:
    proofs = [
        *BOMBS.values(),
        *(
            sign("box-identity", bomb, SigningKey("box-7", bytes(32))).to_bytes()
            for bomb in BOMBS.values()
        ),
    ]
    known = load_claim(site.claim())

    def ask(claim: bytes, proof: bytes, request: bytes) -> type[Exception]:
        with pytest.raises(RegistrarRefused) as caught:
            site.registrar.admit("box-7", claim, request, proof)
        return caught.type

    request = make_request("box-7", ec.generate_private_key(ec.SECP256R1()))

    def refused() -> None:
        for proof in proofs:
            assert ask(bytes(32), proof, b"no request") is ClaimUnknown
            assert ask(known.secret, proof, request) is RequestInvalid

    within(10, 8 << 20, refused)


@pytest.mark.slow
def test_without_a_certificate_there_is_nothing_but_admission(site: RegistrarSite) -> None:
    claim = load_claim(site.claim())
    context = ssl.create_default_context(cadata=claim.ca)
    with httpx.Client(base_url=claim.url, verify=context) as http:
        for path in ("/v1/box/configuration", "/v1/admissions", "/v1/status"):
            assert http.get(path).status_code == 401, path
        rejoin = http.post(
            f"{est.PATH}/simplereenroll",
            content=est.encode_body(b"x"),
            headers={"content-type": est.REQUEST_TYPE},
        )
        assert rejoin.status_code == 401


@pytest.mark.slow
def test_a_box_does_not_talk_to_a_service_of_another_site(
    site: RegistrarSite,
    make_plan: Callable[..., SitePlan],
    tmp_path: Path,
    passphrase: bytes,
    free_port: Callable[[], int],
) -> None:
    other = make_site(make_plan, tmp_path / "other", passphrase, port=free_port())
    claim = load_claim(other.claim()).model_copy(update={"url": site.config.url})
    with pytest.raises(PeerUnreachable, match="cannot be reached"):
        est_client.join(
            claim, SigningKey.generate("box-7"), ec.generate_private_key(ec.SECP256R1())
        )
    other.registrar.close()


@pytest.mark.slow
def test_renewal_keeps_the_keys_and_is_left_alone_until_it_is_due(site: RegistrarSite) -> None:
    folder = site.join(site.claim())
    keys = FileKeys(folder.path)
    first = folder.read_certificate()
    assert first is not None
    _, renewed = steps.renew(folder, keys, if_due=True)
    assert (renewed, folder.read_certificate()) == (False, first)
    site.clock.advance(minutes=4)
    later = datetime.now(UTC) + timedelta(days=21)
    done, renewed = steps.renew(folder, keys, if_due=True, now=later)
    second = folder.read_certificate()
    assert second is not None
    assert renewed and not done.changed
    assert second.not_valid_after_utc == done.until > first.not_valid_after_utc
    assert second.public_key() == first.public_key()
    with client(site.config.url, folder.tls(keys)) as http:
        assert http.get("/v1/box/configuration").status_code == 200
    with pytest.raises(FirstBootError, match="ran out"):
        steps.renew(folder, keys, now=later + timedelta(days=40))


@pytest.mark.slow
def test_a_stolen_tls_key_alone_does_not_renew(site: RegistrarSite) -> None:
    folder = site.join(site.claim())
    keys = FileKeys(folder.path)
    _, key = keys.load("box-7")
    with refused("request-invalid"):
        est_client.renew(folder.read_claim(), SigningKey.generate("box-7"), key, folder.tls(keys))


@pytest.mark.slow
def test_a_revoked_box_gets_nothing_any_more_and_its_name_stays_its_own(
    site: RegistrarSite,
) -> None:
    folder = site.join(site.claim())
    keys = FileKeys(folder.path)
    certificate = folder.read_certificate()
    assert certificate is not None
    assert site.registrar.revoke("box-7")
    assert not site.registrar.revoke("box-7")
    for call in (lambda: steps.renew(folder, keys), lambda: fetch(site, folder)):
        with refused("box-refused"):
            call()
    with pytest.raises(PrincipalRevoked):
        site.registrar.directory.require("box-7", BOX)
    crl = x509.load_pem_x509_crl(site.registrar.issuer.crl_pem())
    assert crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
    with pytest.raises(Exception, match="has been revoked"):
        site.registrar.claim("box-7", [CAMERA])


@pytest.mark.slow
def test_a_swapped_box_keeps_its_cameras(site: RegistrarSite) -> None:
    old = site.join(site.claim())
    with pytest.raises(Exception, match="camera 'door' is on box 'box-7'"):
        site.registrar.claim("box-9", [CAMERA])
    made = site.registrar.swap("box-7", "box-9")
    path = site.boxes / "box-9.claim.toml"
    made.write(path)
    new = site.join(path, "box-9")
    assert load_box(new.box_toml).cameras == load_box(old.box_toml).cameras
    assert site.registrar.directory.box_of_camera("door").name == "box-9"
    with refused("box-refused"):
        fetch(site, old)


def test_a_swap_that_cannot_be_done_revokes_nobody(site: RegistrarSite) -> None:
    site.join(site.claim())
    with pytest.raises(Exception, match="not free"):
        site.registrar.swap("box-7", "aggregator")
    assert site.registrar.revoke("box-7")


@pytest.mark.slow
def test_a_configuration_that_was_altered_or_is_for_another_box_is_refused(
    site: RegistrarSite,
) -> None:
    folder = site.join(site.claim())
    second = site.join(
        site.claim("box-8", [{"name": "yard", "source": "rtsp://10.0.0.8/s1"}]), "box-8"
    )
    claim, keys = folder.read_claim(), FileKeys(folder.path)
    identity, _ = keys.load("box-7")
    genuine = fetch(site, folder)
    text = folder.box_toml.read_bytes()
    forged = bytearray(genuine)
    forged[len(forged) // 2] ^= 1
    for data in (bytes(forged), fetch(site, second), genuine[:-1]):
        with pytest.raises(InstallRefused):
            install(folder, data, claim=claim, identity=identity, keys=keys)
    foreign = claim.model_copy(update={"authority": "11" * 32})
    with pytest.raises(InstallRefused, match="not this site's"):
        install(folder, genuine, claim=foreign, identity=identity, keys=keys)
    older = fetch(site, folder)
    site.clock.advance(minutes=5)
    install(folder, fetch(site, folder), claim=claim, identity=identity, keys=keys)
    with pytest.raises(InstallRefused, match="older"):
        install(folder, older, claim=claim, identity=identity, keys=keys)
    assert folder.box_toml.read_bytes() == text


def before_a_claim(site: RegistrarSite, box: str) -> tuple[Folder, FileKeys]:
    """A new box with keys and an admission, whose configuration has not come yet."""
    folder, read, keys = site.begin(site.claim(box, [{"name": box, "source": "none.mp4"}]), box)
    keys.make()
    identity, key = keys.load(box)
    certificate, chain = est_client.join(read, identity, key)
    write_certificate(folder, certificate, chain, read.ca)
    return folder, keys


@pytest.mark.slow
def test_a_new_box_takes_no_directory_from_before_its_claim(
    site: RegistrarSite, passphrase: bytes
) -> None:
    old = site.registrar.trust.signed
    changes.revoke(site.paths.root, "c3", passphrase)  # the custodian whose machine was stolen
    folder, keys = before_a_claim(site, "box-7")
    claim = folder.read_claim()
    identity, _ = keys.load("box-7")
    genuine = BoxConfiguration.parse(
        Signed.parse(fetch(site, folder), kind=CONFIGURATION_KIND).payload
    )
    registrar = open_keys(site.config, passphrase).identity
    replayed = replace(genuine, directory=old).sign(registrar).to_bytes()
    with pytest.raises(InstallRefused, match="version 1, but version 2"):
        install(folder, replayed, claim=claim, identity=identity, keys=keys)
    assert not (folder.path / "directory.cbor").exists()
    assert not folder.box_toml.exists()
    install(folder, fetch(site, folder), claim=claim, identity=identity, keys=keys)
    trust = Trust(
        site="demo",
        authority=claim.authority_key,
        installed=folder.path / "directory.cbor",
        state_dir=None,
    )
    with pytest.raises(PrincipalRevoked):
        trust.directory.require("c3", CUSTODIAN)


def test_a_new_box_takes_no_other_directory_of_its_claims_version(
    site: RegistrarSite, passphrase: bytes
) -> None:
    folder, keys = before_a_claim(site, "box-7")
    claim = folder.read_claim()
    identity, _ = keys.load("box-7")
    genuine = BoxConfiguration.parse(
        Signed.parse(fetch(site, folder), kind=CONFIGURATION_KIND).payload
    )
    listed = site.registrar.trust.directory
    without = {name: p for name, p in listed.principals.items() if name not in {"c3", "box-7"}}
    authority = open_authority(site.paths, passphrase)
    other = replace(listed, principals=without).sign(authority).to_bytes()
    shown = replace(genuine, directory=other).sign(open_keys(site.config, passphrase).identity)
    with pytest.raises(InstallRefused, match="another directory of version 1"):
        install(folder, shown.to_bytes(), claim=claim, identity=identity, keys=keys)


def test_a_new_box_takes_no_list_of_boxes_from_before_its_claim(
    site: RegistrarSite, passphrase: bytes
) -> None:
    site.join(site.claim("box-8", [{"name": "yard", "source": "none.mp4"}]), "box-8")
    old = site.registrar.trust.signed_admissions
    site.registrar.revoke("box-8")
    folder, keys = before_a_claim(site, "box-7")
    claim = folder.read_claim()
    identity, _ = keys.load("box-7")
    genuine = BoxConfiguration.parse(
        Signed.parse(fetch(site, folder), kind=CONFIGURATION_KIND).payload
    )
    registrar = open_keys(site.config, passphrase).identity
    for admissions in (old, None):
        replayed = replace(genuine, admissions=admissions).sign(registrar).to_bytes()
        with pytest.raises(InstallRefused, match="list of boxes"):
            install(folder, replayed, claim=claim, identity=identity, keys=keys)


@pytest.mark.slow
def test_a_claim_of_an_earlier_version_still_lets_its_box_in(site: RegistrarSite) -> None:
    path = site.claim()
    kept = [
        line
        for line in path.read_text().splitlines()
        if not line.startswith(("directory_", "admissions_"))
    ]
    path.write_text("\n".join(kept) + "\n")
    assert load_claim(path).directory_version == 0
    assert site.join(path).box_toml.exists()


@pytest.mark.slow
def test_a_new_claim_for_an_admitted_box_does_not_trip_over_what_it_has_kept(
    site: RegistrarSite, passphrase: bytes
) -> None:
    site.join(site.claim())
    changes.revoke(site.paths.root, "c3", passphrase)
    folder = site.join(site.claim())
    assert folder.read_claim().directory_version == 2
    steps.renew(folder, FileKeys(folder.path))


@pytest.mark.slow
def test_a_registrar_cannot_decide_whom_a_box_believes(site: RegistrarSite) -> None:
    folder = site.join(site.claim())
    claim, keys = folder.read_claim(), FileKeys(folder.path)
    identity, _ = keys.load("box-7")
    site.registrar.claim("box-7", [CAMERA], settings={"authority": "22" * 32, "site": "south"})
    install(folder, fetch(site, folder), claim=claim, identity=identity, keys=keys)
    config = load_box(folder.box_toml)
    assert (config.site, config.authority) == ("demo", site.config.authority)
    site.registrar.claim("box-7", [CAMERA], settings={"bundle_keys": ["22" * 32]})
    with pytest.raises(InstallRefused, match="bundle_keys"):
        install(folder, fetch(site, folder), claim=claim, identity=identity, keys=keys)


def test_changed_settings_reach_the_box_with_its_next_renewal(site: RegistrarSite) -> None:
    folder = site.join(site.claim())
    moved = replace_source(CAMERA, "rtsp://10.0.0.99/s1")
    site.registrar.claim("box-7", [moved], settings={"outbox": {"max_mb": 500.0}})
    done, _ = steps.renew(folder, FileKeys(folder.path), if_due=True)
    assert done.changed
    config = load_box(folder.box_toml)
    assert (config.cameras[0].source, config.outbox.max_mb) == ("rtsp://10.0.0.99/s1", 500)


def replace_source(camera: dict[str, str], source: str) -> dict[str, object]:
    return {**camera, "source": source}


@pytest.mark.slow
def test_the_ground_measured_at_a_camera_outlives_renewals(site: RegistrarSite) -> None:
    folder = site.join(site.claim())
    ground = {"image_points_px": [[1.5, 2]] * 4, "ground_points_m": [[0, 0.25]] * 4}
    text = folder.box_toml.read_text()
    lines = "".join(f"{key} = {value}\n" for key, value in ground.items())
    folder.box_toml.write_text(f"{text}\n[cameras.homography]\n{lines}")
    steps.renew(folder, FileKeys(folder.path))
    kept = load_box(folder.box_toml).cameras[0].homography
    assert kept is not None
    assert kept.model_dump(exclude_none=True) == {
        "image_points_px": ((1.5, 2),) * 4,
        "ground_points_m": ((0, 0.25),) * 4,
    }
    done, _ = steps.renew(folder, FileKeys(folder.path))
    assert not done.changed
    level = {"matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}
    site.registrar.claim("box-7", [{**CAMERA, "homography": level}])
    steps.renew(folder, FileKeys(folder.path))
    told = load_box(folder.box_toml).cameras[0].homography
    assert told is not None
    assert told.matrix is not None  # what headquarters says goes first


@pytest.mark.slow
def test_a_configuration_that_the_card_no_longer_gives_is_written_anew(site: RegistrarSite) -> None:
    folder = site.join(site.claim())
    whole = folder.box_toml.read_bytes()
    folder.box_toml.write_bytes(b"\xff" + whole[1:])
    done, _ = steps.renew(folder, FileKeys(folder.path))
    assert done.changed
    assert folder.box_toml.read_bytes() == whole


@pytest.mark.slow
def test_a_box_of_the_authority_renews_too(site: RegistrarSite) -> None:
    """Its certificate comes from the offline issuing CA, its key from its own folder."""
    box = site.paths.box("box-1").parent
    config = load_box(box / "box.toml")
    assert config.mqtt.tls is not None
    key = pki.load_key((box / "tls/private-key.pem").read_bytes(), what="key")
    claim = load_claim(site.claim()).model_copy(update={"box": "box-1", "claim": ""})
    certificate, _ = est_client.renew(claim, load_board_key(config), key, config.mqtt.tls)
    assert pki.common_name(certificate) == "box-1"


def test_two_registrars_on_one_database_agree(site: RegistrarSite) -> None:
    """A command beside the running service: each sees at once what the other has done."""
    folder = site.join(site.claim())
    beside = site.open()
    assert beside.revoke("box-7")
    beside.close()
    with refused("box-refused"):
        fetch(site, folder)
    assert site.registrar.directory.principals["box-7"].revoked_at_ms is not None


@pytest.mark.slow
def test_of_many_boxes_with_one_claim_exactly_one_gets_in(site: RegistrarSite) -> None:
    """All at once, over two processes' worth of connections to the database."""
    claim = load_claim(site.claim())
    beside = site.open()

    def try_once(number: int) -> str:
        identity, key = SigningKey.generate("box-7"), ec.generate_private_key(ec.SECP256R1())
        request = make_request("box-7", key)
        proof = BoxIdentity.of("demo", identity, request).to_bytes()
        try:
            desk = site.registrar if number % 2 else beside
            desk.admit("box-7", claim.secret, request, proof)
        except ClaimUsed:
            return "refused"
        return identity.verify_key.fingerprint

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(try_once, range(16)))
    beside.close()
    admitted = [outcome for outcome in outcomes if outcome != "refused"]
    listed = site.registrar.directory.require("box-7", BOX).verify_key
    assert admitted == [listed.fingerprint]
