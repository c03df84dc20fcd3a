#!/bin/sh
# Runs inside the fresh Debian of servers.py: installs, starts, upgrades, removes the packages.
# Each step is a function, run by a shell of its own (`sh -eu`), and told as one line of /root/results.
set -u
here=/root/payload
servers='sealtrace-custodian sealtrace-aggregator sealtrace-registrar'
units="sealtrace-mosquitto $servers"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

install_debs() {
    apt-get -q -y -o Dpkg::Use-Pty=0 install "$here/$1"/*.deb
}
pid_of() { systemctl show -p MainPID --value "$1"; }
sums() {
    # What an upgrade must leave alone: the site's files, the examples that somebody wrote into, keys.
    find /etc/sealtrace -type f ! -path '*/broker/data/*' -exec sha256sum {} + | sort -k 2
    sha256sum /var/lib/sealtrace/custodian/day-keys.secret
}
all_ready() {
    for unit in $units; do
        systemctl is-active --quiet "$unit" || { systemctl status --no-pager "$unit"; return 1; }
    done
}
status_of_aggregator() {
    /usr/lib/sealtrace/custodian/bin/python3 -c '
from pathlib import Path
from custodian.config import CustodianConfig
from runtime.config import load
from runtime.http import client, json_of
settings = load(Path("/etc/sealtrace/custodian/custodian.toml"), CustodianConfig)
with client("https://localhost:8440", settings.tls) as http:
    print(http.get("/v1/status").raise_for_status().json()["site"])'
}

installs() {
    install_debs 1
    for role in custodian aggregator registrar; do
        [ "$(stat -c %U:%a "/etc/sealtrace/$role")" = "sealtrace-$role:700" ]
        [ "$(stat -L -c %U:%a "/etc/sealtrace/$role/state")" = "sealtrace-$role:700" ]
    done
    echo "$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 'sealtrace-*' | grep -c '^ii') packages, without a network, $(du -sm /usr/lib/sealtrace | cut -f 1) MB"
}
starts_nothing_by_itself() {
    for unit in $units; do
        ! systemctl is-active --quiet "$unit"
        [ "$(systemctl is-enabled "$unit")" = disabled ]
    done
    echo "all units are there, disabled and stopped"
}
installs_twice() {
    for package in common custodian aggregator registrar; do
        [ ! -e "/var/lib/dpkg/info/sealtrace-$package.postinst" ] || \
            sh "/var/lib/dpkg/info/sealtrace-$package.postinst" configure ''
    done
    echo "postinst again changes nothing"
}
roles_of_one_machine() {
    sealtrace --version
    sealtrace site --help >/dev/null
    sealtrace aggregator --help >/dev/null
    if said=$(sealtrace query --help 2>&1); then return 1; fi
    case $said in *'not installed on this machine'*) echo "one command for three roles; an officer's says that it is not here" ;; *) echo "$said"; return 1 ;; esac
}
takes_a_site() {
    sealtrace-place "$here/site/broker"
    for folder in custodians/c1 aggregator registrar; do
        sealtrace-place --passphrase-file "$here/passphrase" "$here/site/$folder"
    done
    sealtrace-place --passphrase-file "$here/passphrase" "$here/site/custodians/c1"
    open=$(find /etc/sealtrace -mindepth 1 -perm /077 ! -type l | head -n 3)
    [ -z "$open" ] || { echo "readable by others: $open"; return 1; }
    echo "folders of a site in place, nothing readable by others"
}
refuses_another_site() {
    cp -r "$here/site/custodians/c1" /root/other
    echo '# another' >>/root/other/custodian.toml
    before=$(sums 2>/dev/null || true)
    if said=$(sealtrace-place /root/other 2>&1); then return 1; fi
    [ "$before" = "$(sums 2>/dev/null || true)" ]
    case $said in *custodian.toml*'nothing was placed'*) echo "another configuration is refused by name" ;; *) echo "$said"; return 1 ;; esac
}
starts() {
    # shellcheck disable=SC2086 # names, one word each
    systemctl enable --now $units
    all_ready
    for unit in $servers; do
        status=/proc/$(pid_of "$unit")/status
        grep -q '^CapEff:.0000000000000000$' "$status"
        [ "$(awk '/^Uid:/ { print $2 }' "$status")" != 0 ]
    done
    echo "$units: ready, without root and capabilities"
}
answers() {
    sealtrace custodian status --config /etc/sealtrace/custodian/custodian.toml
    sealtrace registrar status --config /etc/sealtrace/registrar/registrar.toml >/dev/null
    echo "custodian and registrar tell how they are; the aggregator answers for site $(status_of_aggregator)"
}
upgrades() {
    echo '# a note of mine' >>/etc/sealtrace/custodian/custodian.toml.example
    systemctl stop sealtrace-registrar
    sums >/root/before
    old=$(pid_of sealtrace-custodian)
    other=$(pid_of sealtrace-aggregator)
    install_debs 2
    sums >/root/after
    cmp /root/before /root/after
    for unit in sealtrace-mosquitto sealtrace-custodian sealtrace-aggregator; do
        systemctl is-active --quiet "$unit"
    done
    [ "$(pid_of sealtrace-custodian)" != "$old" ]
    [ "$(pid_of sealtrace-aggregator)" = "$other" ]
    ! systemctl is-active --quiet sealtrace-registrar
    systemctl start sealtrace-registrar
    status_of_aggregator >/dev/null
    echo "now $(dpkg-query -W -f '${Version}' sealtrace-custodian): started again as it ran, the registrar stopped as it was, the aggregator of the first build undisturbed, $(wc -l </root/after) files as they were"
}
goes_back() {
    apt-get -q -y --allow-downgrades -o Dpkg::Use-Pty=0 install "$here/1"/*.deb
    sums >/root/after
    cmp /root/before /root/after
    all_ready
    echo "the first build again, and all ready"
}
removes() {
    sums >/root/before
    apt-get -q -y remove sealtrace-custodian
    [ ! -e /usr/lib/sealtrace/custodian ]
    [ ! -e /usr/lib/systemd/system/sealtrace-custodian.service ]
    ! pgrep -u sealtrace-custodian
    sums >/root/after
    cmp /root/before /root/after
    for unit in sealtrace-aggregator sealtrace-registrar; do systemctl is-active --quiet "$unit"; done
    sealtrace aggregator --help >/dev/null
    echo "stopped, nothing of it left but keys, log and configuration; the others run on"
}
comes_back() {
    apt-get -q -y -o Dpkg::Use-Pty=0 install "$here/2"/sealtrace-c*.deb
    systemctl start sealtrace-custodian
    sealtrace custodian status --config /etc/sealtrace/custodian/custodian.toml >/dev/null
    sums >/root/after
    cmp /root/before /root/after
    echo "installed again it goes on with the same keys"
}
purges() {
    said=$(apt-get -q -y purge 'sealtrace-*' 2>&1) || { echo "$said"; return 1; }
    case $said in *'/etc/sealtrace/custodian stays'*) ;; *) echo "$said"; return 1 ;; esac
    [ ! -e /usr/lib/sealtrace ]
    [ ! -e /usr/bin/sealtrace ]
    [ ! -e /etc/sealtrace/custodian/custodian.toml.example ]
    [ -s /etc/sealtrace/custodian/identity.secret ]
    [ -s /var/lib/sealtrace/custodian/day-keys.secret ]
    # shellcheck disable=SC2086 # names, one word each
    if systemctl is-active --quiet $units; then return 1; fi
    left=$(find /etc/systemd/system -name 'sealtrace-*' ! -name '*.d' ! -path '*.d/*' ! -name 'sealtrace-check.*')
    [ -z "$left" ] || { echo "left: $left"; return 1; }
    echo "no program, unit or example is left; keys and logs stay, and it says where"
}

if [ "${1:-}" = one ]; then
    "$2"
    exit
fi
exec 3>/root/results.part
for name in installs starts_nothing_by_itself installs_twice roles_of_one_machine takes_a_site \
    refuses_another_site starts answers upgrades goes_back removes comes_back purges; do
    begin=$(date +%s%N)
    echo "== $name"
    sh -eu "$0" one "$name" >"/root/$name.log" 2>&1
    code=$?
    cat "/root/$name.log"
    printf '%s\t%s\t%s\t%s\n' "$name" "$code" "$((($(date +%s%N) - begin) / 1000000))" \
        "$(tail -n 1 "/root/$name.log" | cut -c 1-300)" >&3
    if [ "$code" != 0 ]; then
        journalctl --no-pager -n 60 -u 'sealtrace-*'
        case $name in installs | takes_a_site | starts) break ;; esac
    fi
done
printf 'end\t0\t0\t\n' >&3
mv /root/results.part /root/results
systemctl poweroff
