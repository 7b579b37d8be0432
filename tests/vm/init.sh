#!/bin/sh
# The first process of the machine: mounts what a system has, unpacks the payload and starts the
# agent in it. Ended processes whose parent is gone are reaped by this shell as it waits.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /dev/pts /dev/shm /run/lock /run/rpcbind /payload
mount -t devpts devpts /dev/pts
mount -t cgroup2 none /sys/fs/cgroup
# loop: what udev does on a node, which has /dev/loop-control from its start.
modprobe -a virtio_console loop
ip link set lo up
tar -xf /dev/vdb -C /payload
cd /payload || exit 1
python3 -I -S agent.py
echo "the agent ended"
