"""node/host/network_mounts.py: what the kernel is asked for, and what a refusal means. The mounts
themselves are in tests/vm/test_network_drivers.py, as most machines have neither NFS nor CIFS."""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.host import config, mount_calls, mounts, network_mounts
from node.host.mount_calls import MountRefused, OptionRefused, Superblock
from node.host.network_mounts import MountOptions, Share
from shared.protocol import Busy, Failure, Internal, InvalidArgument, NotFound, Unavailable

NAS = Share("nfs", "192.0.2.1", "192.0.2.1:/data", ["hard"])


@pytest.mark.parametrize(
    ("text", "read_only", "flags", "options"),
    [
        pytest.param("", False, ["nodev", "nosuid"], [], id="nothing"),
        pytest.param("", True, ["nodev", "nosuid", "ro"], [], id="a pod that only reads"),
        pytest.param(
            "hard,ro,timeo=600", False, ["nodev", "nosuid", "ro"], ["hard", "timeo=600"], id="both"
        ),
        pytest.param("suid,dev,rw", False, ["nodev", "nosuid"], [], id="no flag is taken back"),
        pytest.param(
            "noatime, noexec", False, ["noatime", "nodev", "noexec", "nosuid"], [], id="with blanks"
        ),
        pytest.param("username=web", False, ["nodev", "nosuid"], ["username=web"], id="a user"),
        pytest.param(
            "auto,noauto,nofail,_netdev,user,users,nostrictatime,silent,loud,iversion,noiversion,"
            "comment=x-gvfs-show,comment,x-systemd.automount",
            False,
            ["nodev", "nosuid"],
            [],
            id="words for mount alone",
        ),
    ],
)
def test_mount_options_are_flags_of_the_mount_or_options_of_the_file_system(
    text: str,
    read_only: bool,
    flags: list[str],
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(config, "CONFIG", str(tmp_path / "config.json"))

    words = MountOptions(text, read_only)

    assert (words.flags, words.of_file_system) == (flags, options)


def test_the_nodes_own_flags_hold_for_every_mount(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"mountFlags": ["noexec"]}')
    monkeypatch.setattr(config, "CONFIG", str(file))

    assert MountOptions("exec").flags == ["noexec"]


def attempts(share: Share, answers: list[int]) -> list[tuple[str, ...]]:
    """The options of each attempt to mount; `answers` has the error of each, 0 for none."""
    tried: list[tuple[str, ...]] = []

    def mount_one(superblock: Superblock) -> None:
        code = answers[len(tried)]
        tried.append(tuple(superblock.options))
        if code:
            raise MountRefused(os.strerror(code), code)

    network_mounts._mount_by(share, mount_one)
    return tried


def test_the_kernel_gets_the_servers_address() -> None:
    assert attempts(NAS, [0]) == [("addr=192.0.2.1", "hard")]
    cifs = Share("cifs", "192.0.2.1", "//192.0.2.1/data", ["username=web"])
    assert attempts(cifs, [0]) == [("ip=192.0.2.1", "username=web")]


def test_an_address_among_the_options_is_the_servers() -> None:
    share = Share("cifs", "no-such-host.invalid", "//no-such-host.invalid/data", ["ip=192.0.2.7"])

    assert attempts(share, [0]) == [("ip=192.0.2.7",)]


def test_a_server_without_an_address_is_told() -> None:
    share = Share("nfs", "no-such-host.invalid", "no-such-host.invalid:/data", [])

    with pytest.raises(Unavailable, match=r"has no address on this node .*; see the node's DNS"):
        attempts(share, [0])


@pytest.mark.parametrize("host", ["a..b", ".nas", "a" * 64, "a" * 64 + ".example", "\udcff"])
def test_a_name_that_no_server_can_have_is_told(host: str) -> None:
    with pytest.raises(InvalidArgument, match="has no name that DNS can have"):
        attempts(Share("nfs", host, f"{host}:/data", []), [0])


def test_the_first_version_that_both_speak_is_taken() -> None:
    share = Share("nfs", "192.0.2.1", "192.0.2.1:/data", [], ["vers=4.2", "vers=4.1", "vers=4.0"])

    tried = attempts(share, [errno.EPROTONOSUPPORT, errno.EINVAL, 0])

    assert [options[-1] for options in tried] == ["vers=4.2", "vers=4.1", "vers=4.0"]


def test_each_address_of_a_server_that_is_off_is_tried_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses = [["addr=192.0.2.1"], ["addr=192.0.2.2"]]
    monkeypatch.setattr(network_mounts, "_addresses", lambda share: addresses)
    share = Share("nfs", "nas", "nas:/data", [], ["vers=4.2", "vers=4.1"])

    assert attempts(share, [errno.EHOSTUNREACH, 0]) == [
        ("addr=192.0.2.1", "vers=4.2"),
        ("addr=192.0.2.2", "vers=4.2"),
    ]


def listen(backlog: int = 8) -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(backlog)
    return listener


def found_at(*listeners: socket.socket) -> list[Any]:
    """What getaddrinfo returns for a server with these addresses."""
    return [
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", listener.getsockname())
        for listener in listeners
    ]


def test_an_address_that_takes_a_connection_is_tried_before_those_that_do_not() -> None:
    """The first address swallows packets: its queue is full. At the second nobody listens."""
    with (
        listen(0) as silent,
        listen() as closed,
        listen() as open_one,
        contextlib.ExitStack() as held,
    ):
        for _ in range(3):
            filling = held.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(silent.getsockname())
        found = found_at(silent, closed, open_one)
        closed.close()
        began = time.monotonic()

        (first, *others) = network_mounts._answering_first(found)

        assert first == found[2]
        assert sorted(others) == sorted(found[:2])
        assert network_mounts._answering_first(found[:2]) == [found[1], found[0]]
        assert time.monotonic() - began < 60


def test_a_server_with_one_address_is_not_asked_before_the_mount() -> None:
    with listen() as listener:
        listener.settimeout(0)
        found = found_at(listener)

        assert network_mounts._answering_first(found) == found
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_addresses_of_a_kernel_without_ipv6_are_left_for_the_last() -> None:
    with listen() as listener:
        (good,) = found_at(listener)
        unknown = (99, socket.SOCK_STREAM, 0, "", ("::1", 2049, 0, 0))

        assert network_mounts._answering_first([unknown, good]) == [good, unknown]


@pytest.mark.parametrize(
    ("fs_type", "options", "port"),
    [
        pytest.param("nfs", [], "2049", id="NFS"),
        pytest.param("cifs", [], "445", id="CIFS"),
        pytest.param("nfs", ["hard", "port=2050"], "2050", id="another port"),
        pytest.param("nfs", ["port="], "2049", id="no number"),
    ],
)
def test_the_port_of_the_mount_is_asked(
    monkeypatch: pytest.MonkeyPatch, fs_type: str, options: list[str], port: str
) -> None:
    asked: list[str] = []

    def find(host: str, service: str, *_: Any) -> list[Any]:
        asked.append(service)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, int(service)))]

    monkeypatch.setattr(_socket, "getaddrinfo", find)

    attempts(Share(fs_type, "192.0.2.1", "192.0.2.1:/data", options), [0])

    assert asked == [port]


def test_a_wrong_password_is_sent_once() -> None:
    share = Share("cifs", "192.0.2.1", "//192.0.2.1/data", [], ["vers=3.1.1", "vers=3.0"])

    with pytest.raises(InvalidArgument, match="refuses this node or its user"):
        attempts(share, [errno.EACCES])


@pytest.mark.parametrize(
    ("refusal", "kind", "words"),
    [
        pytest.param(MountRefused("x", errno.ENOENT), NotFound, "is not there", id="no share"),
        pytest.param(
            MountRefused("x", errno.ECONNREFUSED), Unavailable, "cannot be reached", id="no server"
        ),
        pytest.param(
            MountRefused("x", errno.ENODEV), Unavailable, "modprobe nfsv4", id="no module"
        ),
        pytest.param(
            OptionRefused("x", "pass=hidden"),
            InvalidArgument,
            "with these mount options",
            id="an option",
        ),
        pytest.param(
            MountRefused("x", errno.EPERM),
            InvalidArgument,
            "or a container without CAP_SYS_ADMIN",
            id="nobody may mount",
        ),
        pytest.param(MountRefused("x", errno.ENOSPC), Internal, "see dmesg", id="anything else"),
    ],
)
def test_what_a_refusal_means(refusal: MountRefused, kind: type[Failure], words: str) -> None:
    def refuse(_: Superblock) -> None:
        raise refusal

    with pytest.raises(kind, match=words) as raised:
        network_mounts._mount_by(NAS, refuse)
    assert "hidden" not in str(raised.value)


def test_mount_2_and_a_kernel_without_the_file_system_say_it_otherwise() -> None:
    def missing(_: Superblock) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file")

    def unknown(_: Superblock) -> None:
        raise OSError(errno.ENODEV, "No such device")

    with pytest.raises(NotFound, match="is not there"):
        network_mounts._mount_by(NAS, missing)
    with pytest.raises(Unavailable, match="has no nfs"):
        network_mounts._mount_by(NAS, unknown)


def test_what_a_node_does_not_show_is_no_refusal_of_the_server() -> None:
    """Nor is another address or version tried."""
    share = Share("nfs", "192.0.2.1", "192.0.2.1:/data", [], ["vers=4.2", "vers=4.1"])
    calls: list[Superblock] = []

    def not_shown(superblock: Superblock) -> None:
        calls.append(superblock)
        raise mounts.NotShown("the pod's directory is gone; see kubelet")

    with pytest.raises(Internal, match=r"^the pod's directory is gone"):
        network_mounts._mount_by(share, not_shown)
    assert len(calls) == 1


@pytest.mark.parametrize("source", ["nas:/data/..", "nas:/../data", "//nas/data/../other"])
def test_no_share_leads_upwards(source: str) -> None:
    with pytest.raises(InvalidArgument, match=r"without '\.\.'"):
        Share("nfs", "nas", source, [])


def test_work_in_time_returns_what_it_returns() -> None:
    assert network_mounts.bounded("here", lambda: {"a": [1, "b"]}, 20) == {"a": [1, "b"]}


def failing(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_the_failure_of_work_is_raised_again() -> None:
    with pytest.raises(Busy, match="in use; wait"):
        network_mounts.bounded("here", failing(Busy("in use; wait")), 20)
    with pytest.raises(Unavailable, match="nas:/data: its disk's server has forgotten"):
        network_mounts.bounded("nas:/data", failing(OSError(errno.ESTALE, "Stale")), 20)


def test_the_text_of_an_unexpected_error_may_hold_a_password() -> None:
    with pytest.raises(Internal, match=r"^bug in the driver: ValueError$"):
        network_mounts.bounded("here", failing(ValueError("pass=hidden")), 20)


def test_a_child_that_somebody_kills_is_not_the_servers_fault() -> None:
    with pytest.raises(Internal, match=r"was ended before .* if this node .* is out of memory"):
        network_mounts.bounded("nas:/data", lambda: os.kill(os.getpid(), signal.SIGKILL), 60)


def test_work_that_hangs_is_given_up() -> None:
    began = time.monotonic()

    with pytest.raises(Unavailable, match=r"nas:/data does not answer within 0\.5 s; see that"):
        network_mounts.bounded("nas:/data", lambda: time.sleep(600), 0.5)

    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("source", "options"),
    [
        pytest.param("//nas/data", ["password=" + "x" * 256], id="a long value"),
        pytest.param("//nas/data", ["password=" + "ß" * 128], id="a value of many bytes"),
        pytest.param("//nas/" + "x" * 250, [], id="a long source"),
    ],
)
def test_what_is_too_long_for_fsconfig_goes_another_way(source: str, options: list[str]) -> None:
    with pytest.raises(mount_calls.Missing, match="a long value"):
        mount_calls.new_tree(Superblock(source, "cifs", options), ())
