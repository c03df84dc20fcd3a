"""The few lines that stand in every folder of a site: what it is, and how it is started."""

from __future__ import annotations

from typing import Literal

Kind = Literal[
    "site", "custodian", "aggregator", "officer", "box", "station", "broker", "registrar"
]

_TEXTS: dict[Kind, str] = {
    "site": """\
The site '{name}'. Made by `sealtrace site init`; look at it with `sealtrace site show .`

  ca/, authority/   The CAs and the authority that signs the directory and the policy. Keep this
                    folder on a machine that is off, or on a medium in a safe; never on a network.
  custodians/NAME/  One folder for each custodian: carry it to that custodian's machine.
  aggregator/       The aggregator's folder.
  registrar/        The registrar's folder: new boxes come to it (none if so planned).
  officers/NAME/    One folder for each officer.
  boxes/NAME/       One folder for each edge box.
  broker/           The MQTT broker's folder (none with the embedded broker).

Each folder is whole by itself; once it has arrived and starts, delete it here: its keys are not
needed here again. First make a backup: sealtrace site backup . --out FILE
""",
    "custodian": """\
The custodian '{name}': holds one share of each day's keys and releases it only for a query that it
has checked itself. Its secret file opens with the passphrase.

  start   sealtrace custodian serve --config custodian.toml
""",
    "aggregator": """\
The aggregator: takes sealed sightings in, keeps them sealed, runs authorized queries.

  start   sealtrace aggregator serve --config aggregator.toml
""",
    "officer": """\
The officer '{name}'. The secret files open with the passphrase: keep both apart from each other.

  use     export SEALTRACE_OFFICER=$PWD/officer.toml
          sealtrace query list
""",
    "box": """\
The edge box '{name}'. identity.key is what makes it this box: if it is lost or stolen, run
`sealtrace box revoke` at the site at once.

  start   sealtrace edge run --config box.toml
""",
    "station": """\
The import station '{name}': a box without cameras, which seals recordings. identity.key is what
makes it this box: if it is lost or stolen, run `sealtrace box revoke` at the site at once.

  look    sealtrace footage scan FOLDER
  import  sealtrace footage import FOLDER --dry-run, then without

Both in this folder, or with --config box.toml. Recordings lie there in the clear: keep the disk
encrypted, and delete them when they are imported.
""",
    "registrar": """\
The registrar of the site '{name}': gives new boxes their certificate and configuration,
renews certificates, revokes boxes. Its secret files open with the passphrase.

  start       sealtrace registrar serve --config registrar.toml
  a new box   sealtrace box claim . box-7 --camera door=rtsp://10.0.0.7/stream1
""",
    "broker": """\
The MQTT broker of the site '{name}': Mosquitto 2, ready to run.

  start   cd to this folder, then: mosquitto -c mosquitto.conf

Started by root it changes to the user `mosquitto`, which must own the folder:
chown -R mosquitto: .
After a revocation: put the new acl* and certs/crl*.pem here and send it SIGHUP.
""",
}


def readme(kind: Kind, name: str) -> str:
    """Return the text for the folder of ``name``."""
    return _TEXTS[kind].format(name=name)
