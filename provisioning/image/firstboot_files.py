"""The files that a box's first boot leaves on its system: the script, the units, the claim.

The script is plain POSIX shell and may be run again at any time: each step looks whether it is
done. Paths can be changed through the environment, so that it can be tried as an ordinary process.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from provisioning.enrolment.claimfile import ClaimFile
from provisioning.image.settings import SystemSettings

CLAIM_PATH = "/etc/sealtrace/claim.toml"
CAMERAS_PATH = "/etc/sealtrace/cameras.json"
SCRIPT_PATH = "/usr/local/sbin/sealtrace-first-boot"
FIRST_BOOT_UNIT = "/etc/systemd/system/sealtrace-first-boot.service"
EDGE_UNIT = "/etc/systemd/system/sealtrace-edge.service"
TIME_SERVERS_PATH = "/etc/systemd/timesyncd.conf.d/sealtrace.conf"
PIP_CONFIG_PATH = "/etc/pip.conf"
SERVICE_USER = "sealtrace"


@dataclass(frozen=True, slots=True)
class SystemFile:
    """A file on the box: absolute path, text, permission bits (all owned by root)."""

    path: str
    text: str
    mode: int = 0o644


_SCRIPT = """\
#!/bin/sh
# First boot of a Sealtrace box: installs the software, enrols the box, starts its agent.
# May be run again at any time; what is done already is left alone.
set -eu

etc=${SEALTRACE_ETC:-/etc/sealtrace}
var=${SEALTRACE_VAR:-/var/lib/sealtrace}
opt=${SEALTRACE_OPT:-/opt/sealtrace}
user=${SEALTRACE_USER-sealtrace}
systemctl=${SEALTRACE_SYSTEMCTL:-systemctl}
requirement=${SEALTRACE_REQUIREMENT:-@REQUIREMENT@}
clock_wait_s=${SEALTRACE_CLOCK_WAIT_S:-600}

boot=${SEALTRACE_BOOT:-}
if [ -z "$boot" ]; then
    for folder in /boot/firmware /boot/efi /boot; do
        if [ -f "$folder/sealtrace/image.json" ]; then boot=$folder; break; fi
    done
fi

say() { echo "sealtrace-first-boot: $*"; }
fail() { say "$*" >&2; exit 1; }

as_user() {
    if [ -n "$user" ] && [ "$(id -u)" = 0 ]; then
        runuser -u "$user" -- "$@"
    else
        "$@"
    fi
}

if [ -e "$var/enrolled" ]; then
    say "this box is enrolled already"
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

mkdir -p "$var"
if [ -n "$user" ] && [ "$(id -u)" = 0 ]; then chown "$user" "$var"; fi
chmod 0750 "$var"

if [ -z "${SEALTRACE_COMMAND:-}" ]; then
    if [ ! -e "$opt/.complete" ]; then
        rm -rf "$opt"
        if [ -n "$boot" ] && [ -d "$boot/sealtrace/wheels" ]; then
            say "installing the software from the boot partition"
            wheels=$boot/sealtrace/wheels
            (cd "$wheels" && sha256sum --quiet --check ../wheels.sha256) ||
                fail "the wheels on the card are damaged; flash the card again"
            python3 -m venv --without-pip "$opt"
            pip=$(ls "$wheels"/pip-*.whl | head -n 1)
            python3 "$pip/pip" --python "$opt/bin/python" install --quiet --no-index \\
                --find-links "$wheels" --disable-pip-version-check sealtrace
        else
            say "installing the software over the network"
            python3 -m venv "$opt"
            "$opt/bin/python" -m pip install --quiet --disable-pip-version-check "$requirement"
        fi
        touch "$opt/.complete"
    fi
    SEALTRACE_COMMAND=$opt/bin/sealtrace
fi

if [ ! -e "$var/box/box.toml" ]; then
    [ -f "$etc/claim.toml" ] || fail "there is no claim at $etc/claim.toml; flash the card again"
    say "enrolling"
    if [ -n "$user" ] && [ "$(id -u)" = 0 ]; then chown "$user" "$etc/claim.toml"; fi
    set -- --claim-file "$etc/claim.toml" --folder "$var/box"
    if [ -f "$etc/cameras.json" ]; then
        if [ -n "$user" ] && [ "$(id -u)" = 0 ]; then chown "$user" "$etc/cameras.json"; fi
        set -- "$@" --cameras-file "$etc/cameras.json"
    fi
    as_user "$SEALTRACE_COMMAND" box enrol "$@"
fi

# The claim is worthless now; it is not kept all the same.
rm -f "$etc/claim.toml" "$etc/cameras.json"
touch "$var/enrolled"
$systemctl enable --now sealtrace-edge.service
say "this box is enrolled and its agent runs"
"""

_FIRST_BOOT = f"""\
[Unit]
Description=Sealtrace: install the software and enrol this box, once
Documentation=man:sealtrace(1)
Wants=network-online.target
After=network-online.target time-sync.target
ConditionPathExists=!/var/lib/sealtrace/enrolled
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={SCRIPT_PATH}
Restart=on-failure
RestartSec=60
StandardOutput=journal+console
StandardError=journal+console

[Install]
WantedBy=multi-user.target
"""

_EDGE = f"""\
[Unit]
Description=Sealtrace agent: seals what the cameras of this box see
Wants=network-online.target
After=network-online.target time-sync.target
ConditionPathExists=/var/lib/sealtrace/box/box.toml
StartLimitIntervalSec=0

[Service]
Type=notify
User={SERVICE_USER}
WorkingDirectory=/var/lib/sealtrace/box
ExecStart=/opt/sealtrace/bin/sealtrace edge run --config /var/lib/sealtrace/box/box.toml
Restart=always
RestartSec=5
RestartPreventExitStatus=2 3
TimeoutStopSec=30
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=/var/lib/sealtrace
ProtectHome=yes
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
LockPersonality=yes
UMask=0077

[Install]
WantedBy=multi-user.target
"""


def system_files(claim: ClaimFile, settings: SystemSettings, version: str) -> Sequence[SystemFile]:
    """Return the files for a box, in the order of their paths.

    :param version: of sealtrace, to be installed when no wheels are given.
    """
    files = [
        SystemFile(CLAIM_PATH, claim.to_toml(), 0o600),
        SystemFile(SCRIPT_PATH, _SCRIPT.replace("@REQUIREMENT@", f"sealtrace=={version}"), 0o755),
        SystemFile(FIRST_BOOT_UNIT, _FIRST_BOOT),
        SystemFile(EDGE_UNIT, _EDGE),
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
