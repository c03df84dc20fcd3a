"""The files of a box's system: scripts, units and settings, and apart from them what is secret.

cloud-init writes the first and keeps copies of all that it is told. What nobody may find later, the
claim above all, is in files of its own on the boot partition, which `sealtrace-card` overwrites.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from provisioning.box.firstboot.units import BOX_FOLDER, EDGE_UNIT, SEALTRACE, hardening, units
from provisioning.fleet.image.firstboot_scripts import CARD_SCRIPT, FIRST_BOOT_SCRIPT
from provisioning.fleet.image.settings import Releases, SystemSettings
from provisioning.formats.claimfile import ClaimFile
from runtime import tomltext

CLAIM_NAME, CAMERAS_NAME, PIP_CONFIG_NAME = "claim.toml", "cameras.json", "pip.conf"
"""Secret files in our folder on the boot partition."""
FORMER_CLAIM_PATH = "/etc/sealtrace/claim.toml"
"""Where user-data of version 1 wrote the claim."""
SCRIPT_PATH = "/usr/local/sbin/sealtrace-first-boot"
CARD_SCRIPT_PATH = "/usr/local/sbin/sealtrace-card"
UPDATES_PATH = "/etc/sealtrace/updates.toml"
_ROOT_PATH = "/etc/sealtrace/trusted-root.json"
_UNITS = "/etc/systemd/system"
FIRST_BOOT_UNIT = "sealtrace-first-boot.service"
CARD_UNIT = "sealtrace-card.service"
TIME_SERVERS_PATH = "/etc/systemd/timesyncd.conf.d/sealtrace.conf"
_WAIT_ONLINE_PATH = f"{_UNITS}/systemd-networkd-wait-online.service.d/sealtrace.conf"
_APT_PATH = "/etc/apt/apt.conf.d/90sealtrace-boot"
SOFTWARE_PATH = "/etc/sealtrace/software.txt"
SIGNATURE_PATH = f"{SOFTWARE_PATH}.sig"
SERVICE_USER = "sealtrace"


@dataclass(frozen=True, slots=True)
class SystemFile:
    """A file on the box: absolute path, text, permission bits (all owned by root)."""

    path: str
    text: str
    mode: int = 0o644


# Neither of these waits for the network: what needs it is tried again until it is there.
_FIRST_BOOT = f"""\
[Unit]
Description=Sealtrace: install the software and bring this box into its site, once
Wants={CARD_UNIT}
After={CARD_UNIT} time-set.target
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
{hardening(capabilities="CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SYS_TIME")}
[Install]
WantedBy=multi-user.target
"""

_CARD = f"""\
[Unit]
Description=Sealtrace: keep the boot partition read-only, the claim off it once this box is in
Before={FIRST_BOOT_UNIT}
After=local-fs.target

[Service]
Type=oneshot
ExecStart={CARD_SCRIPT_PATH}
ProtectSystem=strict
ReadWritePaths=-/var/lib/sealtrace -/boot/firmware -/boot/efi -/etc/cloud
{hardening("128M", capabilities="CAP_DAC_OVERRIDE CAP_FOWNER CAP_SYS_ADMIN")}\
# It speaks to nobody.
IPAddressDeny=any

[Install]
WantedBy=multi-user.target
"""

# One cable or the wireless network is enough, and where there is none nothing is gained by waiting.
_WAIT_ONLINE = """\
[Service]
ExecStart=
ExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=30
"""

_APT = f"""\
// Kernels and boot loaders are written to the boot partition, which is read-only otherwise.
DPkg::Pre-Invoke {{ "if [ -x {CARD_SCRIPT_PATH} ]; then {CARD_SCRIPT_PATH} open; fi"; }};
DPkg::Post-Invoke {{ "if [ -x {CARD_SCRIPT_PATH} ]; then {CARD_SCRIPT_PATH} close; fi"; }};
"""

_EDGE = f"""\
[Unit]
Description=Sealtrace agent: seals what the cameras of this box see
After=time-set.target
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
# The first start reads all of the software from a cold card, which takes slow boards minutes.
TimeoutStartSec=10min
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
After=time-set.target
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
OnActiveSec=15min
OnUnitActiveSec=1h
RandomizedDelaySec=15min

[Install]
WantedBy=timers.target
"""


def system_files(claim: ClaimFile, settings: SystemSettings) -> Sequence[SystemFile]:
    """Return the files for a box, none of them secret, in the order of their paths."""
    files = [
        SystemFile(SCRIPT_PATH, FIRST_BOOT_SCRIPT, 0o755),
        SystemFile(CARD_SCRIPT_PATH, CARD_SCRIPT, 0o755),
        SystemFile(_APT_PATH, _APT),
        SystemFile(_WAIT_ONLINE_PATH, _WAIT_ONLINE),
        SystemFile(f"{_UNITS}/{FIRST_BOOT_UNIT}", _FIRST_BOOT),
        SystemFile(f"{_UNITS}/{CARD_UNIT}", _CARD),
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
    if settings.ntp:
        files.append(SystemFile(TIME_SERVERS_PATH, f"[Time]\nNTP={' '.join(settings.ntp)}\n"))
    return sorted(files, key=lambda file: file.path)


def secret_files(claim: ClaimFile, settings: SystemSettings) -> dict[str, str]:
    """Return name and text of what is secret until the box is in, or after, for our folder.

    Where cameras and the package index are may have a password in it.
    """
    files = {CLAIM_NAME: claim.to_toml()}
    if settings.cameras:
        cameras = [{"name": camera.name, "source": camera.source} for camera in settings.cameras]
        files[CAMERAS_NAME] = json.dumps(cameras, indent=2) + "\n"
    if settings.index_url and not settings.wheels:
        files[PIP_CONFIG_NAME] = f"[global]\nindex-url = {settings.index_url}\n"
    return files


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
