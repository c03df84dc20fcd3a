"""The scripts that a card leaves on its box: one for the first boot, one that keeps the card.

They are plain POSIX shell, for a system that has no software of ours yet, and may be run again at
any time: each step looks whether it is done. Paths can be changed through the environment, so that
they can be tried as ordinary processes.
"""

from __future__ import annotations

from provisioning.fleet.image.rootvolume import CARD_FOLDER
from provisioning.fleet.image.software import DOMAIN

# `box enrol` is `box join`: the card's software may be that of the version before.
FIRST_BOOT_SCRIPT = """\
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
ntp_wait_s=${SEALTRACE_NTP_WAIT_S:-20}

boot=${SEALTRACE_BOOT:-}
if [ -z "$boot" ]; then
    for folder in /boot/firmware /boot/efi /boot; do
        if [ -f "$folder/sealtrace/image.json" ]; then boot=$folder; break; fi
    done
fi

# The claim and what else is secret is on the boot partition and nowhere else; `sealtrace-card`
# takes it off once the box is in. What the box made of it is in its folder.
claim=$boot/sealtrace/claim.toml
[ -f "$claim" ] || claim=$var/box/claim.toml

say() { echo "sealtrace-first-boot: $*"; }
fail() { say "$*" >&2; exit 1; }

# Where a folder of the card is: on the boot partition or, where that is too small, on the root.
on_card() {
    for folder in "${boot:-/nowhere}/sealtrace/$1" "$var/CARD/$1"; do
        if [ -d "$folder" ]; then echo "$folder"; return; fi
    done
}

# Whether time servers have set the clock.
is_set() { [ "$(timedatectl show -p NTPSynchronized --value 2>/dev/null || echo yes)" = yes ]; }

# Certificates are judged by the clock, and most boards forget the time when switched off. Where no
# time server answers, the registrar does, under the key that the claim names.
set_clock() {
    waited=0
    while ! is_set; do
        if [ "$waited" -ge "$clock_wait_s" ]; then
            say "no time server answers; going on with the clock as it is: $(date -u)"
            return
        fi
        [ "$waited" -eq 0 ] && say "waiting for the clock to be set from the network"
        if [ "$waited" -ge "$ntp_wait_s" ] && [ -n "${SEALTRACE_COMMAND:-}" ] &&
            "$SEALTRACE_COMMAND" box clock --claim-file "$claim"; then return; fi
        sleep 5
        waited=$((waited + 5))
    done
}

# Gives a file or folder to the agent's user.
give() {
    if [ -n "$user" ] && [ "$(id -u)" = 0 ]; then chown "$user:" "$@"; fi
}

# Checks that the authority whom the claim names signed this list of software for the claim's site.
# No software of ours is there yet: the system's own Python lays out what its openssl verifies.
verify() {
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
        wheels=$(on_card wheels)
        if [ -n "$wheels" ]; then
            say "installing the software from the card"
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
            set_clock
            say "installing the software over the network"
            if [ -f "$boot/sealtrace/pip.conf" ]; then
                export PIP_CONFIG_FILE="$boot/sealtrace/pip.conf"
            fi
            python3 -m venv "$opt"
            "$opt/bin/python" -m pip "$@" ||
                fail "the software cannot be had as the list names it, by hash; nothing runs"
        fi
        sync
        touch "$opt/.complete"
    fi
    SEALTRACE_COMMAND=$opt/bin/sealtrace
fi

models=$(on_card models)
if [ -n "$models" ] && [ ! -e "$var/bundles/current" ]; then
    say "installing the models from the card"
    check "$models"
    rm -rf "$var/bundles/.card"
    cp -R "$models" "$var/bundles/.card"
    chmod -R a+rX,go-w "$var/bundles/.card"
    sync
    rm -rf "$var/bundles/card"
    mv "$var/bundles/.card" "$var/bundles/card"
    ln -sfn card "$var/bundles/current"
fi
[ -e "$var/models" ] || ln -sfn bundles/current "$var/models"

if [ ! -e "$var/box/box.toml" ]; then
    [ -f "$claim" ] || fail "there is no claim at $claim; flash the card again"
    set_clock
    say "asking to be admitted"
    set -- --folder "$var/box" --claim-file "$claim"
    cameras=$boot/sealtrace/cameras.json
    if [ -f "$cameras" ]; then set -- "$@" --cameras-file "$cameras"; fi
    "$SEALTRACE_COMMAND" box enrol "$@"
fi

if [ -f "$etc/updates.toml" ] && [ ! -e "$var/bundles/current" ]; then
    say "getting the models from the release repository"
    "$SEALTRACE_COMMAND" release update --config "$etc/updates.toml" || true
fi

# A box is in when it starts by itself from now on; whatever its agent lacks, its claim goes.
set -- sealtrace-keys.service sealtrace-renew.timer sealtrace-edge.service
if [ -f "$etc/updates.toml" ]; then set -- "$@" sealtrace-update.timer; fi
$systemctl enable "$@"
sync
touch "$var/admitted"
sync
$systemctl start --no-block sealtrace-card.service
if $systemctl start "$@"; then
    say "this box is admitted and its agent runs"
else
    say "this box is admitted; its agent is not up yet and is started again: systemctl status $3"
fi
""".replace("DOMAIN", DOMAIN).replace("CARD", CARD_FOLDER.rsplit("/", 1)[1])

CARD_SCRIPT = """\
#!/bin/sh
# Keeps the boot partition of a Sealtrace box read-only, and takes the claim and the cameras'
# passwords off it once the box is in. May be run again at any time; after a cut it begins anew.
#   sealtrace-card          do what is due
#   sealtrace-card mount    besides, have the boot partition mounted so at every boot
#   sealtrace-card open     for programs that write there (apt), until `sealtrace-card close`
set -eu

etc=${SEALTRACE_SYSTEM_ETC:-/etc}
var=${SEALTRACE_VAR:-/var/lib/sealtrace}
mount=${SEALTRACE_MOUNT:-mount}
umount=${SEALTRACE_UMOUNT:-umount}
mounts=${SEALTRACE_MOUNTS:-/proc/self/mounts}

boot=${SEALTRACE_BOOT:-}
if [ -z "$boot" ]; then
    for folder in /boot/firmware /boot/efi /boot; do
        if [ -f "$folder/sealtrace/image.json" ]; then boot=$folder; break; fi
    done
fi

say() { echo "sealtrace-card: $*"; }

writable() { awk -v place="$boot" '$2 == place { options = $4 } END { print options }' "$mounts" |
    grep -q '^rw'; }
open_boot() { writable || "$mount" -o remount,rw "$boot"; }
close_boot() {
    sync
    if writable; then "$mount" -o remount,ro "$boot" || say "$boot is in use and stays writable"; fi
}

# Has the boot partition mounted read-only and closed to other users from the next boot on.
mount_so() {
    new=$etc/fstab.sealtrace
    awk -v place="$boot" '
        $1 !~ /^#/ && $2 == place && $3 == "vfat" && $4 !~ /(^|,)umask=0077(,|$)/ {
            count = split($4, options, ","); kept = "ro,umask=0077"
            for (i = 1; i <= count; i++)
                if (options[i] !~ /^(defaults|ro|rw|[ufd]mask=.*)$/) kept = kept "," options[i]
            $4 = kept
        }
        { print }' "$etc/fstab" >"$new"
    if cmp -s "$new" "$etc/fstab"; then rm "$new"; return; fi
    chmod 0644 "$new"
    sync
    mv "$new" "$etc/fstab"
    sync
    say "$boot is mounted read-only, for root alone"
    # At once, if nothing is at work there; what is secret on it is nobody's to read.
    if "$umount" "$boot" 2>/dev/null; then "$mount" "$boot"; fi
}

# Overwrites a file where it lies, so that the blocks that held it hold it no more.
wipe() {
    [ -f "$1" ] || return 0
    head -c "$(wc -c <"$1")" /dev/zero | dd of="$1" conv=notrunc,fsync bs=64k 2>/dev/null
    sync
    rm -f "$1"
}

case ${1:-} in
open) [ -z "$boot" ] || open_boot; exit 0 ;;
close) [ -z "$boot" ] || close_boot; exit 0 ;;
esac

if [ -n "$boot" ] && [ "${1:-}" = mount ] && [ -f "$etc/fstab" ]; then mount_so; fi

if [ -e "$var/admitted" ] && [ ! -e "$var/wiped" ]; then
    # Its work is done. It would wait for a network at every boot, and take orders from any stick
    # that calls itself CIDATA.
    if [ -d "$etc/cloud" ]; then touch "$etc/cloud/cloud-init.disabled"; fi
    if [ -n "$boot" ]; then
        open_boot
        for name in claim.toml cameras.json pip.conf; do wipe "$boot/sealtrace/$name"; done
    fi
    rm -rf "$var/CARD"
    sync
    fstrim --quiet-unsupported "$var" 2>/dev/null || true
    touch "$var/wiped"
    say "the claim is off the card"
fi
if [ -n "$boot" ]; then close_boot; fi
""".replace("CARD", CARD_FOLDER.rsplit("/", 1)[1])
