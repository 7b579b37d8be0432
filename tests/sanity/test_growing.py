"""Whether a volume has grown, also if its size does not tell: a quota."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from node.sanity.check import FAULT, NOT_ASKED, RIGHT
from tests.sanity import drivers

# A volume is a subvolume of btrfs, whose file system is the whole disk's.
DRIVER = """#!/bin/sh
store=/srv/subvolumes
answer() { echo "{\\"status\\": \\"$1\\", \\"message\\": \\"$2\\"}"; exit 0; }
option() { printf '%s' "$1" | sed -n 's|.*"'"$2"'": *"\\([^"]*\\)".*|\\1|p'; }
limit() { btrfs qgroup limit "$1" "$2" >/dev/null 2>&1 || answer Failure "no limit"; }
name=$(option "$2" kubernetes.io/pvOrVolumeName)
case $1 in
  init) echo '{"status": "Success", "capabilities": {"attach": false}}' ;;
  provision)
    bytes=$(option "$2" requestBytes)
    btrfs subvolume create "$store/$name" >/dev/null 2>&1 || answer Failure "no subvolume"
    limit "$bytes" "$store/$name"
    echo '{"status": "Success",
      "volume": {"options": {}, "capacityBytes": '"$bytes"', "fsType": ""}}' ;;
  mount)
    name=$(option "$3" kubernetes.io/pvOrVolumeName)
    mount --bind "$store/$name" "$2" >/dev/null 2>&1 || answer Failure "no mount"
    answer Success ;;
  unmount)
    umount "$2" >/dev/null 2>&1 || answer Failure "no unmount"
    answer Success ;;
  expandfs)
    limit "$5" "$store/$name"
    answer Success ;;
  *) answer "Not supported" ;;
esac
"""
_SETUP = """truncate -s 2G /srv/disk && mkfs.btrfs -q /srv/disk && mkdir /srv/subvolumes &&
    mount -o loop /srv/disk /srv/subvolumes && btrfs quota enable /srv/subvolumes"""
_BTRFS = dataclasses.replace(drivers.LOOP, setup=_SETUP)
_CHECK = "expandfs-grows"
_AT_MOST = '    [ "$5" -le 1073741824 ] || answer Failure "a volume has 1 GiB at most"\n'


@pytest.mark.parametrize(
    ("old", "new", "verdict", "message"),
    [
        pytest.param("#!/bin/sh", "#!/bin/sh", RIGHT, "", id="a quota that grows"),
        pytest.param(
            'limit "$5"',
            'true "$5"',
            FAULT,
            "the volume takes no more than",
            id="one that does not",
        ),
        pytest.param(
            "  expandfs)\n",
            "  no-expandfs)\n",
            FAULT,
            "kubelet has no device to grow",
            id="one that kubelet is to grow",
        ),
        pytest.param(
            'limit "$bytes"', 'true "$bytes"', NOT_ASKED, "the driver sets no limit", id="no quota"
        ),
    ],
)
def test_a_quota_that_the_size_does_not_show(
    old: str, new: str, verdict: str, message: str, tmp_path: Path
) -> None:
    text = drivers.replaced(DRIVER, old, new)

    (result,) = drivers.judged(tmp_path, _BTRFS, text, [_CHECK])

    assert result.verdict == verdict, result.message
    assert message in result.message


@pytest.mark.parametrize("check", ["expandfs", "expandfs-killed"])
def test_a_volume_with_a_quota_is_not_asked_to_have_the_whole_disk(
    check: str, tmp_path: Path
) -> None:
    text = drivers.replaced(DRIVER, "  expandfs)\n", f"  expandfs)\n{_AT_MOST}")

    (result,) = drivers.judged(tmp_path, _BTRFS, text, [check])

    assert result.verdict == RIGHT, result.message


def test_a_disk_without_room_tells_of_no_limit(tmp_path: Path) -> None:
    setup = _SETUP.replace("2G", "180M")
    kind = dataclasses.replace(_BTRFS, setup=setup)

    (result,) = drivers.judged(tmp_path, kind, DRIVER, [_CHECK])

    assert result.verdict == NOT_ASKED, result.message
    assert "the disk has no room" in result.message
