"""A stock image becomes a box's: whole, repeatable, and without any private key in it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from stock_image import (
    EFI_FILES,
    MIB,
    OLD_RASPBERRY_FILES,
    SECTOR,
    StockImage,
    make_claim,
    make_stock_image,
    mbr,
    packed,
    read_fat_file,
    signature_of,
    software_list,
)
from typer.testing import CliRunner

from protocol.signing import SigningKey
from provisioning.authority import open_site
from provisioning.fleet.image.blockmap import BlockMap, map_image
from provisioning.fleet.image.build import BuildRequest, build_image
from provisioning.fleet.image.claim import read_claim
from provisioning.fleet.image.errors import ImageError, SoftwareUnsigned
from provisioning.fleet.image.progress import Bars
from provisioning.fleet.image.settings import CardFile, SystemSettings, read_wheels
from provisioning.fleet.image.software import list_of_wheels, open_list, read_requirements
from provisioning.fleet.image_cli import app
from provisioning.formats.claimfile import load_claim
from provisioning.formats.layout import SitePaths

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("mcopy") is None, reason="needs mtools"),
]

Build = Callable[..., Any]
INDEX = "https://packages.north.example/simple"


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> StockImage:
    """A Raspberry Pi's image: MBR, FAT32, ext4."""
    return make_stock_image(tmp_path_factory.mktemp("stock") / "raspios.img")


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> StockImage:
    """A UEFI machine's image: GPT, FAT16, ext4."""
    path = tmp_path_factory.mktemp("debian") / "generic.raw"
    return make_stock_image(path, table="gpt", fat32=False, boot_mib=16, files=EFI_FILES)


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    """The claim of box-7."""
    return make_claim(tmp_path / "claims")


@pytest.fixture
def software(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of software by hash, outside of what tests look into."""
    return software_list(tmp_path_factory.mktemp("software"))


@pytest.fixture
def build(claim: Path, tmp_path: Path, software: Path) -> Build:
    """Run `image build` for box-7; further options are given as words."""

    def run(base: Path, *words: str | Path, out: str = "box-7.img", check: int = 0) -> Any:
        digest = hashlib.sha256(base.read_bytes()).hexdigest()
        options = ["--base", base, "--box", "box-7", "--claim", claim, "--out", tmp_path / out]
        if not {"--sha256", "--checksums", "--no-checksum"} & set(words):
            options += ["--sha256", digest]
        if not {"--wheels", "--requirements"} & set(words):
            options += ["--requirements", software]
        if not {"--wheels", "--index-url"} & set(words):
            options += ["--index-url", INDEX]
        done = CliRunner().invoke(app, ["build", *map(str, [*options, *words])])
        assert done.exit_code == check, done.output
        return done

    return run


def user_data(image: Path, offset: int = MIB) -> dict[str, Any]:
    text = read_fat_file(image, offset, "user-data")
    assert text.startswith(b"#cloud-config\n")
    values = yaml.safe_load(text)
    assert isinstance(values, dict)
    return values


def fat_dates(image: Path) -> set[str]:
    """Return the dates of the files that were written for the first boot."""
    environment = {"PATH": os.environ["PATH"], "TZ": "UTC", "MTOOLSRC": os.devnull,
                   "MTOOLS_SKIP_CHECK": "1", "MTOOLS_DATE_STRING": "yyyy-mm-dd",
                   "MTOOLS_TWENTY_FOUR_HOUR_CLOCK": "1"}  # fmt: skip
    names = ["::/user-data", "::/meta-data", "::/sealtrace/image.json"]
    listing = subprocess.run(
        ["mdir", "-i", f"{image}@@{MIB}", *names], env=environment, capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    return {" ".join(found) for found in re.findall(r"(\d{4}-\d\d-\d\d) +(\d\d:\d\d)", listing)}


def written(values: dict[str, Any]) -> dict[str, str]:
    return {entry["path"]: entry["content"] for entry in values["write_files"]}


def test_a_raspberry_pi_image_gets_what_its_first_boot_needs(
    build: Build, stock: StockImage, tmp_path: Path, claim: Path
) -> None:
    build(stock.path, "--camera", "door=rtsp://u:secret@10.0.0.7/s1", "--timezone", "Europe/Berlin")
    image = tmp_path / "box-7.img"
    values = user_data(image)
    assert values["hostname"] == "box-7"
    assert values["timezone"] == "Europe/Berlin"
    assert values["ssh_pwauth"] is False
    assert [user["lock_passwd"] for user in values["users"]] == [True]
    assert values["users"][0]["shell"] == "/usr/sbin/nologin"
    carried = tmp_path / "carried.toml"
    carried.write_bytes(read_fat_file(image, MIB, "sealtrace/claim.toml"))
    assert load_claim(carried) == load_claim(claim)
    assert json.loads(read_fat_file(image, MIB, "sealtrace/cameras.json")) == [
        {"name": "door", "source": "rtsp://u:secret@10.0.0.7/s1"}
    ]
    assert {entry["permissions"] for entry in values["write_files"]} == {"0644", "0755"}
    assert ["systemctl", "enable", "sealtrace-first-boot.service"] in values["runcmd"]
    network = yaml.safe_load(read_fat_file(image, MIB, "network-config"))["network"]
    assert network["version"] == 2
    assert network["ethernets"]["eth0"]["dhcp4"] is True
    meta = yaml.safe_load(read_fat_file(image, MIB, "meta-data"))
    line = read_fat_file(image, MIB, "cmdline.txt").decode()
    assert line.endswith(f" ds=nocloud;i={meta['instance-id']}\n")
    assert line.startswith("console=serial0,115200 console=tty1 root=PARTUUID=5e3da3da-02 rootwait")
    assert read_fat_file(image, MIB, "kernel8.img") == bytes(range(256)) * 800


def test_nothing_but_the_boot_partition_is_changed(
    build: Build, stock: StockImage, tmp_path: Path
) -> None:
    build(stock.path)
    before, after = stock.path.read_bytes(), (tmp_path / "box-7.img").read_bytes()
    assert len(before) == len(after)
    assert before[: stock.boot_offset] == after[: stock.boot_offset]
    assert before[stock.root_offset :] == after[stock.root_offset :]


def test_a_debian_image_is_prepared_on_its_efi_partition_with_the_label_that_is_looked_for(
    build: Build, debian: StockImage, tmp_path: Path
) -> None:
    build(packed(debian.path, ".zst"))
    image = tmp_path / "box-7.img"
    assert user_data(image)["hostname"] == "box-7"
    assert b"CIDATA     " in image.read_bytes()[debian.boot_offset : debian.boot_offset + 512]
    network = yaml.safe_load(read_fat_file(image, MIB, "network-config"))["network"]
    assert network["ethernets"]["cable"]["match"] == {"name": "e*"}
    assert read_fat_file(image, MIB, "EFI/BOOT/BOOTX64.EFI").startswith(b"MZ")


@pytest.mark.parametrize("ending", ["", ".xz", ".zst"])
def test_the_same_inputs_give_the_same_bytes(
    build: Build,
    stock: StockImage,
    tmp_path: Path,
    ending: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = packed(stock.path, ending) if ending else stock.path
    build(base, out="one.img")
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    build(base, out="two.img")
    one, two = tmp_path / "one.img", tmp_path / "two.img"
    assert one.read_bytes() == two.read_bytes()
    assert Path(f"{one}.bmap").read_bytes() == Path(f"{two}.bmap").read_bytes()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")
    build(base, out="three.img")
    assert (tmp_path / "three.img").read_bytes() != one.read_bytes()
    if not ending:
        assert fat_dates(one) == {"2025-11-24 16:00"}, "that of the base's newest file"
        assert fat_dates(tmp_path / "three.img") == {"2020-09-13 12:26"}


def test_checksum_and_block_map_are_those_of_the_image(
    build: Build, stock: StockImage, tmp_path: Path
) -> None:
    build(stock.path)
    image = tmp_path / "box-7.img"
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    assert (tmp_path / "box-7.img.sha256").read_text() == f"{digest}  box-7.img\n"
    assert BlockMap.read(tmp_path / "box-7.img.bmap") == map_image(image)[0]
    assert image.stat().st_blocks * 512 < image.stat().st_size / 4
    assert image.stat().st_mode & 0o777 == 0o600


def key_material(data: bytes) -> list[bytes]:
    """Return what looks like a private key: PEM, OpenSSH, DER in base64, PKCS #8 in binary."""
    found = re.findall(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----", data)
    found += re.findall(rb"openssh-key-v1", data)
    pkcs8 = (b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01", b"\x06\x03\x2b\x65\x70\x04\x22")
    for text in re.findall(rb"[A-Za-z0-9+/]{40,}={0,2}", data):
        raw = base64.b64decode(text[: len(text) // 4 * 4])
        if raw.startswith(b"\x30") and raw[4:7] == b"\x02\x01\x00":
            found.append(text)
    return found + [mark for mark in pkcs8[1:] if mark in data]


def test_no_private_key_is_in_an_image(
    build: Build, stock: StockImage, tmp_path: Path, claim: Path
) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert key_material(b"x" * 100 + pem + b"y" * 100), "the search must be able to find one"
    # A key that somebody pasted beside the certificate must not get through either.
    text = claim.read_text()
    claim.write_text(
        text.replace(
            'ca = "-----BEGIN', 'ca = "' + pem.decode().replace("\n", "\\n") + "-----BEGIN"
        )
    )
    assert "PRIVATE KEY" in claim.read_text()
    build(stock.path)
    data = (tmp_path / "box-7.img").read_bytes()
    assert b"-----BEGIN CERTIFICATE-----" in data
    assert not key_material(data)


def test_what_is_shown_never_has_the_claim(
    build: Build, stock: StockImage, tmp_path: Path, claim: Path
) -> None:
    told = build(stock.path, "--camera", "door=rtsp://u:secret@10.0.0.7/s1").output
    told += build(stock.path, "--dry-run", "--camera", "door=rtsp://u:secret@10.0.0.7/s1").output
    secret = load_claim(claim).claim
    shown = CliRunner().invoke(app, ["show", str(tmp_path / "box-7.img")])
    assert shown.exit_code == 0
    for words in ("box-7 of site north", "72 h left", "https://registrar.example:8445", "door"):
        assert words in shown.output
    as_json = CliRunner().invoke(app, ["show", "--json", str(tmp_path / "box-7.img")])
    assert json.loads(as_json.output)["box"] == "box-7"
    for text in (told, shown.output, as_json.output):
        assert secret not in text
        assert "secret@" not in text


def test_building_again_does_nothing_and_never_overwrites(
    build: Build, stock: StockImage, tmp_path: Path
) -> None:
    build(stock.path)
    image = tmp_path / "box-7.img"
    before = image.stat()
    assert "just so" in build(stock.path).output
    assert image.stat().st_mtime_ns == before.st_mtime_ns
    assert "exists already" in build(stock.path, "--hostname", "other", check=1).output
    assert image.stat().st_ino == before.st_ino
    build(stock.path, "--hostname", "other", "--force")
    assert user_data(image)["hostname"] == "other"
    image.write_bytes(b"something else")
    assert "exists already" in build(stock.path, check=1).output
    assert image.read_bytes() == b"something else"


def test_a_damaged_image_is_not_taken_for_the_one_that_was_built(
    build: Build, stock: StockImage, tmp_path: Path
) -> None:
    build(stock.path)
    with (tmp_path / "box-7.img").open("r+b") as stream:
        stream.seek(stock.root_offset + 5000)
        stream.write(b"damage")
    assert "exists already" in build(stock.path, check=1).output


def test_a_dry_run_writes_nothing(build: Build, stock: StockImage, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert "would write" in build(stock.path, "--dry-run").output
    assert sorted(tmp_path.rglob("*")) == before


def test_a_failure_leaves_no_file_behind(build: Build, stock: StockImage, tmp_path: Path) -> None:
    base = tmp_path / "cut.img.xz"
    base.write_bytes(packed(stock.path, ".xz").read_bytes()[:-100])
    assert "damaged or cut short" in build(base, check=1).output
    assert "not the file" in build(stock.path, "--sha256", "0" * 64, check=1).output
    assert [path.name for path in tmp_path.iterdir() if "box-7" in path.name] == []


def test_without_a_checksum_nothing_is_built(
    build: Build, stock: StockImage, tmp_path: Path
) -> None:
    base = tmp_path / "raspios.img"
    shutil.copy(stock.path, base)
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(f"{'0' * 64}  other.img\n")
    assert "no checksum for raspios.img" in build(base, "--checksums", sums, check=1).output
    sums.write_text(f"{hashlib.sha256(base.read_bytes()).hexdigest()}  raspios.img\n")
    build(base, "--checksums", sums)
    assert "unchecked" in build(base, "--no-checksum").output


def test_claims_of_other_boxes_and_old_ones_are_refused(
    build: Build, stock: StockImage, tmp_path: Path, software: Path
) -> None:
    other = make_claim(tmp_path / "other", box="box-8")
    assert "claim of box 'box-8'" in build(stock.path, "--claim", other, check=1).output
    old = make_claim(tmp_path / "old", hours=-1)
    assert "ran out" in build(stock.path, "--claim", old, check=1).output
    used = tmp_path / "used.claim"
    load_claim(make_claim(tmp_path / "new")).used().write(used)
    assert "has been used" in build(stock.path, "--claim", used, check=1).output
    bare = ["build", "--base", stock.path, "--no-checksum", "--claim", other]
    bare += ["--requirements", software, "--index-url", INDEX, "--out"]
    done = CliRunner().invoke(app, [*map(str, bare), str(tmp_path / "box-8.img")])
    assert "box-8 must start" in done.output, "the box's name stands in the claim"


def test_no_software_is_asked_for_by_name_at_a_public_index(
    claim: Path, stock: StockImage, tmp_path: Path, software: Path
) -> None:
    options = ["build", "--base", stock.path, "--no-checksum", "--claim", claim]
    options += ["--requirements", software, "--out", tmp_path / "box-7.img"]
    done = CliRunner().invoke(app, [*map(str, options)])
    assert done.exit_code == 1
    assert "by name at a public package index" in done.output
    assert "--index-url" in done.output
    assert not (tmp_path / "box-7.img").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="sealtrace image wheels"):
        read_wheels(tmp_path / "empty")


def test_images_that_cannot_set_themselves_up_are_refused(build: Build, tmp_path: Path) -> None:
    old = make_stock_image(tmp_path / "old.img", files=OLD_RASPBERRY_FILES)
    assert "without cloud-init" in build(old.path, check=1).output
    strange = make_stock_image(tmp_path / "strange.img", files={"readme.txt": b"hello"})
    assert "neither" in build(strange.path, check=1).output
    bare = tmp_path / "bare.img"
    bare.write_bytes(mbr([(0x0C, 8, 1000), (0x83, 1008, 900)]) + bytes(2000 * SECTOR))
    assert "FAT boot partition" in build(bare, check=1).output
    nothing = tmp_path / "nothing.img"
    nothing.write_bytes(bytes(MIB))
    assert "no partition table" in build(nothing, check=1).output


def wheelhouse(folder: Path, *, size: int = 1000) -> Path:
    folder.mkdir()
    for name in ("pip-25.0-py3-none-any.whl", "sealtrace-0.1.0-py3-none-any.whl"):
        (folder / name).write_bytes(os.urandom(size))
    text = list_of_wheels(read_wheels(folder))
    (folder / "software.sig").write_text(signature_of(text))
    return folder


def test_wheels_go_onto_the_card_with_their_sums(
    build: Build, stock: StockImage, tmp_path: Path
) -> None:
    wheels = wheelhouse(tmp_path / "wheels", size=300_000)
    build(stock.path, "--wheels", wheels)
    image = tmp_path / "box-7.img"
    sums = read_fat_file(image, MIB, "sealtrace/wheels.sha256").decode()
    for path in wheels.glob("*.whl"):
        assert read_fat_file(image, MIB, f"sealtrace/wheels/{path.name}") == path.read_bytes()
        assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" in sums
    assert "packages" not in user_data(image)
    assert "packages" in user_data_without_wheels(build, stock, tmp_path)


def user_data_without_wheels(build: Build, stock: StockImage, tmp_path: Path) -> dict[str, Any]:
    build(stock.path, out="plain.img")
    return user_data(tmp_path / "plain.img")


def test_a_wheel_that_changed_since_it_was_read_stops_the_build(
    stock: StockImage, tmp_path: Path, claim: Path
) -> None:
    wheel = CardFile(tmp_path / "pip-25.0-py3-none-any.whl", "0" * 64)
    wheel.path.write_bytes(b"other")
    request = BuildRequest(
        base=stock.path,
        checksum=None,
        claim=read_claim(claim),
        settings=SystemSettings(hostname="box-7", wheels=(wheel,)),
        out=tmp_path / "box-7.img",
    )
    with pytest.raises(ImageError, match="changed while they were copied"):
        build_image(request, Bars(None))
    assert not request.out.exists()


def test_software_that_the_authority_did_not_sign_goes_onto_no_card(
    build: Build, stock: StockImage, tmp_path: Path, software: Path
) -> None:
    wheels = wheelhouse(tmp_path / "wheels")
    extra = wheels / "more-1-py3-none-any.whl"
    extra.write_bytes(b"unseen")
    assert "is not what the authority" in build(stock.path, "--wheels", wheels, check=1).output
    extra.unlink()
    signature = wheels / "software.sig"
    true = signature.read_text()
    listed = list_of_wheels(read_wheels(wheels))
    for text in ("", "zz" * 64, signature_of(listed, signer=SigningKey.generate("authority")),
                 signature_of(listed, site="south")):  # fmt: skip
        signature.write_text(text)
        assert "is not what the authority" in build(stock.path, "--wheels", wheels, check=1).output
    signature.unlink()
    assert "is not signed" in build(stock.path, "--wheels", wheels, check=1).output
    software.write_text(software.read_text() + f"more==1 --hash=sha256:{'1' * 64}\n")
    told = build(stock.path, "--requirements", software, check=1).output
    assert "is not what the authority" in told
    assert not (tmp_path / "box-7.img").exists()
    signature.write_text(true)
    build(stock.path, "--wheels", wheels)


def test_show_finds_a_list_of_software_that_was_changed(
    build: Build, stock: StockImage, tmp_path: Path
) -> None:
    build(stock.path)
    image = tmp_path / "box-7.img"
    data = image.read_bytes()
    assert b"sealtrace==0.1.0 --hash" in data
    image.write_bytes(data.replace(b"sealtrace==0.1.0 --hash", b"sealtrace==0.0.9 --hash"))
    shown = CliRunner().invoke(app, ["show", str(image)])
    assert shown.exit_code == 1
    assert "is not what the authority" in shown.output


def test_the_authority_signs_just_what_it_shows(
    site: SitePaths, passphrase: bytes, tmp_path: Path
) -> None:
    wheels = wheelhouse(tmp_path / "wheels")
    (wheels / "software.sig").unlink()
    secret = tmp_path / "passphrase"
    secret.write_bytes(passphrase)

    def sign(*words: str | Path) -> str:
        options = ["sign", site.root, "--passphrase-file", secret, *words]
        done = CliRunner().invoke(app, [str(word) for word in options])
        assert done.exit_code == 0, done.output
        return done.output

    shown = sign("--wheels", wheels, "--dry-run")
    assert "sealtrace==0.1.0 --hash=sha256:" in shown
    assert not (wheels / "software.sig").exists()
    assert "2 packages are signed" in sign("--wheels", wheels)
    assert "just so" in sign("--wheels", wheels)
    opened = open_site(site.root)
    text = list_of_wheels(read_wheels(wheels))
    open_list(text, wheels, opened.authority, opened.plan.site)
    with pytest.raises(SoftwareUnsigned):
        open_list(text, wheels, opened.authority, "south")
    listed = software_list(tmp_path, signer=None)
    assert "1 packages are signed" in sign("--requirements", listed)
    open_list(read_requirements(listed), listed, opened.authority, opened.plan.site)


def test_show_finds_a_wheel_that_was_changed(
    build: Build, stock: StockImage, tmp_path: Path
) -> None:
    wheels = wheelhouse(tmp_path / "wheels", size=5000)
    build(stock.path, "--wheels", wheels)
    image = tmp_path / "box-7.img"
    data = image.read_bytes()
    wheel = (wheels / "pip-25.0-py3-none-any.whl").read_bytes()
    image.write_bytes(data.replace(wheel[:512], bytes(512)))
    shown = CliRunner().invoke(app, ["show", str(image)])
    assert shown.exit_code == 1
    assert "is damaged" in shown.output


def test_a_boot_partition_that_is_too_small_is_told(
    build: Build, debian: StockImage, tmp_path: Path
) -> None:
    wheels = wheelhouse(tmp_path / "wheels", size=12 * MIB)
    told = build(debian.path, "--wheels", wheels, check=1).output
    assert "MB free" in told
    assert "leave out --wheels" in told


def test_a_wheelhouse_without_the_agent_is_refused(
    build: Build, stock: StockImage, tmp_path: Path
) -> None:
    wheels = wheelhouse(tmp_path / "wheels")
    (wheels / "sealtrace-0.1.0-py3-none-any.whl").unlink()
    assert "no wheel of sealtrace" in build(stock.path, "--wheels", wheels, check=1).output


def test_ssh_is_by_public_key_only(build: Build, stock: StockImage, tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    public, private = tmp_path / "id.pub", tmp_path / "id"
    text = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    public.write_text(f"{text} ana@desk\n")
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    assert "is a private key" in build(stock.path, "--ssh-key", private, check=1).output
    build(stock.path, "--ssh-key", public)
    login = user_data(tmp_path / "box-7.img")["users"][1]
    assert login["ssh_authorized_keys"] == [f"{text} ana@desk"]
    assert login["lock_passwd"] is True
    assert read_fat_file(tmp_path / "box-7.img", MIB, "ssh") == b""


def test_the_wireless_passphrase_itself_is_not_in_the_image(
    build: Build, stock: StockImage, debian: StockImage, tmp_path: Path
) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_text("ThisIsAPassword\n")
    words = ("--wifi", "ThisIsASSID", "--wifi-country", "DE", "--wifi-passphrase-file", phrase)
    build(stock.path, *words)
    network = yaml.safe_load(read_fat_file(tmp_path / "box-7.img", MIB, "network-config"))
    point = network["network"]["wifis"]["wlan0"]["access-points"]["ThisIsASSID"]
    # IEEE 802.11i, annex H.4.3, test vector 2
    assert point["password"] == "0dc0d6eb90555ed6419756b9a15ec3e3209b63df707dd508d14581f8982721af"
    assert b"ThisIsAPassword" not in (tmp_path / "box-7.img").read_bytes()
    assert "by cable" in build(debian.path, *words, out="other.img", check=1).output


def test_no_value_breaks_out_of_its_place(build: Build, stock: StockImage, tmp_path: Path) -> None:
    source = 'rtsp://x/"\n- path: /etc/shadow\n  content: |\n    root::0:0:::\n#{}[]&*!|>%@`'
    build(stock.path, "--camera", f"door={source}")
    image = tmp_path / "box-7.img"
    assert "/etc/shadow" not in written(user_data(image))
    cameras = json.loads(read_fat_file(image, MIB, "sealtrace/cameras.json"))
    assert cameras == [{"name": "door", "source": source}]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--hostname", "Box_7"], "not a host name"),
        (["--timezone", "Mars/Olympus"], "not a time zone"),
        (["--ntp", "a b"], "time server"),
        (["--camera", "door=a", "--camera", "door=b"], "named twice"),
        (["--wifi", "x" * 33, "--wifi-open", "--wifi-country", "DE"], "wireless network"),
        (["--wifi", "x", "--wifi-open"], "--wifi-country"),
        (["--releases", "https://r.example"], "go together"),
    ],
)
def test_impossible_settings_are_refused_before_anything_is_read(
    build: Build, stock: StockImage, words: list[str], told: str
) -> None:
    code = 2 if "--releases" in words else 1
    output = build(stock.path, *words, check=code).output
    assert told in re.sub(r"[\s│]+", " ", output)
