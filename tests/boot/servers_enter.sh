#!/bin/sh
# Becomes the systemd of a Debian in the folder $1, in the cgroup (version 2) $2. Runs as process 1 of
# namespaces that servers.py makes; what is mounted here is gone with them.
set -eu
root=$1
echo 0 >"$2/cgroup.procs"

mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null:1:3:666 zero:1:5:666 full:1:7:666 random:1:8:666 urandom:1:9:666 tty:5:0:666; do
    IFS=: read -r name major minor mode <<EOF
$node
EOF
    mknod -m "$mode" "$root/dev/$name" c "$major" "$minor"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
for pair in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
    ln -s "${pair#*:}" "$root/dev/${pair%%:*}"
done
hostname fresh
# shellcheck disable=SC2016 # that shell's own
exec unshare --cgroup sh -c '
    mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup"
    mount --make-rshared "$1" # credentials are mounted in one namespace and read in another
    exec chroot "$1" env -i container=unshare PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --log-target=console --log-level=notice --show-status=no
' sh "$root"
