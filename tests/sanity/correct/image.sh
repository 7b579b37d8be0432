#!/bin/sh
# A FlexVolume driver in POSIX sh that is right: a volume is a file with an ext4 file system, which
# is mounted by way of a loop device. Written from public pages alone: flexvolume.md of the
# Kubernetes community, and docs/your-own-driver.md.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 077
store=/var/lib/images
state=/run/images

answer() { # STATUS [MESSAGE]
    message=$(printf '%s' "${2-}" | tr -d '\134' | tr '"\n\t' "'  ")
    printf '{"status": "%s", "message": "%s"}\n' "$1" "$message"
    exit 0
}

option() { # JSON KEY
    printf '%s' "$1" | tr '\n' ' ' |
        sed -n 's|.*[{,] *"'"$2"'": *"\([^"\\]*\(\\.[^"\\]*\)*\)" *[,}].*|\1|p'
}

is_mounted() { # DIRECTORY
    escaped=$(printf '%s' "$1" | sed 's/ /\\\\040/g')
    awk -v path="$escaped" '$5 == path { found = 1 } END { exit !found }' /proc/self/mountinfo
}

name_of() { # JSON
    name=$(option "$1" kubernetes.io/pvOrVolumeName)
    case $name in
        "" | .* | *[!a-z0-9.-]*) answer Failure "this is no name of a volume" ;;
    esac
    image=$store/$name
}

do_provision() { # JSON
    name_of "$1"
    bytes=$(option "$1" requestBytes)
    [ -e "$image" ] || [ -z "$(option "$1" kubernetes.io/onlyFind)" ] ||
        answer Failure "there is no volume $name"
    if [ ! -e "$image" ]; then
        [ "$bytes" -ge 16777216 ] || bytes=16777216
        [ "$bytes" -le 1073741824 ] || answer Failure "a volume has 1 GiB at most"
        mkdir -p "$store"
        rm -f "$image.new"
        words=$(truncate -s "$bytes" "$image.new" 2>&1) || answer Failure "$words"
        words=$(mkfs.ext4 -q -m 0 "$image.new" 2>&1) || answer Failure "$words"
        mv "$image.new" "$image"
    fi
    size=$(stat -c %s "$image")
    [ "$size" -ge "$bytes" ] || answer Failure "the volume has $size bytes only"
    echo '{"status": "Success", "volume": {"options": {}, "capacityBytes": '"$size"', "fsType": ""}}'
    exit 0
}

do_delete() { # JSON
    name_of "$1"
    [ -z "$(losetup -n -O NAME -j "$image")" ] || answer Failure "$name is in use"
    rm -f "$image" "$image.new"
}

# Takes a free loop device for the image, and lets the kernel free it with its last mount.
take_device() {
    device=$(losetup -n -O NAME -j "$image" | head -n 1)
    [ -z "$device" ] || return 0
    for device in /dev/loop[0-9]*; do
        losetup "$device" "$image" 2>/dev/null && return 0
    done
    answer Failure "no loop device is free"
}

# A mount that was killed may have left its stage, whose device may go with it.
clear_stage() {
    while is_mounted "$state/stage"; do
        words=$(umount "$state/stage" 2>&1) || answer Failure "$words"
    done
}

do_mount() { # DIRECTORY JSON
    name_of "$2"
    [ -f "$image" ] || answer Failure "there is no volume $name"
    case $(option "$2" kubernetes.io/fsType) in
        "" | ext4) ;;
        *) answer Failure "volumes have ext4" ;;
    esac
    is_mounted "$1" && return
    clear_stage
    take_device
    # A read-only pod beside a writable one: the same file system, and another bind.
    mkdir -p "$state/stage"
    words=$(mount "$device" "$state/stage" 2>&1)
    status=$?
    losetup -d "$device"
    [ "$status" = 0 ] || answer Failure "$words"
    flags=bind
    [ "$(option "$2" kubernetes.io/readwrite)" != ro ] || flags=bind,ro
    words=$(mount -o "$flags" "$state/stage" "$1" 2>&1)
    status=$?
    umount "$state/stage"
    [ "$status" = 0 ] || answer Failure "$words"
}

do_unmount() { # DIRECTORY
    while is_mounted "$1"; do
        words=$(umount "$1" 2>&1) || answer Failure "$words"
    done
    clear_stage
}

do_expandfs() { # JSON DEVICE DIRECTORY NEW OLD
    is_mounted "$3" || answer Failure "$3 is not mounted"
    device=$(findmnt -n -o SOURCE --mountpoint "$3")
    device=${device%%\[*}
    image=$(losetup -n -O BACK-FILE "$device")
    [ "$(stat -c %s "$image")" -ge "$4" ] || truncate -s "$4" "$image"
    words=$(losetup -c "$device" 2>&1) || answer Failure "$words"
    words=$(resize2fs "$device" 2>&1) || answer Failure "$words"
}

if [ "$1" = init ]; then
    echo '{"status": "Success", "capabilities": {"attach": false, "fsGroup": true,
        "requiresFSResize": true, "selinuxRelabel": true, "supportsMetrics": true}}'
    exit 0
fi
case $1 in
    mount | unmount | expandfs | provision | delete) ;;
    *) answer "Not supported" ;;
esac
words=$(mkdir -p "$state" 2>&1) || answer Failure "$words"
# A redirection of exec that fails would end the shell.
(: >"$state/lock") 2>/dev/null || answer Failure "$state cannot be written to"
exec 9>"$state/lock"
flock 9
case $1 in
    mount) do_mount "$2" "$3" ;;
    unmount) do_unmount "$2" ;;
    expandfs) do_expandfs "$2" "$3" "$4" "$5" "$6" ;;
    provision) do_provision "$2" ;;
    delete) do_delete "$2" ;;
esac
answer Success
