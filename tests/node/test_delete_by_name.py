"""A person deletes volumes, archives and snapshots on their node by name: after seeing what is
lost, and with the care that the provisioner's own deletions have."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Callable

import pytest

from tests.node.nodes import MIB, Node

YES = "--yes"
QUESTION = b'Type "yes":'
AWAITED = {"kubernetes.io/pvc.uid": "awaited"}


def delete(node: Node, *words: str, answer: bytes | None = None) -> tuple[int, str]:
    """The exit status, and what was printed. answer: what is given to its stdin, if any is."""
    line = [*node.executable, "delete", *words]
    stdin = {"stdin": subprocess.DEVNULL} if answer is None else {"input": answer}
    done = node.enter(*line, **stdin)
    return done.returncode, (done.stdout + done.stderr).decode()


def until_asked(asking: subprocess.Popen[bytes]) -> bytes:
    """What the command prints until its question stands."""
    assert asking.stdout
    told = b""
    while QUESTION not in told:
        piece = os.read(asking.stdout.fileno(), 4096)
        assert piece, told
        told += piece
    return told


def names(node: Node) -> list[str]:
    return sorted(entry["name"] for entry in node.ok("list")["volumes"])


def archived(node: Node) -> str:
    """A volume that its class archives, used once and deleted; the archive's name."""
    node.provision(onDelete="archive")
    node.mount("web")
    node.unmount("web")
    return str(node.ok("delete", node.deletion())["message"].rpartition(" ")[2])


def change(node: Node, volume: str, **fields: object) -> None:
    path = node.image(volume).with_name("volume.json")
    path.write_text(json.dumps({**node.record(volume), **fields}))


@pytest.mark.short
def test_volumes_archives_and_snapshots_go_by_their_names(node: Node) -> None:
    archive = archived(node)
    node.provision("pvc-2")
    node.command("snapshot", "pvc-2", "before")

    status, told = delete(node, archive, "pvc-2", "before", YES)

    assert status == 0, told
    assert "archive of pvc-1 of the claim shop/data" in told
    assert "snapshot of pvc-2" in told
    assert "volume of the claim shop/data" in told and "never mounted" in told
    assert "pvc-2: deleted" in told
    assert names(node) == []
    assert node.snapshot().keys() == {"default/pool.json"}


def test_what_is_lost_is_shown_and_a_no_or_no_answer_deletes_nothing(node: Node) -> None:
    node.provision()
    before = node.snapshot()

    for answer in (b"no\n", b"", b"pvc-1\n"):
        status, told = delete(node, "pvc-1", answer=answer)
        assert status == 1
        assert "pvc-1  default  64 MiB" in told and "Delete that for good?" in told
        assert "does not know whether the claim shop/data still exists" in told
        assert told.endswith("nothing was deleted\n")
    assert node.snapshot() == before

    assert delete(node, "pvc-1", answer=b"yes\n")[0] == 0
    assert names(node) == []


FOR_ANY = {**AWAITED, "kubernetes.io/pvc.namespace": "*", "kubernetes.io/pvc.name": "*"}


def test_a_volume_for_whichever_claim_comes_is_called_that(node: Node) -> None:
    """As `kubectl flexvol static` makes volumes."""
    node.provision("films", also=FOR_ANY)

    shown = node.command("status")
    status, told = delete(node, "films", answer=b"no\n")

    assert " any claim " in shown
    assert status == 1
    assert "volume for any claim that its PV is bound to" in told
    assert "This node does not know whether the PV films still exists" in told
    assert "*" not in shown + told


def test_without_anybody_to_ask_nothing_is_deleted_and_the_exit_status_says_so(node: Node) -> None:
    node.provision()

    status, told = delete(node, "pvc-1")

    assert status == 1 and told.endswith("nothing was deleted\n")
    assert names(node) == ["pvc-1"]


def test_a_broken_callout_is_answered_as_a_callout(node: Node) -> None:
    node.provision()

    for words in (["null"], ["1"], ["-1"], [""], ["{"], ["pvc-2"], ["[]", "x"]):
        node.fails("InvalidArgument", "delete", *words)
    assert "takes 1 arguments" in node.fails("InvalidArgument", "delete")
    assert names(node) == ["pvc-1"]


def test_at_a_terminal_a_name_that_is_not_there_is_no_callout(node: Node) -> None:
    _, theirs = pty.openpty()
    done = node.enter(*node.executable, "delete", "pvc-9", stdin=theirs)

    assert done.returncode == 1 and done.stdout == b""
    assert b"no volume, archive or snapshot 'pvc-9' is in the pools of this node" in done.stderr


def test_what_a_pod_has_mounted_is_refused_before_anything_is_deleted(node: Node) -> None:
    node.provision("pvc-1")
    node.provision("pvc-2")
    pod = node.mount("web")
    (pod / "kept").write_text("kept")

    status, told = delete(node, "pvc-2", "pvc-1", YES)

    assert status == 1
    assert "volume pvc-1 is in use, mounted at /var/lib/kubelet/pods/web/" in told
    assert (pod / "kept").read_text() == "kept"
    assert names(node) == ["pvc-1", "pvc-2"]


def test_what_is_mounted_where_this_node_does_not_see_it_is_left_by_the_lock(
    make_node: Callable[..., Node], node: Node
) -> None:
    node.provision()
    node.mount("web")
    container = make_node("container", pool=node.directory / "var/lib/flexvol")
    assert container.enter("mount", "-t", "tmpfs", "none", "/dev").returncode == 0
    assert container.enter("mknod", "/dev/null", "c", "1", "3").returncode == 0

    status, told = delete(container, "pvc-1", YES)

    assert status == 1 and "pvc-1 is left: volume pvc-1 is in use" in told
    assert names(node) == ["pvc-1"]


def test_a_volume_that_got_another_owner_while_the_question_stood_is_left(node: Node) -> None:
    for volume, uid in (("pvc-1", "u1"), ("pvc-2", "awaited")):
        node.provision(volume, also={"kubernetes.io/pvc.uid": uid})
        line = [*node.executable, "delete", volume]
        asking = node.start(*line, stdin=subprocess.PIPE)
        until_asked(asking)
        node.ok("adopt", node.deletion(volume, uid="u2"))

        rest, _ = asking.communicate(b"yes\n", timeout=30)

        assert asking.returncode == 1, rest
        assert volume.encode() + b" is left:" in rest
        assert node.record(volume)["owner"]["uid"] == "u2"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"owner": None}, "volume of no claim"),
        (
            {"owner": {"namespace": "shop", "name": "data", "uid": "awaited"}},
            "volume that awaits the claim shop/data",
        ),
        (
            {"owner": {"namespace": "*", "name": "*", "uid": "awaited"}},
            "volume for any claim that its PV is bound to",
        ),
        ({"clusterUid": "another"}, "volume of the claim shop/data"),
    ],
    ids=[
        "a volume without an owner goes",
        "a volume that awaits its claim goes",
        "a static volume that no claim took goes",
        "a volume of another cluster goes",
    ],
)
def test_whose_a_volume_is_does_not_keep_a_person_from_it(
    node: Node, fields: dict[str, object], words: str
) -> None:
    node.provision()
    change(node, "pvc-1", **fields)

    status, told = delete(node, "pvc-1", YES)

    assert (status, names(node)) == (0, []), told
    assert words in told


def test_a_volume_on_its_way_to_another_node_is_refused(node: Node) -> None:
    node.provision()
    change(node, "pvc-1", move={"id": "m1", "to": "node2"})

    status, told = delete(node, "pvc-1", YES)

    assert status == 1
    assert "being moved to node 'node2'" in told and "kubectl flexvol move pvc-1" in told
    assert names(node) == ["pvc-1"]


def test_a_volume_without_its_image_goes_and_one_without_its_record_is_left(node: Node) -> None:
    node.provision("pvc-1")
    node.provision("pvc-2")
    node.image("pvc-1").unlink()
    node.image("pvc-2").with_name("volume.json").unlink()

    status, told = delete(node, "pvc-1", YES)
    assert status == 0 and "its image is missing" in told

    status, told = delete(node, "pvc-2", YES)
    assert status == 1
    assert "pvc-2 is left alone, as its record does not tell what it is" in told
    assert node.image("pvc-2").exists()


def test_of_two_pools_with_that_name_in_them_one_is_named(node: Node) -> None:
    node.command("pool", "init", "fast", "--reserve", "0")
    node.provision()
    node.provision(pool="fast")

    status, told = delete(node, "pvc-1", YES)
    assert status == 1 and "is in the pools default, fast; name one of them with --pool" in told

    assert delete(node, "pvc-1", "--pool", "fast", YES)[0] == 0
    assert node.image().exists()
    assert not node.image(pool="fast").exists()


def test_a_pool_that_is_away_is_named_where_a_volume_is_not_found(node: Node) -> None:
    node.provision()
    assert node.enter("mount", "-t", "tmpfs", "none", "/var/lib/flexvol/default").returncode == 0

    status, told = delete(node, "pvc-1", YES)

    assert status == 1
    assert "no volume, archive or snapshot 'pvc-1'" in told and "not mounted" in told


def test_a_volume_that_its_class_archives_becomes_an_archive_first(node: Node) -> None:
    node.provision(onDelete="archive")
    node.mount("web")
    node.unmount("web")
    node.until_free()

    status, told = delete(node, "pvc-1", YES)
    assert status == 0 and "pvc-1: it is archived as archived-" in told

    (archive,) = names(node)
    assert delete(node, archive, YES)[0] == 0
    assert names(node) == []


def test_snapshots_are_listed_in_the_order_in_which_keep_deletes_them(node: Node) -> None:
    node.provision("pvc-1")
    node.provision("pvc-2", size=48 * MIB)
    for volume, name in (("pvc-1", "z-first"), ("pvc-1", "a-second"), ("pvc-2", "other")):
        node.command("snapshot", volume, name)

    heading, *rows = node.command("snapshot", "--list").splitlines()
    assert heading.split()[:3] == ["SNAPSHOT", "OF", "CLAIM"]
    assert [row.split()[:3] for row in rows] == [
        ["z-first", "pvc-1", "shop/data"],
        ["a-second", "pvc-1", "shop/data"],
        ["other", "pvc-2", "shop/data"],
    ]
    assert all(row.endswith("unmounted") for row in rows)
    assert "z-first" not in node.command("snapshot", "--list", "pvc-2")
    assert "no snapshots of pvc-3" in node.command("snapshot", "--list", "pvc-3")


def test_a_person_at_a_terminal_is_asked_before_a_snapshot_goes(node: Node) -> None:
    node.provision()
    node.command("snapshot", "pvc-1", "kept")
    ours, theirs = pty.openpty()
    asking = node.start(*node.executable, "snapshot", "--delete", "kept", stdin=theirs)
    told = until_asked(asking)
    os.write(ours, b"no\n")
    asking.communicate(timeout=30)
    assert asking.returncode == 1
    assert told.splitlines()[1].split()[:2] == [b"kept", b"pvc-1"]
    assert "kept" in names(node)

    node.command("snapshot", "--delete", "kept", YES)
    assert names(node) == ["pvc-1"]


def test_at_a_terminal_nobody_is_asked_about_a_snapshot_that_is_not_there(node: Node) -> None:
    node.provision()
    node.command("snapshot", "pvc-1", "kept")
    _, theirs = pty.openpty()
    for name in ("kpet", "pvc-1"):
        done = node.enter(*node.executable, "snapshot", "--delete", name, stdin=theirs)
        assert (done.returncode, done.stdout) == (1, b"")
        assert f"no snapshot '{name}' is listed here".encode() in done.stderr
    assert names(node) == ["kept", "pvc-1"]
