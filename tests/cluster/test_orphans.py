"""A volume with neither PV nor claim is said, and collected only if it is provably ours and was
never used; what comes from a PV that was edited deletes nothing else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.killed_provisioner import (
    DRIVER,
    PROVISIONER,
    KilledProvisioner,
    KillingProxy,
    beside,
)
from tests.cluster.kube import machine
from tests.cluster.kube.cluster import DATA, SERVER
from tests.cluster.namespaces import Kubernetes, Object, ours
from tests.cluster.nodes import POOL, volumes_on
from tests.cluster.own_provisioner import claim as chosen_claim
from tests.cluster.proxy import Rule
from tests.waiting import wait_until

EMPTY = SERVER.replace("6443", "6444")
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"


@pytest.fixture
def own(k8s: Kubernetes) -> Iterator[KilledProvisioner]:
    with beside(k8s) as own:
        yield own


def cluster_uid(k8s: Kubernetes, *flags: str) -> str:
    done = k8s.run(
        "get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}", *flags, check=False
    )
    return done.stdout


def bound(own: KilledProvisioner, name: str) -> str:
    """A claim with its PV, never mounted; returns the PV's name."""
    volume = "pvc-" + own.claim(name)
    own.until(
        "the claim is bound",
        lambda: own.k8s.find("pvc", name)["status"]["phase"] == "Bound",
    )
    return volume


def collected(own: KilledProvisioner, name: str, uid: str) -> None:
    """Shows that collecting goes on, by a volume with nothing against it, and that all others have
    been looked at."""
    own.provision(name, uid)

    def gone() -> bool:
        own.list_again()
        return not any(one == name or one.startswith(".deleted") for one in own.volumes())

    own.until(f"{name} is collected", gone, 30)


def said(own: KilledProvisioner, name: str) -> None:
    own.until(
        f"{name} is said",
        lambda: f"volume {name} of driver crash/loop has no PV" in own.log(),
    )


def unbind(own: KilledProvisioner, claim: str, volume: str) -> None:
    """Takes away the PV and its claim."""
    own.k8s.run("delete", "pv", volume, "--wait=false")
    own.k8s.delete("pvc", claim)
    own.k8s.until_gone("pv", volume)


def test_an_orphan_is_said_on_its_node_and_collected_only_if_it_was_never_mounted(
    own: KilledProvisioner,
) -> None:
    k8s = own.k8s
    uid = cluster_uid(own.k8s)
    own.provision("used", uid)
    request = {
        "kubernetes.io/pvOrVolumeName": "used",
        "kubernetes.io/pvc.namespace": "gone",
        "kubernetes.io/pvc.name": "data",
        "kubernetes.io/pvc.uid": "u",
        "pool": "default",
    }
    # Adopting clears blank, as a mount does.
    assert own.run("adopt", json.dumps(request))["status"] == "Success"
    own.provision("retained", uid, **{"kubernetes.io/reclaimPolicy": "Retain"})
    own.provision("unknown", "")
    own.provision("damaged", uid)
    (own.pool / "damaged/volume.json").write_text("{")
    own.start("--health-port=19808")

    collected(own, "blank", uid)

    assert own.volumes() == {"used", "retained", "unknown", "damaged"}
    events = Kubernetes(k8s.cluster, "default")
    for name, words in {
        "used": "may hold data",
        "retained": "said Retain",
        "damaged": "cannot be read",
    }.items():
        message = events.event(
            "node1", "VolumeOrphaned", f"volume {name} of driver crash/loop has no PV"
        )
        assert words in message
    assert "claim gone/data (uid u) is gone" in events.event(
        "node1", "VolumeOrphaned", "volume used"
    )
    events.event("node1", "OrphanDeleted", "blank")
    reading = (
        "import urllib.request; "
        'print(urllib.request.urlopen("http://127.0.0.1:19808/metrics").read().decode())'
    )

    def counts() -> set[str]:
        text = own.node.enter("python3", "-c", reading, capture_output=True).stdout
        return {
            line
            for line in text.splitlines()
            if line.startswith("flexvol_orphans{") and not line.endswith(" 0.0")
        }

    expected = {
        f'flexvol_orphans{{driver="crash/loop",reason="{reason}"}} {number}'
        for reason, number in {"used": "1.0", "retained": "1.0", "unknown": "2.0"}.items()
    }
    wait_until("the metric counts them", lambda: counts() == expected, 20)
    assert own.log().count("volume used of driver crash/loop") == 1


def test_after_the_loss_of_etcd_nothing_is_collected(own: KilledProvisioner) -> None:
    """An empty API server: every claim is gone, every PV too, though none of their volumes was ever
    mounted."""
    own.start()
    kept = {bound(own, "one"), bound(own, "two")}
    own.stop()
    with empty_control_plane(own.k8s) as uid, KillingProxy(EMPTY) as proxy:
        assert uid != cluster_uid(own.k8s)
        own.use(proxy)
        own.start()
        for name in kept:
            said(own, name)
        collected(own, "of-the-empty-one", uid)
        assert (
            f"was made for the cluster {cluster_uid(own.k8s)}, and this one is {uid}" in own.log()
        )
        own.stop()
    assert own.volumes() == kept

    own.use(own.first)
    own.start()
    own.k8s.delete("pvc", "one", "two")
    own.until(
        "they are deleted with their claims",
        lambda: not own.volumes() and not ours(own.k8s),
    )


@contextlib.contextmanager
def empty_control_plane(k8s: Kubernetes) -> Iterator[str]:
    """A second API server beside the first, with an etcd of its own; gives the uid of its
    kube-system."""
    cluster = k8s.cluster
    etcd = cluster.control_plane_line("etcd")
    client = "http://127.0.0.1:2479"
    peer = "http://127.0.0.1:2480"
    etcd[etcd.index("--data-dir") + 1] = DATA / "empty-etcd"
    etcd += [f"--{side}-client-urls={client}" for side in ("listen", "advertise")]
    etcd += [
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]
    changed = {
        "--etcd-servers=http://127.0.0.1:2379": f"--etcd-servers={client}",
        "--secure-port=6443": "--secure-port=6444",
    }
    server = [changed.get(str(word), word) for word in cluster.control_plane_line("kube-apiserver")]

    def uid() -> str:
        """An API server that started beside a busy etcd may have ended itself."""
        if machine.running(DATA, "empty-kube-apiserver") is None:
            machine.spawn(DATA, "empty-kube-apiserver", server)
        return cluster_uid(k8s, f"--server={EMPTY}")

    try:
        machine.spawn(DATA, "empty-etcd", etcd)
        yield wait_until("the empty API server has a kube-system", uid, 90)
    finally:
        machine.stop(DATA, "empty-kube-apiserver")
        machine.stop(DATA, "empty-etcd")


def refusing(words: str) -> Rule:
    return lambda method, path, number: 500 if words in path else None


def test_while_the_api_server_answers_errors_nothing_is_collected(own: KilledProvisioner) -> None:
    own.provision("blank", cluster_uid(own.k8s))
    for path in ("/persistentvolumeclaims/", "/persistentvolumes/", "/namespaces/kube-system"):
        own.proxy.rule = refusing(path)
        if not own.alive:
            own.start()

        def asked(path: str = path, enough: int = own.proxy.seen("GET", path) + 3) -> bool:
            own.list_again()
            return own.proxy.seen("GET", path) >= enough

        own.until(f"it has asked for {path} three times", asked)
        assert own.volumes() == {"blank"}

    own.proxy.rule = lambda method, path, number: None

    collected(own, "another", cluster_uid(own.k8s))
    own.until("that one is collected too", lambda: own.volumes() == set())


def test_a_pv_patched_to_retain_and_deleted_keeps_its_volume_though_it_was_never_mounted(
    own: KilledProvisioner,
) -> None:
    own.start()
    volume = bound(own, "data")
    assert own.record(volume)["blank"] and own.record(volume)["reclaimPolicy"] == "Delete"

    own.k8s.run(
        "patch", "pv", volume, "-p", '{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}'
    )
    unbind(own, "data", volume)

    said(own, volume)
    collected(own, "blank", cluster_uid(own.k8s))
    assert own.volumes() == {volume}
    assert own.record(volume)["owner"]["uid"] == volume[len("pvc-") :]


def test_a_pv_that_did_not_wait_for_our_finalizer_keeps_its_volume_too(
    own: KilledProvisioner,
) -> None:
    """Edited to Retain, without its finalizer, while the provisioner was not there; deleted when
    that is back."""
    own.start()
    volume = bound(own, "data")
    own.stop()
    edit = {
        "spec": {"persistentVolumeReclaimPolicy": "Retain"},
        "metadata": {"finalizers": None},
    }
    own.k8s.run("patch", "pv", volume, "--type=merge", "-p", json.dumps(edit))

    own.start()
    own.until("its record says so", lambda: not own.record(volume)["blank"])
    unbind(own, "data", volume)

    said(own, volume)
    collected(own, "blank", cluster_uid(own.k8s))
    assert own.volumes() == {volume}


def test_a_mounted_volume_is_kept_whatever_became_of_its_pv(own: KilledProvisioner) -> None:
    """Its PV is edited to Retain and deleted at once, while the provisioner is not there."""
    own.start()
    volume = bound(own, "data")
    source = own.k8s.find("pv", volume)["spec"]["flexVolume"]
    own.stop()
    options = {
        **source["options"],
        "kubernetes.io/pvOrVolumeName": volume,
        "kubernetes.io/fsType": source["fsType"],
        "kubernetes.io/readwrite": "rw",
        "kubernetes.io/pod.namespace": own.k8s.namespace,
        "kubernetes.io/pod.name": "p",
        "kubernetes.io/pod.uid": "u",
    }
    own.mount_and_unmount(json.dumps(options))
    edit = {
        "spec": {"persistentVolumeReclaimPolicy": "Retain"},
        "metadata": {"finalizers": None},
    }
    own.k8s.run("patch", "pv", volume, "--type=merge", "-p", json.dumps(edit))
    unbind(own, "data", volume)

    own.start()

    said(own, volume)
    collected(own, "blank", cluster_uid(own.k8s))
    assert own.volumes() == {volume}


def test_a_claim_that_is_only_in_a_stale_list_gets_no_volume(own: KilledProvisioner) -> None:
    own.claim()
    wait_until(
        "the claim is given to us",
        lambda: "storage-provisioner" in json.dumps(own.k8s.get("pvc", "data")),
    )
    stale = own.k8s.run("get", "--raw", "/api/v1/persistentvolumeclaims").stdout
    own.k8s.delete("pvc", "data")

    def rule(method: str, path: str, number: int) -> Any:
        if not path.startswith("/api/v1/persistentvolumeclaims?"):
            return None
        return 60.0 if "watch=" in path.lower() else stale.encode()

    own.proxy.rule = rule
    own.start()

    own.until("the driver made it", lambda: "provision" in own.called())
    own.until("it was taken back", lambda: "delete" in own.called() and not own.volumes())
    assert ours(own.k8s) == []


def test_a_claim_made_again_under_its_name_gets_a_new_volume_and_the_old_one_goes(
    k8s: Kubernetes,
) -> None:
    k8s.claim()
    k8s.pod("web", node="node1")
    first = k8s.volume_of()["metadata"]["name"]
    k8s.delete("pod", "web")
    k8s.delete("pvc", "data")
    k8s.claim()
    k8s.pod("web", node="node1")

    second = k8s.volume_of()["metadata"]["name"]

    assert second != first
    k8s.until_gone("pv", first)
    assert volumes_on(k8s.cluster, "node1") == {second}


def test_a_claim_made_again_under_its_name_while_the_driver_makes_the_first_ones_volume(
    own: KilledProvisioner,
) -> None:
    """Only the second ever has a PV: the first one's would be Released as soon as it is there."""
    own.hold()
    own.claim()
    own.start()
    own.until("the driver is at work", own.holds)
    own.k8s.delete("pvc", "data")
    name = "pvc-" + own.claim()
    own.release()

    own.until(
        "the claim is bound",
        lambda: own.k8s.find("pvc", "data")["status"]["phase"] == "Bound",
    )
    own.until(
        "the first one's volume is gone",
        lambda: "delete" in own.called() and own.volumes() == {name},
    )
    assert [volume["metadata"]["name"] for volume in ours(own.k8s)] == [name]
    # Each volume is made once, and the first one is looked for once more.
    assert own.called().count("provision") == 3
    assert own.proxy.seen("POST", "/api/v1/persistentvolumes") == 1
    own.k8s.delete("pvc", "data")
    own.until("all is gone", lambda: not own.volumes() and not ours(own.k8s))


def static_pv(own: KilledProvisioner, claim: str) -> Object:
    """A PV of nobody's, which an administrator means for that claim."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"by-hand-{own.k8s.namespace}"},
        "spec": {
            "capacity": {"storage": "32Mi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": own.storage_class,
            "claimRef": {"namespace": own.k8s.namespace, "name": claim},
            "hostPath": {"path": "/var/empty"},
        },
    }


def our_pv(own: KilledProvisioner, uid: str) -> Object:
    """The PV that our instance makes for the claim data with that uid."""
    pool = json.loads((own.pool / "pool.json").read_text())
    term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [own.node.name]}
    notes = {
        "pv.kubernetes.io/provisioned-by": PROVISIONER,
        "flexvol/identity": own.node.name,
    }
    made = static_pv(own, "data")
    made["metadata"] = {
        "name": f"pvc-{uid}",
        "annotations": notes,
        "finalizers": [FINALIZER],
    }
    del made["spec"]["hostPath"]
    made["spec"]["persistentVolumeReclaimPolicy"] = "Delete"
    made["spec"]["claimRef"]["uid"] = uid
    made["spec"]["nodeAffinity"] = {
        "required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}
    }
    options = {"pool": "default", "poolId": pool["id"]}
    made["spec"]["flexVolume"] = {"driver": DRIVER, "fsType": "ext4", "options": options}
    return made


def test_a_claim_that_is_bound_elsewhere_gets_no_pv_and_one_that_it_has_is_deleted(
    own: KilledProvisioner,
) -> None:
    own.hold()
    uid = own.claim()
    own.start()
    own.until("the driver is at work", own.holds)
    own.k8s.apply(static_pv(own, "data"))
    own.until(
        "the claim is bound elsewhere",
        lambda: own.k8s.find("pvc", "data")["status"]["phase"] == "Bound",
    )
    own.release()
    own.until(
        "the volume is undone",
        lambda: "delete" in own.called() and not own.volumes(),
    )
    assert own.proxy.seen("POST", "/api/v1/persistentvolumes") == 0

    # As if the claim had been bound a moment after the PV was written.
    key = "kubernetes.io/pvc."
    owner = {f"{key}namespace": own.k8s.namespace, f"{key}name": "data", f"{key}uid": uid}
    own.provision(f"pvc-{uid}", cluster_uid(own.k8s), **owner)
    own.k8s.apply(our_pv(own, uid))

    own.until(
        "PV and volume are gone",
        lambda: not own.volumes() and len(ours(own.k8s)) == 1,
    )
    assert own.k8s.find("pvc", "data")["status"]["phase"] == "Bound"
    own.k8s.delete("pvc", "data")
    own.k8s.run("delete", "pv", f"by-hand-{own.k8s.namespace}")


def test_a_copy_whose_claim_goes_while_it_is_made_goes_too_and_one_with_a_pv_is_kept(
    own: KilledProvisioner,
) -> None:
    own.start()
    source = bound(own, "data")
    own.run("snapshot", source, "before")
    both = {source, "before"}
    assert own.volumes() == both
    notes = {
        "volume.kubernetes.io/selected-node": own.node.name,
        "flexvol/from-snapshot": "before",
    }

    # Its claim goes while the driver works: the instance takes it back.
    own.hold()
    made = own.called().count("provision")
    copies = {"pvc-" + own.claim("clone", copy_of="data")}
    copies |= {"pvc-" + own.claim("restored", annotations=notes)}
    own.until(
        "the driver is at work",
        lambda: own.called().count("provision") == made + 2,
    )
    own.k8s.delete("pvc", "clone", "restored")
    own.release()
    own.until("both are taken back", lambda: own.called().count("delete") >= 2)
    own.until("nothing is left of them", lambda: own.volumes() == both)

    # Its claim goes while nobody is there: the next instance collects it.
    own.proxy.arm(
        "before",
        lambda number, words: words == "POST /api/v1/persistentvolumes",
    )
    name = "pvc-" + own.claim("clone", copy_of="data")
    wait_until("it is killed before it writes the PV", lambda: not own.alive)
    assert own.volumes() == {*both, name}
    own.k8s.delete("pvc", "clone")
    own.start()
    own.until("it is collected", lambda: own.volumes() == both)
    own.until("that is logged", lambda: f"deleted volume {name}" in own.log())

    # Once it has had its PV, its data is somebody's, though no pod has mounted it.
    kept = bound_copy(own, "clone", "data")
    own.list_again()
    own.until("its record says so", lambda: not own.record(kept).get("neverMounted"))
    own.stop()
    edit = {
        "spec": {"persistentVolumeReclaimPolicy": "Retain"},
        "metadata": {"finalizers": None},
    }
    own.k8s.run("patch", "pv", kept, "--type=merge", "-p", json.dumps(edit))
    unbind(own, "clone", kept)
    own.start()
    said(own, kept)
    collected(own, "blank", cluster_uid(own.k8s))
    assert own.volumes() == {*both, kept}
    own.k8s.delete("pvc", "data")
    own.until("the source goes with its claim", lambda: not ours(own.k8s))


def bound_copy(own: KilledProvisioner, name: str, copy_of: str) -> str:
    volume = "pvc-" + own.claim(name, copy_of=copy_of)
    own.until(
        "the copy is bound",
        lambda: own.k8s.find("pvc", name)["status"]["phase"] == "Bound",
    )
    return volume


def test_a_pv_deleted_before_it_is_bound_is_made_again_for_the_claim_that_waits(
    own: KilledProvisioner,
) -> None:
    uid = own.claim()
    wait_until(
        "the claim is given to us",
        lambda: "storage-provisioner" in json.dumps(own.k8s.get("pvc", "data")),
    )
    owner = {"namespace": own.k8s.namespace, "name": "data", "uid": uid}
    own.provision(
        f"pvc-{uid}",
        cluster_uid(own.k8s),
        **{f"kubernetes.io/pvc.{key}": value for key, value in owner.items()},
    )
    # One that kube-controller-manager cannot bind, as it is too small, and somebody deletes it.
    small = our_pv(own, uid)
    small["spec"]["capacity"]["storage"] = "1Mi"
    own.k8s.apply(small)
    first = own.k8s.uid("pv", f"pvc-{uid}")
    own.k8s.run("delete", "pv", f"pvc-{uid}", "--wait=false")

    own.start()

    own.until(
        "the claim is bound",
        lambda: own.k8s.find("pvc", "data")["status"]["phase"] == "Bound",
    )
    assert own.k8s.uid("pv", f"pvc-{uid}") != first
    own.k8s.delete("pvc", "data")
    own.until("all is gone", lambda: not own.volumes() and not ours(own.k8s))


HOSTILE: dict[str, Object] = {
    # What the PV says instead of what the provisioner wrote -> the driver's sentence.
    "another volume's name": {
        "options": {"volume": "VICTIM"},
        "said": "unknown option 'volume'",
    },
    "a path for a pool": {
        "options": {"pool": "../../etc"},
        "said": "'../../etc' is not a name",
    },
    "a pool that is not there": {
        "options": {"pool": "other"},
        "said": "pool other is not mounted",
    },
    "the id of another pool": {
        "options": {"poolId": "0123456789abcdef"},
        "said": "was replaced",
    },
    "no pool": {"options": {"pool": ""}, "said": "option pool is missing"},
    "another claim": {"said": "is owned by claim uid"},
    "another node's identity": {
        "identity": "node2",
        "said": "was replaced",
        "by": "node2",
    },
    "a claim that is awaited": {
        "awaits": "true",
        "said": "does not await this claim",
        "reason": "VolumeFailedAdopt",
    },
}
NOBODYS: dict[str, Object] = {
    # Nobody serves it, though all else is as the driver wants it.
    "nobody's identity": {"identity": "node9"},
    "another driver": {"driver": "evil/loop"},
    "another provisioner": {"provisioner": "loop.evil"},
}


def test_a_pv_made_again_by_hand_deletes_nothing(k8s: Kubernetes) -> None:
    """Its source cannot be edited, so whoever can write PVs deletes it and makes it again:
    released, with our annotations, and under the name of a volume that is in use, as the claim in
    it is a stranger's."""
    k8s.claim("victim")
    k8s.pod("web", claim="victim", node="node1")
    k8s.shell("web", "echo kept > /data/file && sync")
    victim = k8s.volume_of("victim")
    name = victim["metadata"]["name"]
    k8s.delete("pod", "web")
    k8s.run("delete", "pv", name, "--wait=false")
    k8s.run("patch", "pv", name, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    k8s.until_gone("pv", name)

    for what, row in HOSTILE.items():
        k8s.apply(forge(victim, row))
        instance, sentence = refused_by(
            k8s,
            name,
            row.get("reason", "VolumeFailedDelete"),
        )
        assert (instance, row["said"] in sentence) == (
            f"loop.flexvol {row.get('by', 'node1')}",
            True,
        ), what
        assert volumes_on(k8s.cluster, "node1") == {name}, what
        k8s.run("delete", "pv", name)
    refused = k8s.run(
        "create",
        "-f",
        "-",
        input=json.dumps(forge(victim, RESERVED)),
        check=False,
    )
    assert "reserved" in refused.stderr

    image = k8s.cluster.nodes["node1"].path(f"{POOL}/{name}/image").read_bytes()
    assert b"kept\n" in image
    k8s.delete("pvc", "victim")
    own = {"uid": victim["spec"]["claimRef"]["uid"]}
    k8s.apply(*(chosen_claim(f"honest-{number}", "flexvol-loop") for number in range(len(NOBODYS))))
    honest = [
        k8s.volume_of(f"honest-{number}")["metadata"]["name"] for number in range(len(NOBODYS))
    ]
    for number, (what, row) in enumerate(NOBODYS.items()):
        k8s.apply(forge(victim, {**row, **own}))
        k8s.until_phase("pv", name, "Released")
        k8s.delete("pvc", f"honest-{number}")
        k8s.until_gone("pv", honest[number])
        assert volumes_on(k8s.cluster, "node1") == {name, *honest[number + 1 :]}, what
        assert k8s.get("pv", name) is not None, what
        k8s.run("delete", "pv", name)

    k8s.apply(forge(victim, own))
    wait_until(
        "with its own claim it is deleted",
        lambda: not volumes_on(k8s.cluster, "node1"),
    )


def refused_by(k8s: Kubernetes, volume: str, reason: str) -> tuple[str, str]:
    """Who could not do what the PV as it is now wants, and why."""
    default = Kubernetes(k8s.cluster, "default")
    uid = k8s.uid("pv", volume)
    said = f"involvedObject.uid={uid},reason={reason}"
    event = wait_until("it is refused", lambda: default.all("events", fields=said))[0]
    return event["source"]["component"], event["message"]


RESERVED: Object = {"options": {"kubernetes.io/pvOrVolumeName": "VICTIM"}}


def forge(victim: Object, row: Object) -> Object:
    name = victim["metadata"]["name"]
    spec = victim["spec"]
    notes = dict(victim["metadata"]["annotations"])
    notes["flexvol/identity"] = row.get("identity", notes["flexvol/identity"])
    notes["pv.kubernetes.io/provisioned-by"] = row.get("provisioner", "loop.flexvol")
    notes |= {"flexvol/awaits-claim": row["awaits"]} if "awaits" in row else {}
    options = {key: value.replace("VICTIM", name) for key, value in row.get("options", {}).items()}
    source = {
        **spec["flexVolume"],
        "driver": row.get("driver", "flexvol/loop"),
        "options": {**spec["flexVolume"]["options"], **options},
    }
    stranger = {
        **spec["claimRef"],
        "uid": row.get("uid", "00000000-1111-4222-8333-444444444444"),
    }
    del stranger["resourceVersion"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": notes},
        "spec": {**spec, "claimRef": stranger, "flexVolume": source},
    }


def test_the_secret_made_for_an_orphan_goes_with_it(k8s: Kubernetes) -> None:
    with beside(
        k8s,
        parameters={"createSecret": "true", "secretNamespace": k8s.namespace},
    ) as own:
        own.start()
        own.proxy.arm(
            "before",
            lambda number, words: words == "POST /api/v1/persistentvolumes",
        )
        name = "pvc-" + own.claim("data")
        wait_until("it is killed before it writes the PV", lambda: not own.alive)
        assert own.volumes() == {name}
        (made,) = [one["metadata"]["name"] for one in k8s.all("secrets")]
        assert made.startswith(name)

        k8s.delete("pvc", "data")
        own.start()

        own.until(
            "both are gone",
            lambda: not own.volumes() and k8s.get("secret", made) is None,
        )
