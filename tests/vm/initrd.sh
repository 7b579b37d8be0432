#!/bin/busybox sh
# shellcheck shell=dash
# The first program in the initial memory disk: loads what the root disk needs, and goes there.
/bin/busybox mount -t devtmpfs dev /dev
while read -r module; do
  /bin/busybox insmod "/modules/$module"
done < /order
tries=0
while [ ! -e /dev/vda ] && [ "$tries" -lt 100 ]; do
  /bin/busybox sleep 0.1
  tries=$((tries + 1))
done
/bin/busybox mount -t ext4 /dev/vda /new
/bin/busybox mount --move /dev /new/dev
exec /bin/busybox switch_root /new /init.sh
