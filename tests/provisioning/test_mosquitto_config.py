"""What is written for Mosquitto says what it must, and nothing secret is open to read."""

from __future__ import annotations

from pathlib import Path

from provisioning.mosquitto import mosquitto_acl, write_mosquitto


def _write(folder: Path) -> Path:
    return write_mosquitto(
        folder,
        site="demo",
        host="127.0.0.1",
        port=8883,
        ca_pem=b"ca",
        certificate_pem=b"certificate",
        key_pem=b"key",
        crl_pem=b"crl",
    )


def test_the_configuration_asks_for_certificates_and_names_files_that_exist(tmp_path: Path) -> None:
    config = _write(tmp_path / "broker")
    lines = [line for line in config.read_text().splitlines() if line and line[0] != "#"]
    settings = dict(line.split(" ", 1) for line in lines)
    assert settings["listener"] == "8883 127.0.0.1"
    assert settings["require_certificate"] == "true"
    assert settings["use_identity_as_username"] == "true"
    assert settings["allow_anonymous"] == "false"
    assert settings["tls_version"] == "tlsv1.3"
    for name in ("cafile", "certfile", "keyfile", "crlfile", "acl_file", "persistence_location"):
        assert (config.parent / settings[name]).exists(), name


def test_the_key_and_the_rights_are_private(tmp_path: Path) -> None:
    folder = _write(tmp_path / "broker").parent
    for name in ("certs/private-key.pem", "acl"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_revoked_names_are_denied_before_anything_is_granted() -> None:
    revoked = ["box-2", "box-1"]
    lines = mosquitto_acl("demo", aggregator="aggregator", revoked=revoked).splitlines()
    denied = [lines.index(f"topic deny st/v1/demo/{name}/#") for name in sorted(revoked)]
    assert [lines[i - 1] for i in denied] == ["user box-1", "user box-2"]
    assert max(denied) < lines.index("user aggregator")


def test_a_revoked_aggregator_is_denied_everything() -> None:
    text = mosquitto_acl("demo", aggregator="aggregator", revoked=["aggregator"])
    assert text.index("user aggregator\ntopic deny #\n") < text.index("topic read st/v1/demo/#")
