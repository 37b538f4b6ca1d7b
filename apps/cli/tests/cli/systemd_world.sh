# Runs systemd as the first process of a world of its own: run by `unshare` in namespaces of mounts,
# names, IPC, network, processes and control groups.
#
# Its root is a file system in memory, for systemd does at a start what a machine needs and no other
# machine may suffer: it empties /tmp, for one. Of the machine outside there are /usr, the folder with
# the program and the certificates of authorities, all read-only, and devices that hold nothing. Units
# are those below and what is installed in it; those that come with systemd are not among them.
#
# $1: an empty folder for the root. $2: the folder with the program, which appears as /program.
set -e
mount -t tmpfs -o size=64m world "$1"
cd "$1"
mkdir usr proc sys dev run tmp etc var root home program outside
mount --bind /usr usr
mount -o remount,bind,ro usr
mount --bind "$2" program
mount -o remount,bind,ro program
for name in bin sbin lib lib64; do ln -s "usr/$name" "$name"; done
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs groups sys/fs/cgroup
mount -t cgroup2 groups sys/fs/cgroup
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
ln -s null dev/console
mkdir -p etc/systemd/system etc/systemd/targets etc/ssl/certs var/lib var/cache
if [ -d /etc/ssl/certs ]; then
    mount --bind /etc/ssl/certs etc/ssl/certs
    mount -o remount,bind,ro etc/ssl/certs
fi
for target in sysinit basic shutdown network-online multi-user local-fs remote-fs time-sync quiet; do
    printf '[Unit]\nDescription=nothing\nDefaultDependencies=no\n' >"etc/systemd/targets/$target.target"
done
printf 'root:x:0:0:root:/root:/bin/sh\n' >etc/passwd
printf 'root:x:0:\n' >etc/group
printf '0123456789abcdef0123456789abcdef\n' >etc/machine-id
pivot_root . outside
umount -l /outside
rmdir /outside
exec env -i PATH=/usr/sbin:/usr/bin container=test \
    SYSTEMD_UNIT_PATH=/etc/systemd/system:/etc/systemd/targets \
    /usr/lib/systemd/systemd --system --unit=quiet.target --log-target=null --show-status=0
