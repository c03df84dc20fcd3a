"""The files that a box's first boot leaves on its system: the script, the units, the claim.

The script is plain POSIX shell and may be run again at any time: each step looks whether it is
done. Paths can be changed through the environment, so that it can be tried as an ordinary process.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from provisioning.box.firstboot.units import BOX_FOLDER, EDGE_UNIT, SEALTRACE, hardening, units
from provisioning.fleet.image.settings import Releases, SystemSettings
from provisioning.fleet.image.software import DOMAIN
from provisioning.formats.claimfile import ClaimFile
from runtime import tomltext

CLAIM_PATH = "/etc/sealtrace/claim.toml"
CAMERAS_PATH = "/etc/sealtrace/cameras.json"
SCRIPT_PATH = "/usr/local/sbin/sealtrace-first-boot"
UPDATES_PATH = "/etc/sealtrace/updates.toml"
_ROOT_PATH = "/etc/sealtrace/trusted-root.json"
_UNITS = "/etc/systemd/system"
FIRST_BOOT_UNIT = "sealtrace-first-boot.service"
TIME_SERVERS_PATH = "/etc/systemd/timesyncd.conf.d/sealtrace.conf"
PIP_CONFIG_PATH = "/etc/pip.conf"
SOFTWARE_PATH = "/etc/sealtrace/software.txt"
SIGNATURE_PATH = f"{SOFTWARE_PATH}.sig"
SERVICE_USER = "sealtrace"


@dataclass(frozen=True, slots=True)
class SystemFile:
    """A file on the box: absolute path, text, permission bits (all owned by root)."""

    path: str
    text: str
    mode: int = 0o644


# `box enrol` is `box join`: the card's software may be that of the version before.
_SCRIPT = """\
#!/bin/sh
# First boot of a Sealtrace box: installs the software, joins the site, starts its agent.
# May be run again at any time; what is done already is left alone.
set -eu

etc=${SEALTRACE_ETC:-/etc/sealtrace}
var=${SEALTRACE_VAR:-/var/lib/sealtrace}
opt=${SEALTRACE_OPT:-/opt/sealtrace}
user=${SEALTRACE_USER-sealtrace}
systemctl=${SEALTRACE_SYSTEMCTL:-systemctl}
clock_wait_s=${SEALTRACE_CLOCK_WAIT_S:-600}

boot=${SEALTRACE_BOOT:-}
if [ -z "$boot" ]; then
    for folder in /boot/firmware /boot/efi /boot; do
        if [ -f "$folder/sealtrace/image.json" ]; then boot=$folder; break; fi
    done
fi

say() { echo "sealtrace-first-boot: $*"; }
fail() { say "$*" >&2; exit 1; }

# Gives a file or folder to the agent's user.
give() {
    if [ -n "$user" ] && [ "$(id -u)" = 0 ]; then chown "$user:" "$@"; fi
}

# Checks that the authority whom the claim names signed this list of software for the claim's site.
# No software of ours is there yet: the system's own Python lays out what its openssl verifies.
verify() {
    claim=$etc/claim.toml
    [ -f "$claim" ] || claim=$var/box/claim.toml
    [ -s "$1.sig" ] || fail "the list of software at $1 is not signed; nothing is installed"
    command -v openssl >/dev/null ||
        fail "this system has no openssl to check a signature with; take another stock image"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    python3 -I - "$claim" "$1" "$work" <<'END' ||
import pathlib, sys, tomllib
claim, listed, work = map(pathlib.Path, sys.argv[1:])
told = tomllib.loads(claim.read_text())
key = bytes.fromhex("302a300506032b6570032100" + told["authority"])  # RFC 8410
head = "DOMAIN\\n" + told["site"] + "\\n"
(work / "key").write_bytes(key)
(work / "message").write_bytes(head.encode() + listed.read_bytes())
signature = pathlib.Path(str(listed) + ".sig").read_text()
(work / "signature").write_bytes(bytes.fromhex(signature))
END
        fail "the claim, or the signature of $1, is damaged; flash the card again"
    openssl pkeyutl -verify -rawin -pubin -keyform DER -inkey "$work/key" -in "$work/message" \\
        -sigfile "$work/signature" >/dev/null 2>&1 ||
        fail "the list of software at $1 is not what this site's authority signed; nothing is" \\
            "installed"
}

# Checks the files in a folder of the card against the list beside it.
check() {
    (cd "$1" && sha256sum --quiet --strict --check "$1.sha256") ||
        fail "the files in $1 are damaged; flash the card again"
}

if [ -e "$var/admitted" ]; then
    say "this box is admitted already"
    exit 0
fi

# Certificates are judged by the clock, and most boards forget the time when switched off.
waited=0
while [ "$waited" -lt "$clock_wait_s" ]; do
    [ "$(timedatectl show -p NTPSynchronized --value 2>/dev/null || echo yes)" = yes ] && break
    [ "$waited" -eq 0 ] && say "waiting for the clock to be set from the network"
    sleep 2
    waited=$((waited + 2))
done

mkdir -p "$var" "$var/bundles" "$var/box"
chmod 0755 "$var" "$var/bundles"
chmod 0700 "$var/box"
give "$var/box"

if [ -z "${SEALTRACE_COMMAND:-}" ]; then
    if [ ! -e "$opt/.complete" ]; then
        software=$etc/software.txt
        [ -s "$software" ] ||
            fail "there is no list of software at $software; nothing is installed without" \\
                "its hash; build the image again with --wheels"
        verify "$software"
        rm -rf "$opt"
        set -- install --quiet --disable-pip-version-check --require-hashes --no-deps \\
            --only-binary :all: --requirement "$software"
        if [ -n "$boot" ] && [ -d "$boot/sealtrace/wheels" ]; then
            say "installing the software from the boot partition"
            wheels=$boot/sealtrace/wheels
            check "$wheels"
            pip=$(ls "$wheels"/pip-*.whl | head -n 1)
            sum=$(sha256sum "$pip" | cut -c 1-64)
            grep -q "^pip==.*--hash=sha256:$sum" "$software" ||
                fail "$pip is not the one on the list of the software; flash the card again"
            python3 -m venv --without-pip "$opt"
            python3 "$pip/pip" --isolated --python "$opt/bin/python" "$@" --no-index \\
                --find-links "$wheels" ||
                fail "the software on the card is not what the list names; flash the card again"
        else
            say "installing the software over the network"
            python3 -m venv "$opt"
            "$opt/bin/python" -m pip "$@" ||
                fail "the software cannot be had as the list names it, by hash; nothing runs"
        fi
        touch "$opt/.complete"
    fi
    SEALTRACE_COMMAND=$opt/bin/sealtrace
fi

if [ -n "$boot" ] && [ -d "$boot/sealtrace/models" ] && [ ! -e "$var/bundles/current" ]; then
    say "installing the models from the boot partition"
    check "$boot/sealtrace/models"
    rm -rf "$var/bundles/.card"
    cp -R "$boot/sealtrace/models" "$var/bundles/.card"
    chmod -R a+rX,go-w "$var/bundles/.card"
    sync
    rm -rf "$var/bundles/card"
    mv "$var/bundles/.card" "$var/bundles/card"
    ln -sfn card "$var/bundles/current"
fi
[ -e "$var/models" ] || ln -sfn bundles/current "$var/models"

if [ ! -e "$var/box/box.toml" ]; then
    [ -f "$etc/claim.toml" ] || [ -f "$var/box/claim.toml" ] ||
        fail "there is no claim at $etc/claim.toml; flash the card again"
    say "asking to be admitted"
    set -- --folder "$var/box"
    if [ -f "$etc/claim.toml" ]; then set -- "$@" --claim-file "$etc/claim.toml"; fi
    if [ -f "$etc/cameras.json" ]; then set -- "$@" --cameras-file "$etc/cameras.json"; fi
    "$SEALTRACE_COMMAND" box enrol "$@"
fi

if [ -f "$etc/updates.toml" ] && [ ! -e "$var/bundles/current" ]; then
    say "getting the models from the release repository"
    "$SEALTRACE_COMMAND" release update --config "$etc/updates.toml" || true
fi

# The claim is worthless now; it is not kept all the same.
rm -f "$etc/claim.toml" "$etc/cameras.json"
touch "$var/admitted"
$systemctl enable --now sealtrace-keys.service sealtrace-renew.timer
if [ -f "$etc/updates.toml" ]; then $systemctl enable --now sealtrace-update.timer; fi
$systemctl enable --now sealtrace-edge.service
say "this box is admitted and its agent runs"
""".replace("DOMAIN", DOMAIN)

_FIRST_BOOT = f"""\
[Unit]
Description=Sealtrace: install the software and bring this box into its site, once
Wants=network-online.target
After=network-online.target time-sync.target
ConditionPathExists=!/var/lib/sealtrace/admitted
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={SCRIPT_PATH}
Restart=on-failure
RestartSec=60
StandardOutput=journal+console
StandardError=journal+console
ProtectSystem=yes
{hardening()}
[Install]
WantedBy=multi-user.target
"""

_EDGE = f"""\
[Unit]
Description=Sealtrace agent: seals what the cameras of this box see
Wants=network-online.target time-sync.target
After=network-online.target time-sync.target
ConditionPathExists={BOX_FOLDER}/box.toml
StartLimitIntervalSec=0

[Service]
Type=notify
User={SERVICE_USER}
WorkingDirectory={BOX_FOLDER}
# A release that was installed since, if there is one; else the one of the card.
Environment=PYTHONPATH=/var/lib/sealtrace/agents/current
Environment=ORT_DISABLE_TELEMETRY=1
ExecStart={SEALTRACE} edge run --config {BOX_FOLDER}/box.toml
ExecReload=/bin/kill -HUP $MAINPID
WatchdogSec=60
Restart=on-failure
RestartSec=5
TimeoutStopSec=30
# Exit code 3: this box has been revoked. It must not come back by itself.
RestartPreventExitStatus=3
SupplementaryGroups=video
DeviceAllow=char-video4linux rw
ReadWritePaths={BOX_FOLDER}
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
CapabilityBoundingSet=
UMask=0077
# Nothing of this process on a disk: no core dumps, no swap.
LimitCORE=0
MemorySwapMax=0
MemoryHigh=1G
MemoryMax=1536M
LimitNOFILE=1024
TasksMax=512

[Install]
WantedBy=multi-user.target
"""

_UPDATE = f"""\
[Unit]
Description=Sealtrace: bring this box to the release of its group
Wants=network-online.target
After=network-online.target time-sync.target
ConditionPathExists={BOX_FOLDER}/box.toml

[Service]
Type=oneshot
ExecStart={SEALTRACE} release update --config {UPDATES_PATH}
ProtectSystem=strict
ReadWritePaths=/var/lib/sealtrace
{hardening()}\
"""

_UPDATE_TIMER = """\
[Unit]
Description=Sealtrace: look for releases every hour

[Timer]
OnBootSec=15min
OnUnitActiveSec=1h
RandomizedDelaySec=15min

[Install]
WantedBy=timers.target
"""


def system_files(claim: ClaimFile, settings: SystemSettings) -> Sequence[SystemFile]:
    """Return the files for a box, in the order of their paths."""
    files = [
        SystemFile(CLAIM_PATH, claim.to_toml(), 0o600),
        SystemFile(SCRIPT_PATH, _SCRIPT, 0o755),
        SystemFile(f"{_UNITS}/{FIRST_BOOT_UNIT}", _FIRST_BOOT),
        SystemFile(f"{_UNITS}/{EDGE_UNIT}", _EDGE),
        *(SystemFile(f"{_UNITS}/{name}", text) for name, text in units().items()),
    ]
    if settings.software:
        files += [
            SystemFile(SOFTWARE_PATH, settings.software),
            SystemFile(SIGNATURE_PATH, f"{settings.software_signature.hex()}\n"),
        ]
    if settings.releases is not None:
        files += [
            SystemFile(UPDATES_PATH, _updates(claim, settings.releases)),
            SystemFile(_ROOT_PATH, settings.releases.root),
            SystemFile(f"{_UNITS}/sealtrace-update.service", _UPDATE),
            SystemFile(f"{_UNITS}/sealtrace-update.timer", _UPDATE_TIMER),
        ]
    if settings.cameras:
        cameras = [{"name": camera.name, "source": camera.source} for camera in settings.cameras]
        files.append(SystemFile(CAMERAS_PATH, json.dumps(cameras, indent=2) + "\n", 0o600))
    if settings.ntp:
        files.append(SystemFile(TIME_SERVERS_PATH, f"[Time]\nNTP={' '.join(settings.ntp)}\n"))
    if settings.index_url and not settings.wheels:
        files.append(
            SystemFile(PIP_CONFIG_PATH, f"[global]\nindex-url = {settings.index_url}\n", 0o600)
        )
    return sorted(files, key=lambda file: file.path)


def _updates(claim: ClaimFile, releases: Releases) -> str:
    """Return updates.toml: where releases come from, and who may have signed them."""
    var = "/var/lib/sealtrace"
    values: dict[str, Any] = {
        "repository": releases.url,
        "root": _ROOT_PATH,
        "group": releases.group,
        "authority": claim.authority,
        "state_dir": f"{var}/updates",
        "bundles": f"{var}/bundles",
        "agents": f"{var}/agents",
        "python": "/opt/sealtrace/bin/python",
        "service": {
            "restart": ["systemctl", "restart", EDGE_UNIT],
            "health": ["systemctl", "is-active", "--quiet", EDGE_UNIT],
        },
    }
    if releases.site_ca:
        values["tls"] = {"ca": f"{BOX_FOLDER}/tls/ca.pem"}
    return tomltext.table(values)
