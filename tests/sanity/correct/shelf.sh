#!/bin/sh
# A FlexVolume driver in POSIX sh that is right: a volume is a directory of the node, which is bound
# into pods. Written from public pages alone: flexvolume.md of the Kubernetes community.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 077
volumes=/var/lib/shelf/volumes
state=/run/shelf

answer() { # STATUS [MESSAGE]
    message=$(printf '%s' "${2-}" | tr -d '\134' | tr '"\n\t' "'  ")
    printf '{"status": "%s", "message": "%s"}\n' "$1" "$message"
    exit 0
}

# The text of an option of the JSON object, with the escapes of JSON, or nothing.
option() { # JSON KEY
    printf '%s' "$1" | sed -n 's|.*[{,]"'"$2"'":"\([^"\\]*\(\\.[^"\\]*\)*\)"[,}].*|\1|p'
}

is_mounted() { # DIRECTORY
    escaped=$(printf '%s' "$1" | sed 's/ /\\\\040/g')
    awk -v path="$escaped" '$5 == path { found = 1 } END { exit !found }' /proc/self/mountinfo
}

use_password() { # JSON
    value=$(option "$1" kubernetes.io/secret/password)
    [ -n "$value" ] || return 0
    printf '%s' "$value" | base64 -d >"$state/credentials" || answer Failure "no base64"
    rm -f "$state/credentials"
}

do_mount() { # DIRECTORY JSON
    directory=$(option "$2" directory)
    case $directory in
        "" | .* | *[!a-z0-9.-]*) answer Failure "the option directory names no directory" ;;
    esac
    [ -d "$volumes/$directory" ] || answer Failure "$volumes/$directory does not exist"
    [ -z "$(option "$2" kubernetes.io/fsType)" ] || answer Failure "a directory takes no fsType"
    use_password "$2"
    flags=bind
    [ "$(option "$2" kubernetes.io/readwrite)" != ro ] || flags=bind,ro
    if ! is_mounted "$1"; then
        if ! words=$(mount -o "$flags" "$volumes/$directory" "$1" 2>&1); then
            do_unmount "$1"
            answer Failure "$words"
        fi
    fi
}

do_unmount() { # DIRECTORY
    while is_mounted "$1"; do
        words=$(umount "$1" 2>&1) || answer Failure "$words"
    done
}

if [ "$1" = init ]; then
    echo '{"status": "Success", "capabilities": {"attach": false, "fsGroup": true,
        "requiresFSResize": true, "selinuxRelabel": true, "supportsMetrics": true}}'
    exit 0
fi
case $1 in mount | unmount | expandfs) ;; *) answer "Not supported" ;; esac
words=$(mkdir -p "$state" 2>&1) || answer Failure "$words"
# A redirection of exec that fails would end the shell.
(: >"$state/lock") 2>/dev/null || answer Failure "$state cannot be written to"
exec 9>"$state/lock"
flock 9
case $1 in
    mount) do_mount "$2" "$3" ;;
    unmount) do_unmount "$2" ;;
    expandfs) ;;
esac
answer Success
