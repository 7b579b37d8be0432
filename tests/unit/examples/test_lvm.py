"""examples/lvm.sh, as far as it comes without LVM: what it answers, and that hostile options are
refused. tests/vm/test_lvm.py has the rest."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import caller, protocol
from tests.sources import ROOT

DRIVER = ROOT / "examples/lvm.sh"
SHELLS = {
    name: words
    for name, words in {
        "dash": ["dash"],
        "the ash of busybox": ["busybox", "sh"],
        "bash": ["bash"],
    }.items()
    if shutil.which(words[0])
}
AWKS = {
    name: words
    for name, words in {
        "mawk": ["mawk"],
        "the awk of busybox": ["busybox", "awk"],
        "gawk": ["gawk"],
        "original-awk": ["original-awk"],
    }.items()
    if shutil.which(words[0])
}
EXAMPLES = 60
KIB = 1 << 10
PODS = "/var/lib/kubelet/pods/uid/volumes/flexvol~lvm"
in_each_shell = pytest.mark.parametrize("shell", SHELLS.values(), ids=list(SHELLS))
with_each_awk = pytest.mark.parametrize("awk", AWKS.values(), ids=list(AWKS))

# What a node knows to its end: with these options only LVM is missing.
REQUEST = {
    "kubernetes.io/pvOrVolumeName": "pvc-1",
    "kubernetes.io/fsType": "",
    "kubernetes.io/pvc.namespace": "shop",
    "kubernetes.io/pvc.name": "data",
    "kubernetes.io/pvc.uid": "u1",
    "kubernetes.io/pvc.accessModes": "ReadWriteOnce",
    "kubernetes.io/reclaimPolicy": "Delete",
    "kubernetes.io/clusterUid": "c1",
    "pool": "data",
    "requestBytes": "33554432",
    "requestMiB": "32",
}


def call(shell: list[str], *words: str, **settings: Any) -> subprocess.CompletedProcess[bytes]:
    """A call as kubelet makes it, on a node without LVM."""
    text = DRIVER.read_text().replace("command -v lvs", "command -v lvs-of-no-node")
    return subprocess.run(
        [*shell, "-c", text, str(DRIVER), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        **settings,
    )


def refused(shell: list[str], *words: str) -> tuple[str, str]:
    """The reason and the sentence of a call that must fail."""
    done = call(shell, *words)
    with pytest.raises(protocol.Failure) as failure:
        caller.parse(words[0], done.stdout, done.returncode)
    assert done.returncode == 0
    return failure.value.reason, failure.value.message


@in_each_shell
def test_the_driver_states_all_that_it_can_do(shell: list[str]) -> None:
    done = call(shell, "init", env={}, cwd="/")

    reply = caller.parse("init", done.stdout, done.returncode)
    assert reply.capabilities is not None
    assert json.loads(done.stdout)["capabilities"] == reply.capabilities.to_dict()
    assert reply.capabilities.to_dict() == {
        "attach": False,
        "selinuxRelabel": True,
        "supportsMetrics": True,
        "fsGroup": True,
        "requiresFSResize": True,
    }


@in_each_shell
@pytest.mark.parametrize("callout", ["", "attach", "adopt", "getvolumename", "no-call", "--help"])
def test_other_calls_are_not_supported(shell: list[str], callout: str) -> None:
    done = call(shell, callout, "{}", "node")

    assert json.loads(done.stdout)["status"] == protocol.NOT_SUPPORTED
    assert done.returncode == 0


@in_each_shell
def test_a_node_without_lvm_is_told_of(shell: list[str]) -> None:
    for words in (("provision", json.dumps(REQUEST)), ("delete", json.dumps(REQUEST)), ("list",)):
        assert refused(shell, *words) == ("Unavailable", "the node has no LVM: install lvm2")


# In the place of LVM: the groups `fast` and `slow` are there for flexvol, `other` is not for
# flexvol, and no group has a volume.
FAKE_LVM = """#!/bin/sh
case "${0##*/}:$*" in
  vgs:*fast | vgs:*slow) echo "ID 8388608 4194304 0 flexvol" ;;
  vgs:*other) echo "ID 8388608 4194304 0 mine" ;;
  vgs:*) exit 5 ;;
esac
"""


@in_each_shell
def test_a_group_that_hangs_keeps_no_other(shell: list[str], tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("vgs", "lvs"):
        (tools / name).write_text(FAKE_LVM)
        (tools / name).chmod(0o755)
    locks = tmp_path / "lock"
    text = DRIVER.read_text()
    for old, new in (
        ("PATH=/usr/sbin", f"PATH={tools}:/usr/sbin"),
        ("LOCKS=/run/flexvol-lvm.lock", f"LOCKS={locks}"),
        ("LOCK_SECONDS=50", "LOCK_SECONDS=1"),
    ):
        assert old in text
        text = text.replace(old, new)

    def delete(group: str) -> dict[str, str]:
        options = json.dumps({**REQUEST, "pool": group})
        line = [*shell, "-c", text, "driver", "delete", options]
        answer: dict[str, str] = json.loads(subprocess.run(line, capture_output=True).stdout)
        return answer

    with open(f"{locks}.slow", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as a program does that hangs

        assert delete("fast") == {"status": "Success"}
        answer = delete("slow")
        assert (answer["reason"], "worked on volume group slow" in answer["message"]) == (
            "Busy",
            True,
        )

    for group in ("other", "no-such-group"):
        assert delete(group)["reason"] == "Unavailable"
    assert {path.name for path in tmp_path.glob("lock*")} == {"lock.fast", "lock.slow"}


HOSTILE = {
    "no JSON": ("pool=data", "not a JSON object of strings"),
    "nothing": ("", "not a JSON object of strings"),
    "two objects": (json.dumps(REQUEST) * 2, "not a JSON object of strings"),
    "an array": ('["pool"]', "not a JSON object of strings"),
    "a number": (json.dumps({**REQUEST, "requestBytes": 1}), "not a JSON object of strings"),
    "an object in it": (json.dumps({**REQUEST, "x": {}}), "not a JSON object of strings"),
    "a comma too much": (json.dumps(REQUEST)[:-1] + ",}", "not a JSON object of strings"),
    "an escape that JSON does not have": ('{"pool": "\\q"}', "not a JSON object of strings"),
    "a line within a string": ('{"pool": "a\nb"}', "control characters"),
    "a key twice": (json.dumps(REQUEST)[:-1] + ', "pool": "other"}', "twice: pool"),
    "a key twice, once hidden": (
        json.dumps(REQUEST)[:-1] + ', "p\\u006fol": "other"}',
        "a key has an escape",
    ),
    "an unknown option": (json.dumps({**REQUEST, "size": "1"}), "unknown option size"),
    "a command for a name": (
        json.dumps({**REQUEST, "kubernetes.io/pvOrVolumeName": "$(reboot)"}),
        "pvOrVolumeName has a character",
    ),
    "a word more in a name": (
        json.dumps({**REQUEST, "kubernetes.io/pvOrVolumeName": "pvc-1 --yes"}),
        "pvOrVolumeName has a character",
    ),
    "a path for a name": (
        json.dumps({**REQUEST, "kubernetes.io/pvOrVolumeName": "../data"}),
        "the volume's name is",
    ),
    "an option of LVM for a name": (
        json.dumps({**REQUEST, "kubernetes.io/pvOrVolumeName": "-ay"}),
        "the volume's name is",
    ),
    "an option of LVM for a group": (json.dumps({**REQUEST, "pool": "--help"}), "no name of a"),
    "a path for a group": (json.dumps({**REQUEST, "pool": "/dev/data"}), "no name of a"),
    "no group": (json.dumps({**REQUEST, "pool": ""}), "set the parameter pool"),
    "a tag in a namespace": (
        json.dumps({**REQUEST, "kubernetes.io/pvc.namespace": "shop,flexvol.blank"}),
        "the claim's namespace",
    ),
    "no number": (json.dumps({**REQUEST, "requestBytes": "x"}), "requestBytes is 'x'"),
    "an octal number": (json.dumps({**REQUEST, "requestBytes": "010"}), "requestBytes is '010'"),
    "a sum": (json.dumps({**REQUEST, "requestBytes": "1+1"}), "requestBytes is '1+1'"),
    "a number without end": (json.dumps({**REQUEST, "requestBytes": "9" * 19}), "requestBytes is"),
    "another file system": (json.dumps({**REQUEST, "kubernetes.io/fsType": "ntfs"}), "ntfs"),
    "several nodes": (
        json.dumps({**REQUEST, "kubernetes.io/pvc.accessModes": "ReadWriteOnce,ReadWriteMany"}),
        "on one node",
    ),
    "a copy": (json.dumps({**REQUEST, "sourceVolume": "pvc-0"}), "copies no volumes"),
    "a Secret": (
        json.dumps({**REQUEST, "kubernetes.io/storageClass.secret": "createSecret"}),
        "leave createSecret out",
    ),
    "options of mount": (
        json.dumps({**REQUEST, "kubernetes.io/mountOptions": "noatime,commit=5"}),
        "no mountOptions",
    ),
}


@in_each_shell
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_options_are_refused(shell: list[str], hostile: tuple[str, str]) -> None:
    options, sentence = hostile

    reason, message = refused(shell, "provision", options)

    assert reason == "InvalidArgument"
    assert sentence in message


@in_each_shell
@pytest.mark.parametrize(
    "directory",
    ["/", "/mnt", "/srv/data", f"{PODS}/..", f"{PODS}/.", PODS[1:], f"{PODS}/a\nb", f"{PODS}/$x"],
)
def test_a_directory_that_is_no_pods_is_refused(shell: list[str], directory: str) -> None:
    for words in (
        ("unmount", directory),
        ("mount", directory, json.dumps(REQUEST)),
        ("expandfs", json.dumps(REQUEST), "", directory, "2", "1"),
    ):
        assert refused(shell, *words)[0] == "InvalidArgument"


@in_each_shell
def test_a_directory_without_a_mount_is_unmounted(shell: list[str], tmp_path: Path) -> None:
    volumes = tmp_path / "pods/uid/volumes/flexvol~lvm"
    (volumes / "there").mkdir(parents=True)
    (volumes / "link").symlink_to("/etc")
    other_pod = tmp_path / "pods/other/volumes/flexvol~lvm"

    for directory in (volumes / "there", volumes / "gone", other_pod / "gone"):
        assert json.loads(call(shell, "unmount", str(directory)).stdout) == {"status": "Success"}
    assert "symbolic link" in refused(shell, "unmount", str(volumes / "link"))[1]
    assert (volumes / "there").exists()


@in_each_shell
def test_a_mount_of_another_device_is_left_alone(shell: list[str], tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    pod = tmp_path / "pods/uid/volumes/flexvol~lvm/pvc-1"
    pod.mkdir(parents=True)
    script = 'mount -t tmpfs tmpfs "$0"; "$@" unmount "$0"; mountpoint -q "$0"'
    driver = [*shell, str(DRIVER)]

    done = subprocess.run(
        ["unshare", "-m", "sh", "-e", "-c", script, str(pod), *driver],
        capture_output=True,
        check=True,
    )

    assert json.loads(done.stdout)["reason"] == "InvalidArgument"


@pytest.mark.parametrize(
    ("setting", "answer"),
    [
        pytest.param("yes", "the node's driver: list no", id="in the provisioner's container"),
        pytest.param("", "the node has no LVM: install lvm2", id="everywhere else"),
    ],
)
def test_the_provisioners_calls_go_on_in_the_namespaces_of_the_node(
    setting: str, answer: str, tmp_path: Path
) -> None:
    """The node is the first process of a pid namespace, and the container has other mounts."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    driver = tmp_path / "driver"
    driver.write_text(DRIVER.read_text().replace("command -v lvs", "command -v lvs-of-no-node"))
    on_node = tmp_path / "on-node"
    on_node.write_text(
        '#!/bin/sh\necho "{\\"message\\": \\"the node\'s driver: $* $FLEXVOL_LVM_NODE\\"}"'
    )
    for file in (driver, on_node):
        file.chmod(0o755)
    container = 'umount "$0"; FLEXVOL_LVM_NODE=$1 exec "$0" list'
    node = 'mount --bind "$1" "$0"; unshare -m sh -e -c "$2" "$0" "$3"; true'

    done = subprocess.run(
        ["unshare", "-m", "-p", "-f", "--mount-proc", "sh", "-e", "-c", node]
        + [str(driver), str(on_node), container, setting],
        capture_output=True,
        check=True,
    )

    assert json.loads(done.stdout)["message"] == answer


def test_the_installer_brings_the_driver_to_kubelets_directory(tmp_path: Path) -> None:
    (daemonset,) = yaml.safe_load_all((ROOT / "examples/lvm/daemonset.yaml").read_text())
    (installer,) = daemonset["spec"]["template"]["spec"]["initContainers"]
    *words, script, on_node = installer["command"]
    (mount,) = [one for one in installer["volumeMounts"] if one["name"] == "plugins"]
    here = tmp_path / "flexvol~lvm"

    for _ in range(2):
        script_here = script.replace("/driver/lvm", str(DRIVER))
        script_here = script_here.replace(f"{mount['mountPath']}/", f"{tmp_path}/")
        subprocess.run([*words, script_here, on_node], check=True)

    assert [path.name for path in here.iterdir()] == ["lvm"]
    assert (here / "lvm").read_bytes() == DRIVER.read_bytes()
    assert os.access(here / "lvm", os.X_OK)


# What reads the options is a program of awk in the driver.
(READER,) = re.findall(
    r"^  printf '%s\\n' \"\$1\" \| awk '\n(.*?)'$", DRIVER.read_text(), re.S | re.M
)
VALUES = st.text("abcXYZ019._+,=:/-", max_size=8)
NAMES = st.sampled_from(sorted(REQUEST.keys() - {"requestMiB"}))
IGNORED = st.sampled_from(["kubernetes.io/secret/k", "kubernetes.io/takenBack", "requestGiB"])
TEXT = st.text(st.characters(exclude_characters="\0"), max_size=20)
GAPS = st.text(" \t\r\n", max_size=2)


def read(awk: list[str], text: str) -> list[str]:
    """The lines that the program makes of the options."""
    done = subprocess.run(
        [*awk, READER],
        input=text.encode("utf-8", "surrogatepass") + b"\n",
        capture_output=True,
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert done.stderr == b""
    return done.stdout.decode().splitlines()


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Options as a program may write them, and the lines that the driver reads of them."""
    options: dict[str, str] = draw(st.dictionaries(NAMES, VALUES, max_size=4))
    ignored: dict[str, str] = draw(st.dictionaries(IGNORED, TEXT, max_size=2))
    wanted = [f"{key} {value}" for key, value in options.items()]
    is_ascii = draw(st.booleans())
    members = [
        draw(GAPS)
        + json.dumps(key)
        + draw(GAPS)
        + ":"
        + draw(GAPS)
        + json.dumps(value, ensure_ascii=is_ascii)
        + draw(GAPS)
        for key, value in {**options, **ignored}.items()
    ]
    return draw(GAPS) + "{" + ",".join(members) + draw(GAPS) + "}" + draw(GAPS), wanted


@with_each_awk
@settings(max_examples=EXAMPLES)
@given(pair=objects())
def test_options_are_read_however_they_are_written(
    awk: list[str], pair: tuple[str, list[str]]
) -> None:
    text, wanted = pair

    assert read(awk, text) == wanted


@with_each_awk
@settings(max_examples=EXAMPLES)
@given(
    pair=objects(),
    at=st.integers(0, 200),
    length=st.integers(0, 3),
    other=st.text('{}":,\\ abu01\n\t', max_size=3),
)
def test_what_is_read_is_what_json_says(
    awk: list[str], pair: tuple[str, list[str]], at: int, length: int, other: str
) -> None:
    """Also of an object in which something was changed."""
    at %= len(pair[0])
    text = pair[0][:at] + other + pair[0][at + length :]

    lines = read(awk, text)

    if lines[:1] and lines[0].startswith("! "):
        assert len(lines) == 1
        return
    members = json.loads(text, object_pairs_hook=list)
    assert all(isinstance(value, str) for _, value in members)
    assert len({key for key, _ in members}) == len(members)
    assert lines == [
        f"{key} {value}" for key, value in members if key in REQUEST and key != "requestMiB"
    ]


@with_each_awk
def test_options_as_long_as_a_word_can_be_are_read(awk: list[str]) -> None:
    keys = {f"kubernetes.io/secret/{number}": "x" * 50 for number in range(1400)}
    text = json.dumps({**keys, "kubernetes.io/secret/long": '"\\' * (10 * KIB), "pool": "data"})
    assert 120 * KIB < len(text) < 160 * KIB

    assert read(awk, text) == ["pool data"]
