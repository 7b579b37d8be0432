#!/bin/sh
# A FlexVolume driver in POSIX sh: each claim gets a logical volume of LVM, which is a hard size limit.
#
# docs/your-own-driver/lvm.md says how the driver is installed. It needs sh, awk, flock, lvm2 and the tools of ext4 or
# xfs; dash and busybox's ash will do. A volume group is used only if its administrator gave it the tag `flexvol` and a
# storage class names it by the parameter `pool`.
#
# What is known of a volume is in the tags of its logical volume, which LVM changes all together or not at all:
#   flexvol.lvm      this driver made the volume. A volume without this tag is left alone, whatever its name is.
#   flexvol.making   The volume has no file system yet, and was never handed out.
#   flexvol.blank    No pod has had the volume.
#   flexvol.fs=      flexvol.namespace=, flexvol.claim=, flexvol.uid=, flexvol.cluster=, flexvol.reclaim=: its file
#                    system, its claim, the cluster of the claim, and the reclaim policy of the class.
set -u -f
umask 077
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
LVM_SUPPRESS_FD_WARNINGS=yes
export PATH LC_ALL LVM_SUPPRESS_FD_WARNINGS

GROUP_TAG=flexvol
OUR_TAG=flexvol.lvm
LOCKS=/run/flexvol-lvm.lock # with the group's name behind
LOCK_SECONDS=50
STAGES=/run/flexvol-lvm # where a volume is mounted before a pod gets a read-only view
DEFAULT_FS=ext4
EXT4_MINIMUM_BYTES=16777216
XFS_MINIMUM_BYTES=314572800 # mkfs.xfs refuses less than 300 MiB
LARGEST_DIGITS=18           # the arithmetic of sh has 64 bits
UNMOUNTS=20                 # as many mounts at one directory are undone

# kubelet reads stdout and stderr as one text, which must be one JSON object. So both lead nowhere, and the answer goes
# to a descriptor that no other program gets.
exec 3>&1 >/dev/null 2>&1 </dev/null
answered=

main() {
  callout=${1-}
  case $callout:$# in
    init:1) init ;;
    mount:3) mount_volume "$2" "$3" ;;
    unmount:2) unmount_volume "$2" ;;
    expandfs:6) expand "$2" "$4" "$5" ;;
    provision:2 | delete:2 | list:1) on_the_node "$@" ;;
    init:* | mount:* | unmount:* | expandfs:* | provision:* | delete:* | list:*)
      fail InvalidArgument "$callout has another number of arguments than $(($# - 1))"
      ;;
    *) answer '{"status": "Not supported", "message": "the driver does not have this call"}' ;;
  esac
}

# The answers.

answer() {
  answered=yes
  printf '%s\n' "$1" >&3
  exit 0
}

# $1: the members that the answer has beside its status.
succeed() {
  answer "{\"status\": \"Success\"${1:+, $1}}"
}

# $1: a reason of the table in docs/your-own-driver.md. $2: a sentence, which may have any characters in it.
fail() {
  sentence=$(printf '%s' "$2" | tr '\n\t"\134' "  '/" | tr -cd ' -~' | cut -c 1-900)
  answer "{\"status\": \"Failure\", \"reason\": \"$1\", \"message\": \"$sentence\"}"
}

# Whatever ends this program, but SIGKILL, kubelet gets an answer.
at_exit() {
  [ -z "$answered" ] || return
  printf '{"status": "Failure", "reason": "Internal", "message": "the driver ended early"}\n' >&3
  exit 0
}
trap at_exit EXIT

# The programs of the node. None gets the descriptor of the answer: kubelet reads until everybody has closed it.

# Runs a program that changes something. A program that fails ends the call with the program's own words. The program
# keeps the lock (descriptor 9), which therefore lasts as long as the work, even if this shell is killed.
run() {
  words=$("$@" 2>&1 3>&-) || fail Internal "$1: ${words:-failed without a word}"
}

# Prints the answer of a program of LVM as lines of fields. $1: the program. $2: the fields; the last may be empty.
report() {
  program=$1
  fields=$2
  shift 2
  "$program" --noheadings --units b --nosuffix --separator ' ' --options "$fields" "$@" 3>&- 9>&-
}

# Why a report failed. The arguments are those of report.
complaint() {
  { report "$@" >/dev/null; } 2>&1
}

# The arguments of a call: all of them may be hostile.

# Prints "KEY VALUE" for each key of a JSON object of strings that the driver knows, or "! " and what is wrong with the
# object. A value of a known key has letters, digits and a few marks, and so is never more than a word to this shell.
parse() {
  printf '%s\n' "$1" | awk '
    BEGIN {
      known = " pvOrVolumeName fsType readwrite pod.namespace pvc.namespace pvc.name pvc.uid pvc.accessModes"
      known = known " storageClass.secret mountOptions reclaimPolicy clusterUid onlyFind onlyIfBlank "
      own = " pool poolId requestBytes sourceVolume "
      ignored = " requestMiB requestGiB "
      gap = "[ \t\r]*"
    }
    function refuse(why) {
      print "! " why
      exit
    }
    function is_in(words, key) {
      return key !~ / / && index(words, " " key " ") > 0
    }
    function take(key, value) {
      if (seen[key]++) refuse("a key stands in them twice: " key)
      name = key
      is_wanted = is_in(own, key)
      if (sub(/^kubernetes\.io\//, "", name)) is_wanted = is_in(known, name)
      else if (is_in(ignored, key)) return
      else if (!is_wanted) refuse("unknown option " key "; the driver knows pool")
      if (!is_wanted) return
      if (value !~ /^[A-Za-z0-9._+,=:\/-]*$/) refuse("option " key " has a character that it cannot have")
      options = options key " " value "\n"
    }
    # The end of a line is a gap like any other. Some awks would split at it.
    { text = NR == 1 ? $0 : text "\r" $0 }
    END {
      # Without escapes each quotation mark begins or ends a string. A control character stands in the place of an
      # escape, so that no wanted value has one.
      if (text ~ /[\001-\010\013\014\016-\037]/) refuse("they hold control characters")
      gsub(/\\["\\\/bfnrt]/, "\001", text)
      gsub(/\\u[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]/, "\001", text)
      count = split(text, part, "\"")
      if (index(text, "\\")) refuse("they are not a JSON object of strings")
      if (text ~ "^" gap "[{]" gap "[}]" gap "$") exit
      if (count % 4 != 1 || count == 1) refuse("they are not a JSON object of strings")
      if (part[1] !~ "^" gap "[{]" gap "$") refuse("they are not a JSON object of strings")
      for (i = 2; i < count; i += 4) {
        mark = i + 3 < count ? "," : "[}]"
        if (part[i + 1] !~ "^" gap ":" gap "$") refuse("they are not a JSON object of strings")
        if (part[i + 3] !~ "^" gap mark gap "$") refuse("they are not a JSON object of strings")
        if (part[i] part[i + 2] ~ /[\t\r]/) refuse("they hold control characters")
        if (part[i] ~ /\001/) refuse("a key has an escape in it")
        take(part[i], part[i + 2])
      }
      printf "%s", options
    }'
}

# Sets a variable for each option.
read_options() {
  volume='' fs='' access=rw pod_namespace='' claim_namespace='' claim_name='' claim_uid='' modes=''
  class_secret='' mount_options='' policy='' cluster='' only_find='' only_if_blank=''
  pool='' pool_id='' request_bytes='' source=''
  parsed=$(parse "$1" 3>&-) || fail Internal "awk failed to read the options"
  case $parsed in
    '! '*) fail InvalidArgument "the options are refused: ${parsed#??}" ;;
  esac
  while read -r key value; do
    case $key in
      kubernetes.io/pvOrVolumeName) volume=$value ;;
      kubernetes.io/fsType) fs=$value ;;
      kubernetes.io/readwrite) access=$value ;;
      kubernetes.io/pod.namespace) pod_namespace=$value ;;
      kubernetes.io/pvc.namespace) claim_namespace=$value ;;
      kubernetes.io/pvc.name) claim_name=$value ;;
      kubernetes.io/pvc.uid) claim_uid=$value ;;
      kubernetes.io/pvc.accessModes) modes=$value ;;
      kubernetes.io/storageClass.secret) class_secret=$value ;;
      kubernetes.io/mountOptions) mount_options=$value ;;
      kubernetes.io/reclaimPolicy) policy=$value ;;
      kubernetes.io/clusterUid) cluster=$value ;;
      kubernetes.io/onlyFind) only_find=$value ;;
      kubernetes.io/onlyIfBlank) only_if_blank=$value ;;
      pool) pool=$value ;;
      poolId) pool_id=$value ;;
      requestBytes) request_bytes=$value ;;
      sourceVolume) source=$value ;;
    esac
  done <<END
$parsed
END
  check_name "the volume's name" "$volume"
  check_group_name
  case $access in
    rw | ro) ;;
    *) fail InvalidArgument "kubernetes.io/readwrite is '$access'; it is rw or ro" ;;
  esac
}

# $1: whose name. $2: the name, which will be that of a logical volume, or part of a tag.
check_name() {
  case $2 in
    '' | *[!a-z0-9.-]* | [.-]* | *[.-] | *..*) ;;
    *) [ ${#2} -gt 253 ] || return 0 ;;
  esac
  fail InvalidArgument "$1 is '$2'; it is letters from a to z, digits, '-' and '.'"
}

check_group_name() {
  case $pool in
    '') fail InvalidArgument "no volume group is named: set the parameter pool of the storage class to one" ;;
    -* | . | .. | *[!A-Za-z0-9+_.-]*) fail InvalidArgument "pool is '$pool', which is no name of a volume group" ;;
  esac
}

# $1: which number. $2: its decimal digits.
check_number() {
  case $2 in
    '' | *[!0-9]* | 0*) ;;
    *) [ ${#2} -gt $LARGEST_DIGITS ] || return 0 ;;
  esac
  fail InvalidArgument "$1 is '$2'; it is a number of bytes with at most $LARGEST_DIGITS digits"
}

# Sets directory to the path that the kernel has for the directory $1, or to '' if the directory above is gone. kubelet
# calls it .../pods/UID/volumes/DRIVER/NAME. Only the directory above is looked into: what is mounted at $1 may not
# answer.
read_directory() {
  directory=''
  path=${1%/}
  case $path in
    *[!A-Za-z0-9._~:@%+=,/-]*) fail InvalidArgument "the directory '$1' has a character that the driver refuses" ;;
    */. | */..) fail InvalidArgument "the directory '$1' is not the one of a pod" ;;
    /*/pods/*/volumes/*/*) ;;
    *) fail InvalidArgument "the directory '$1' is not the one of a pod" ;;
  esac
  [ ! -h "$path" ] || fail InvalidArgument "$path is a symbolic link"
  above=$(cd -P "${path%/*}" && pwd -P) || return 0
  directory=${above%/}/${path##*/}
}

# What LVM knows.

# One call works at a time on a volume group, so that a group whose disks hang keeps no other. A group is looked at first:
# a pod's author may name any, and only one that is there and is for flexvol has a lock.
lock() {
  find_group
  command -v flock || fail Internal "the node has no flock: install util-linux"
  lock=$LOCKS.$pool
  (: >>"$lock") || fail Internal "$lock cannot be opened"
  exec 9>>"$lock"
  left=$LOCK_SECONDS
  while [ $left -gt 0 ]; do
    flock -n 9 && return
    # That is its status if another call has the lock.
    [ $? = 1 ] || fail Internal "flock fails: $(flock -n 9 2>&1)"
    left=$((left - 1))
    sleep 1
  done
  fail Busy "another call of the driver has worked on volume group $pool for $LOCK_SECONDS s"
}

# Finds the volume group that the options name; sets group_id, free_bytes and extent_bytes.
find_group() {
  command -v lvs || fail Unavailable "the node has no LVM: install lvm2"
  set -- vgs vg_uuid,vg_free,vg_extent_size,vg_missing_pv_count,vg_tags "$pool"
  found=$(report "$@") || fail Unavailable "volume group $pool: $(complaint "$@")"
  read -r group_id free_bytes extent_bytes missing tags <<END
$found
END
  if ! is_tagged "$GROUP_TAG"; then
    fail Unavailable "volume group $pool is left alone, as it does not have the tag $GROUP_TAG; if it is for flexvol: \
vgchange --addtag $GROUP_TAG $pool"
  fi
  [ "$missing" = 0 ] || fail Unavailable "volume group $pool lacks $missing of its disks; see: pvs"
  [ "${pool_id:-$group_id}" = "$group_id" ] ||
    fail Unavailable "volume group $pool has the id $group_id, and the volume's is $pool_id: the disks were replaced"
}

# Finds the volume; sets state to absent, foreign, half or whole, and what LVM says of the volume.
find_volume() {
  set -- lvs lv_attr,lv_size,lv_kernel_major,lv_kernel_minor,lv_tags --select "lv_name=\"$volume\"" "$pool"
  found=$(report "$@") || fail Unavailable "volume group $pool: $(complaint "$@")"
  read -r attributes size_bytes major minor tags <<END
$found
END
  device=/dev/$pool/$volume
  state=whole
  if [ -z "$found" ]; then
    state=absent
  elif ! is_tagged "$OUR_TAG"; then
    state=foreign
  elif is_tagged flexvol.making; then
    state=half
  fi
}

# Whether the tags that were read last have $1 among them.
is_tagged() {
  case ",$tags," in
    *",$1,"*) return 0 ;;
  esac
  return 1
}

# Prints the rest of the tag that begins with $1.
tagged() {
  rest=,$tags,
  case $rest in
    *",$1"*) rest=${rest#*",$1"} && printf '%s' "${rest%%,*}" ;;
  esac
}

refuse_foreign() {
  fail InvalidArgument "volume group $pool has a logical volume $volume that this driver did not make; it is left alone"
}

# A volume belongs to one claim for all its life.
check_owner() {
  [ "$(tagged flexvol.uid=)" = "$claim_uid" ] ||
    fail InvalidArgument "volume $volume belongs to the claim $(tagged flexvol.namespace=)/$(tagged flexvol.claim=) \
with the uid $(tagged flexvol.uid=)"
}

# Sets mounted to the device, as MAJOR:MINOR, that is mounted on top at $1, or to ''.
find_mount() {
  mounted=$(awk -v directory="$1" '$5 == directory { device = $3 } END { print device }' /proc/self/mountinfo 3>&- 9>&-)
}

# The calls of kubelet.

init() {
  succeed '"capabilities": {"attach": false, "selinuxRelabel": true, "supportsMetrics": true, "fsGroup": true, '\
'"requiresFSResize": true}'
}

# Finds the volume of a PV that is to be mounted or grown.
find_whole_volume() {
  find_group
  find_volume
  case $state in
    absent) fail NotFound "volume group $pool has no volume $volume" ;;
    foreign) refuse_foreign ;;
    half) fail NotFound "volume $volume was not made to its end" ;;
  esac
  case $attributes in
    ????a*) ;;
    # An lvextend that was killed leaves the volume suspended: who reads or writes waits.
    ????s*) run lvchange --refresh "$pool/$volume" ;;
    *)
      run lvchange --activate y "$pool/$volume"
      find_volume
      ;;
  esac
}

mount_volume() {
  read_directory "$1"
  read_options "$2"
  [ -d "$directory" ] || fail InvalidArgument "the directory $1 does not exist"
  lock
  find_whole_volume
  # kubelet tells the namespace of a pod, and a pod's author cannot forge it. The options may be of a pod's author.
  [ "$(tagged flexvol.namespace=)" = "$pod_namespace" ] ||
    fail NotFound "namespace '$pod_namespace' has no volume $volume in volume group $pool"
  find_mount "$directory"
  [ "$mounted" != "$major:$minor" ] || succeed
  [ -z "$mounted" ] || fail Busy "something else is mounted at $directory"
  if is_tagged flexvol.blank; then
    run lvchange --deltag flexvol.blank "$pool/$volume"
  fi
  fs=$(tagged flexvol.fs=)
  case $access in
    rw) run mount -t "$fs" -o nosuid,nodev "$device" "$directory" ;;
    ro) mount_read_only ;;
  esac
  find_mount "$directory"
  [ -n "$mounted" ] || fail Internal "mount succeeded, and nothing is mounted at $directory"
  succeed
}

# The kernel mounts one file system for all pods, so that only a view of it is read-only. The view is made where no pod
# is: a pod's directory never has a writable mount, even if this call is killed.
mount_read_only() {
  clear_stage
  run mkdir -p "$stage"
  run mount -t "$fs" -o nosuid,nodev "$device" "$stage"
  run mount -o remount,bind,ro,nosuid,nodev "$stage"
  run mount --bind "$stage" "$directory"
  clear_stage
}

# Undoes what this call, or one that was killed, has in the stage of the volume.
clear_stage() {
  stage=$STAGES/$volume
  find_mount "$stage"
  while [ -n "$mounted" ]; do
    run umount "$stage"
    find_mount "$stage"
  done
  [ ! -d "$stage" ] || run rmdir "$stage"
}

unmount_volume() {
  read_directory "$1"
  [ -n "$directory" ] || succeed
  left=$UNMOUNTS
  find_mount "$directory"
  while [ -n "$mounted" ]; do
    is_logical_volume "$mounted" ||
      fail InvalidArgument "$directory has a mount of the device $mounted, which is no logical volume; it is left alone"
    left=$((left - 1))
    [ $left -ge 0 ] || fail Internal "$directory is still mounted after $UNMOUNTS unmounts"
    words=$(umount "$directory" 2>&1 3>&-)
    # Another call may have unmounted it just now: then umount failed, and all is well.
    before=$mounted
    find_mount "$directory"
    [ "$before" != "$mounted" ] || [ -z "$words" ] || fail Busy "$words"
  done
  succeed
}

# Whether the device with these numbers is one of LVM's. The kernel is asked, and not LVM: what LVM keeps on a dead disk
# cannot be read, and the pod must end nevertheless.
is_logical_volume() {
  read -r uuid <"/sys/dev/block/$1/dm/uuid" || return 1
  case $uuid in
    LVM-*) return 0 ;;
  esac
  return 1
}

# $1: the options. $2: the directory of the pod. $3: the bytes that the volume is to have.
expand() {
  read_directory "$2"
  read_options "$1"
  check_number "the new size" "$3"
  lock
  find_whole_volume
  find_mount "$directory"
  [ "$mounted" = "$major:$minor" ] || fail InvalidArgument "volume $volume is not mounted at $2"
  if [ "$size_bytes" -lt "$3" ]; then
    more=$(in_extents $(($3 - size_bytes)))
    check_room "$more"
    run lvextend --size "$((size_bytes + more))b" "$pool/$volume"
  fi
  case $(tagged flexvol.fs=) in
    ext4) run resize2fs "$device" ;;
    xfs) run xfs_growfs "$directory" ;;
  esac
  succeed
}

# Prints the bytes of the extents that hold $1 bytes.
in_extents() {
  printf '%s' $((($1 + extent_bytes - 1) / extent_bytes * extent_bytes))
}

check_room() {
  [ "$1" -le "$free_bytes" ] ||
    fail ResourceExhausted "volume group $pool has $free_bytes bytes free, and $1 are needed"
}

# The calls of the provisioner.

# The provisioner's container has no tools of LVM. With FLEXVOL_LVM_NODE=yes, and the node's process numbers in the
# container (hostPID), the call goes on in the node's own namespaces, with the node's tools and locks.
on_the_node() {
  if [ "${FLEXVOL_LVM_NODE-}" = yes ]; then
    reply=$(FLEXVOL_LVM_NODE=no nsenter -t 1 -m -i "$0" "$@" 2>&1 3>&-) || fail Unavailable "nsenter: $reply"
    answer "$reply"
  fi
  shift
  case $callout in
    provision) provision "$1" ;;
    delete) delete "$1" ;;
    list) list ;;
  esac
}

provision() {
  read_options "$1"
  check_request
  lock
  find_group
  find_volume
  case $state in
    foreign) refuse_foreign ;;
    half | whole) check_owner ;;
  esac
  [ $state != whole ] || fs=$(tagged flexvol.fs=)
  if [ "$only_find" = true ]; then
    [ $state != absent ] || fail NotFound "volume group $pool has no volume $volume"
  else
    [ $state = whole ] || make_volume
    [ "$size_bytes" -ge "$request_bytes" ] ||
      fail InvalidArgument "volume $volume is there with $size_bytes bytes, and $request_bytes are asked for"
  fi
  succeed "\"volume\": {\"options\": {\"pool\": \"$pool\", \"poolId\": \"$group_id\"}, \"capacityBytes\": $size_bytes, \
\"fsType\": \"$fs\"}"
}

# Checks what the class and the claim ask for, and sets fs and minimum_bytes.
check_request() {
  check_number requestBytes "$request_bytes"
  check_name "the claim's namespace" "$claim_namespace"
  check_name "the claim's name" "$claim_name"
  check_name "the claim's uid" "$claim_uid"
  [ -z "$cluster" ] || check_name "the cluster's uid" "$cluster"
  case $policy in
    '' | Delete | Retain) ;;
    *) fail InvalidArgument "the reclaim policy is '$policy'; it is Delete or Retain" ;;
  esac
  fs=${fs:-$DEFAULT_FS}
  case $fs in
    ext4) minimum_bytes=$EXT4_MINIMUM_BYTES ;;
    xfs) minimum_bytes=$XFS_MINIMUM_BYTES ;;
    *) fail InvalidArgument "fsType is '$fs'; the driver makes ext4 and xfs" ;;
  esac
  [ -z "$source" ] || fail InvalidArgument "the driver copies no volumes, so the claim must be without dataSource"
  [ -z "$pool_id" ] || fail InvalidArgument "poolId is not a parameter of a storage class; leave it out"
  [ -z "$mount_options" ] || fail InvalidArgument "the driver takes no mountOptions; leave them out of the class"
  [ -z "$class_secret" ] || fail InvalidArgument "the driver uses no Secret; leave $class_secret out of the class"
  case ,$modes, in
    *,ReadWriteMany,* | *,ReadOnlyMany,*)
      fail InvalidArgument "a logical volume is on one node: ask for ReadWriteOnce or ReadWriteOncePod"
      ;;
  esac
}

# Makes the volume anew. Of a volume that an earlier call made half nothing is kept: no pod has had it. So mkfs only
# ever runs on a volume that this call has made.
make_volume() {
  if [ $state = half ]; then
    run lvremove --yes "$pool/$volume"
    find_group
  fi
  size_bytes=$request_bytes
  [ "$size_bytes" -ge "$minimum_bytes" ] || size_bytes=$minimum_bytes
  size_bytes=$(in_extents "$size_bytes")
  check_room "$size_bytes"
  set -- --addtag "$OUR_TAG" --addtag flexvol.making --addtag flexvol.blank --addtag "flexvol.fs=$fs"
  set -- "$@" --addtag "flexvol.namespace=$claim_namespace" --addtag "flexvol.claim=$claim_name"
  set -- "$@" --addtag "flexvol.uid=$claim_uid" --addtag "flexvol.cluster=$cluster" --addtag "flexvol.reclaim=$policy"
  # What is wiped are signatures in extents that were free.
  run lvcreate --yes --wipesignatures y --zero y --name "$volume" --size "${size_bytes}b" "$@" "$pool"
  case $fs in
    ext4) run mkfs.ext4 -q -m 0 "$device" ;;
    xfs) run mkfs.xfs -q "$device" ;;
  esac
  run lvchange --deltag flexvol.making "$pool/$volume"
}

delete() {
  read_options "$1"
  lock
  find_group
  find_volume
  case $state in
    absent) succeed ;;
    foreign) refuse_foreign ;;
  esac
  check_owner
  if [ "$only_if_blank" = true ] && ! is_tagged flexvol.blank; then
    fail Busy "volume $volume was mounted, so it may hold data; it is left alone"
  fi
  if [ -d "$STAGES/$volume" ]; then
    clear_stage
    find_volume
  fi
  case $attributes in
    # lvremove would remove the snapshots too.
    [oO]*) fail Busy "volume $volume has snapshots that this driver did not make, and would go with them; see: lvs $pool" ;;
    ?????o*) fail Busy "volume $volume is in use on the node; see: lsblk $device" ;;
  esac
  run lvremove --yes "$pool/$volume"
  succeed
}

list() {
  command -v lvs || fail Unavailable "the node has no LVM: install lvm2"
  set -- vgs vg_name,vg_uuid,vg_size,vg_free,vg_missing_pv_count --select "vg_tags=$GROUP_TAG"
  groups=$(report "$@") || fail Internal "$(complaint "$@")"
  set -- lvs vg_name,vg_uuid,lv_name,lv_size,lv_tags --select "vg_tags=$GROUP_TAG && lv_tags=$OUR_TAG"
  volumes=$(report "$@") || fail Internal "$(complaint "$@")"
  succeed "\"pools\": [$(printf '%s\n' "$groups" | pools_as_json)], \
\"volumes\": [$(printf '%s\n' "$volumes" | volumes_as_json)]"
}

pools_as_json() {
  awk -v ext4=$EXT4_MINIMUM_BYTES -v xfs=$XFS_MINIMUM_BYTES -v fs=$DEFAULT_FS '
    NF == 5 {
      printf "%s{\"name\": \"%s\", \"id\": \"%s\"", separator, $1, $2
      if ($5 != 0) printf ", \"error\": \"the volume group lacks %s of its disks\"", $5
      printf ", \"capacityBytes\": %s, \"freeBytes\": %s, \"defaultFsType\": \"%s\"", $3, $4, fs
      printf ", \"minimumVolumeBytes\": {\"\": %s, \"ext4\": %s, \"xfs\": %s}}", ext4, ext4, xfs
      separator = ", "
    }' 3>&-
}

volumes_as_json() {
  awk '
    function tag(name) {
      rest = "," $5 ","
      at = index(rest, ",flexvol." name "=")
      if (!at) return ""
      rest = substr(rest, at + length(name) + 10)
      return substr(rest, 1, index(rest, ",") - 1)
    }
    NF == 5 {
      printf "%s{\"name\": \"%s\", \"pool\": \"%s\", \"poolId\": \"%s\", \"sizeBytes\": %s", separator, $3, $1, $2, $4
      printf ", \"fsType\": \"%s\", \"options\": {\"pool\": \"%s\", \"poolId\": \"%s\"}", tag("fs"), $1, $2
      printf ", \"owner\": {\"namespace\": \"%s\", \"name\": \"%s\"", tag("namespace"), tag("claim")
      printf ", \"uid\": \"%s\"}, \"clusterUid\": \"%s\"", tag("uid"), tag("cluster")
      printf ", \"reclaimPolicy\": \"%s\"", tag("reclaim")
      printf ", \"blank\": %s}", index("," $5 ",", ",flexvol.blank,") ? "true" : "false"
      separator = ", "
    }' 3>&-
}

main "$@"
