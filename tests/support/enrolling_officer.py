"""An investigator's folder with the models' bundle: who can enrol from photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from protocol import hpke
from protocol.directory import AUTHORITY, INVESTIGATOR, Directory, Principal
from protocol.signing import SigningKey


@dataclass(frozen=True)
class EnrollingOfficer:
    """Ines of the site north: her configuration, and the key that opens what she enrols."""

    config: Path
    sealing: hpke.PrivateKey


def enrolling_officer(folder: Path, bundle: Path, bundle_key: bytes) -> EnrollingOfficer:
    authority, identity = SigningKey.generate(AUTHORITY), SigningKey.generate("ines")
    sealing = hpke.PrivateKey.generate()
    ines = Principal("ines", frozenset({INVESTIGATOR}), identity.verify_key, sealing.public)
    directory = Directory("north", 1, 1_700_000_000_000, 1, {"ines": ines})
    (folder / "directory.cbor").write_bytes(directory.sign(authority).to_bytes())
    config = folder / "officer.toml"
    config.write_text(
        f"""
site = "north"
name = "ines"
authority = "{authority.verify_key.raw.hex()}"
identity = "identity.secret"
directory = "directory.cbor"
bundle = "{bundle}"
bundle_keys = ["{bundle_key.hex()}"]
"""
    )
    return EnrollingOfficer(config, sealing)
