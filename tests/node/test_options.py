"""What provision accepts, mkfs makes and mount mounts: the limits of each option, as the kernel has
them, and options of a record that this node's kernel refuses."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.node import edits
from tests.node.nodes import MIB, Node

SIZES = {"ext4": 64 * MIB, "xfs": 300 * MIB, "btrfs": 256 * MIB}
PAGE = os.sysconf("SC_PAGE_SIZE")

TAKEN = [
    ("ext4", "commit=0"),
    ("ext4", "commit=1"),
    ("ext4", "commit=2147483"),
    ("ext4", "data=ordered"),
    ("ext4", "data=journal,nodelalloc,journal_checksum"),
    ("ext4", "data=ordered,data=journal"),
    ("xfs", f"allocsize={PAGE}"),
    ("xfs", f"allocsize={PAGE >> 10}k"),
    ("xfs", "allocsize=1g"),
    ("xfs", "allocsize=1024m"),
    ("xfs", "logbufs=2,logbsize=16k"),
    ("xfs", "logbufs=8,logbsize=256k"),
    ("xfs", "logbsize=32768"),
    ("xfs", "largeio,swalloc,allocsize=64k"),
    ("btrfs", "commit=0"),
    ("btrfs", "commit=2147483"),
    ("btrfs", "compress=lzo"),
    ("btrfs", "compress=zlib:1"),
    ("btrfs", "compress=zlib:9"),
    ("btrfs", "compress-force=zstd:1"),
    ("btrfs", "compress-force=zstd:15,autodefrag"),
    ("btrfs", "compress=zlib,compress-force=zstd"),
]
REFUSED = [
    ("ext4", "commit=2147484"),
    ("ext4", "commit=9999999999"),
    ("ext4", "commit=08"),
    ("ext4", "commit=٣"),
    ("ext4", "commit="),
    ("ext4", "nodelalloc="),
    ("ext4", "data=writeback"),
    ("xfs", f"allocsize={PAGE // 2}"),
    ("xfs", "allocsize=3k"),
    ("xfs", "allocsize=12k"),
    ("xfs", "allocsize=2g"),
    ("xfs", "allocsize=0"),
    ("xfs", "allocsize=k"),
    ("xfs", "allocsize=64t"),
    ("xfs", "logbufs=1"),
    ("xfs", "logbufs=9"),
    ("xfs", "logbsize=8k"),
    ("xfs", "logbsize=24k"),
    ("xfs", "logbsize=512k"),
    ("xfs", "swalloc=1"),
    ("btrfs", "commit=4294967296"),
    ("btrfs", "compress=lzo:1"),
    ("btrfs", "compress=zlib:0"),
    ("btrfs", "compress=zlib:10"),
    ("btrfs", "compress=zstd:16"),
    ("btrfs", "compress=zstd:99999999999"),
    ("btrfs", "compress=no"),
]
REFUSED_BY_MKFS = [
    ("ext4", "-i 1023", "1024 to 67108864"),
    ("ext4", "-i 67108865", "1024 to 67108864"),
    ("ext4", "-m 50", "0 to 49"),
    ("ext4", "-J size=3", "4 to 40000"),
    ("ext4", "-J size=300", "journal size too big"),
    ("xfs", "-d agcount=1", "2 to"),
    ("xfs", "-d agcount=500", "too small"),
    ("xfs", "-l size=1m", "Value is too small"),
    ("xfs", "-l size=100m", "too large"),
    ("xfs", "-l size=3g", "a size like"),
    ("xfs", "-d agcount=2 -d agcount=2", "option"),
    ("xfs", "-i maxpct=101", "0 to 100"),
    ("btrfs", "-n 65536", "is one of"),
    ("btrfs", "-n", "is one of"),
]
MADE = [
    ("ext4", "-i 1024"),
    ("ext4", "-i 67108864 -m 49 -J size=4"),
    ("xfs", "-i maxpct=100 -d agcount=2"),
    ("xfs", "-i maxpct=0 -l size=64m"),
    ("btrfs", "-n 4096 -m single"),
    ("btrfs", "-n 32768 -m dup"),
]


def live_and_die(node: Node, fs: str, **own: str) -> None:
    """A volume with these options is made, mounted, written to, unmounted and deleted."""
    options = own.pop("mount", "")
    node.provision(
        size=SIZES[fs],
        fs=fs,
        also={"kubernetes.io/mountOptions": options} if options else {},
        **own,
    )
    pod = node.mount("web")
    (pod / "file").write_text("data")
    assert node.record().get("leftOut", []) == []
    node.unmount("web")
    node.ok("delete", node.deletion())


@pytest.mark.parametrize(("fs", "option"), TAKEN, ids=[" ".join(row) for row in TAKEN])
def test_a_value_at_the_limit_is_taken_and_mounts(node: Node, fs: str, option: str) -> None:
    live_and_die(node, fs, mount=option)


@pytest.mark.parametrize(
    ("fs", "option"),
    REFUSED,
    ids=[" ".join(row) for row in REFUSED],
)
def test_a_value_beyond_the_limit_is_refused_before_anything_is_made(
    node: Node, fs: str, option: str
) -> None:
    before = node.snapshot()
    request = node.request("pvc-1", SIZES[fs], fs, {"kubernetes.io/mountOptions": option})

    message = node.fails("InvalidArgument", "provision", request)

    assert ascii(option) in message
    assert node.snapshot() == before


@pytest.mark.parametrize(
    ("fs", "options", "words"),
    REFUSED_BY_MKFS,
    ids=[" ".join(row[:2]) for row in REFUSED_BY_MKFS],
)
def test_what_mkfs_does_not_take_is_the_classes_fault_in_the_first_words_of_mkfs(
    node: Node, fs: str, options: str, words: str
) -> None:
    before = node.snapshot()
    request = node.request("pvc-1", SIZES[fs], fs, mkfsOptions=options)

    message = node.fails("InvalidArgument", "provision", request)

    assert words in message
    assert "Usage" not in message
    assert "[-b size=num]" not in message
    assert node.snapshot() == before


@pytest.mark.parametrize(("fs", "options"), MADE, ids=[" ".join(row) for row in MADE])
def test_a_value_at_the_limit_is_made_and_mounts(node: Node, fs: str, options: str) -> None:
    live_and_die(node, fs, mkfsOptions=options)


def powers(least: int, most: int) -> st.SearchStrategy[str]:
    sizes = [1 << bits for bits in range(60) if least <= 1 << bits <= most]
    texts = {str(size) for size in sizes}
    for suffix, shift in (("k", 10), ("m", 20), ("g", 30)):
        texts |= {f"{size >> shift}{suffix}" for size in sizes if size >> shift}
    return st.sampled_from(sorted(texts))


def pairs(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return values.map(lambda value: f"{name}={value}")


SECONDS = st.integers(0, 2147483).map(str)
LEVELS = [f"zlib:{level}" for level in range(1, 10)] + [f"zstd:{level}" for level in range(1, 16)]
COMPRESSION = st.sampled_from(["zlib", "zstd", "lzo", *LEVELS])
FLAGS = ["noatime", "nodiratime", "nosuid", "nodev", "noexec"]
GRAMMAR = {
    "ext4": st.sampled_from(["nodelalloc", "journal_checksum", *FLAGS])
    | pairs("commit", SECONDS)
    | pairs("data", st.sampled_from(["ordered", "journal"])),
    "xfs": st.sampled_from(["largeio", "swalloc", *FLAGS])
    | pairs("allocsize", powers(PAGE, 1 << 30))
    | pairs("logbsize", powers(16 << 10, 256 << 10))
    | pairs("logbufs", st.integers(2, 8).map(str)),
    "btrfs": st.sampled_from(["autodefrag", *FLAGS])
    | pairs("commit", SECONDS)
    | pairs("compress", COMPRESSION)
    | pairs("compress-force", COMPRESSION),
}


@pytest.mark.parametrize("fs", sorted(GRAMMAR))
def test_every_combination_that_provision_takes_mounts(node: Node, fs: str) -> None:
    @settings(
        max_examples=12,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(options=st.lists(GRAMMAR[fs], min_size=1, max_size=6))
    def mounts(options: list[str]) -> None:
        live_and_die(node, fs, mount=",".join(options))

    mounts()


def write_options(node: Node, options: list[str]) -> None:
    record = node.record()
    record["mountOptions"] = options
    node.image().with_name("volume.json").write_text(json.dumps(record))


# The driver that takes every number, as an older one did, so that the kernel is what refuses.
LENIENT = {
    "ext4": edits.LARGEST_COMMIT.to("1 << 60"),
    "xfs": edits.SIZE_OPTION_IS_VALID.to("True"),
}
OLD_CALLS = ["strace", "-f", "-o", "/dev/null", "-e", "inject=fsopen,open_tree:error=ENOSYS"]


@dataclasses.dataclass(frozen=True)
class Refused:
    """options: which the kernel gets at first. left_out: those that the volume is mounted
    without. kept: an option that the mount then has."""

    fs: str
    options: list[str]
    left_out: list[str]
    kept: str


TOO_LARGE = Refused(
    "ext4",
    options=["commit=9999999999", "noatime", "data=journal"],
    left_out=["commit=9999999999"],
    kept="data=journal",
)
WRONG_FORM = Refused(
    "xfs",
    options=["logbsize=64k", "allocsize=3k", "noatime"],
    left_out=["allocsize=3k"],
    kept="logbsize=64k",
)
TWO_WRONG = Refused(
    "xfs",
    options=["allocsize=3k", "logbsize=17k"],
    left_out=["allocsize=3k", "logbsize=17k"],
    kept="noquota",
)


@pytest.mark.parametrize("kernel", ["this kernel", "a kernel before 5.2"])
@pytest.mark.parametrize(
    "row",
    [
        pytest.param(TOO_LARGE, id="a value that is too large"),
        pytest.param(WRONG_FORM, id="a value of the wrong form"),
        pytest.param(TWO_WRONG, id="two values of the wrong form"),
    ],
)
def test_an_option_that_the_kernel_refuses_does_not_keep_the_data_away(
    node: Node, tmp_path: Path, built: Path, row: Refused, kernel: str
) -> None:
    node.provision(size=SIZES[row.fs], fs=row.fs)
    (node.mount("web") / "file").write_text("data")
    node.unmount("web")
    write_options(node, row.options)
    lenient = edits.edited(built, tmp_path / "loop", LENIENT[row.fs])
    line = lenient if kernel == "this kernel" else OLD_CALLS + lenient

    done = node.enter(*line, "mount", node.pod_dir("web"), node.options())

    reply = json.loads(done.stdout)
    assert reply["status"] == "Success", reply
    assert (node.path(node.pod_dir("web")) / "file").read_text() == "data"
    assert node.record()["leftOut"] == row.left_out
    for option in row.left_out:
        assert option in reply["message"]
        assert option in node.command("status")
        assert option in node.enter(*node.executable, "doctor").stdout.decode()
    grep = ["grep", " /var/lib/kubelet/pods/", "/proc/self/mountinfo"]
    mount = node.enter(*grep).stdout.decode().split()
    assert row.kept in mount[-1].split(",")
    assert ("noatime" in row.options) == ("noatime" in mount[5].split(","))


def test_an_option_of_an_old_record_that_no_class_may_have_is_left_out_and_comes_back_right(
    node: Node,
) -> None:
    node.provision()
    write_options(node, ["commit=9999999999", "commit=7", "ro", "noatime,suid"])

    reply = node.ok("mount", node.pod_dir("web"), node.options())

    assert "'commit=9999999999'" in reply["message"]
    flags = node.mounts()[0][1].split(",")
    assert {"nosuid", "nodev"} <= set(flags)
    assert "ro" not in flags
    node.unmount("web")
    write_options(node, ["commit=7"])
    assert "message" not in node.ok("mount", node.pod_dir("web"), node.options())
    assert node.record()["leftOut"] == []
    assert "commit" not in node.command("status")


def test_a_file_system_that_is_wrong_is_still_refused_whatever_the_options(node: Node) -> None:
    node.provision(also={"kubernetes.io/mountOptions": "commit=7,nodelalloc"})
    with node.image().open("r+b") as image:
        image.seek(1024 + 0x60)  # an incompatible feature that no kernel has
        image.write(b"\xc2\x02\x00\x40")

    message = node.fails("Internal", "mount", node.pod_dir("web"), node.options())

    assert "cannot mount" in message
    assert node.mounts() == []
    node.until_devices(0)
