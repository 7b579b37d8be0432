"""What a StorageClass and a claim's access mode say of a volume holds in the pod."""

from __future__ import annotations

from tests.cluster.namespaces import Kubernetes, storage_class


def test_owner_mode_and_mount_options_of_the_class_hold_in_the_pod(k8s: Kubernetes) -> None:
    name = f"class-{k8s.namespace}"
    parameters = {"uid": "1000", "gid": "2000", "mode": "0750", "mkfsOptions": "-m 1"}
    k8s.apply(
        {
            **storage_class(name, parameters=parameters),
            "mountOptions": ["noexec", "noatime", "commit=30"],
        }
    )
    k8s.claim(storage_class=name)
    k8s.pod("web", securityContext={"runAsUser": 1000, "runAsGroup": 2000})

    assert (
        k8s.shell("web", "stat -c %u:%g:%a /data && id -u && touch /data/mine").stdout
        == "1000:2000:750\n1000\n"
    )
    mount = k8s.shell("web", "grep ' /data ' /proc/mounts").stdout.split()[3].split(",")
    assert {"rw", "nosuid", "nodev", "noexec", "noatime", "commit=30"} <= set(mount)

    k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)


def test_a_mount_option_that_a_class_may_not_have_is_explained_on_the_claim(
    k8s: Kubernetes,
) -> None:
    name = f"class-{k8s.namespace}"
    k8s.apply({**storage_class(name, parameters={}), "mountOptions": ["suid"]})
    k8s.claim(storage_class=name)
    k8s.pod("web", wait=False)

    k8s.event(
        "data",
        "ProvisioningFailed",
        "mount option 'suid' is not one that a class may have for ext4",
    )

    k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)


def test_a_second_pod_of_a_volume_for_one_waits_and_is_told_in_kubelets_words(
    k8s: Kubernetes,
) -> None:
    k8s.claim(accessModes=["ReadWriteOncePod"])
    k8s.pod("first")
    node = k8s.node_of("first")
    # The scheduler keeps to the access mode too; this pod passes it by.
    k8s.pod("second", nodeName=node, wait=False)

    k8s.event(
        "second",
        "FailedMount",
        "volume uses the ReadWriteOncePod access mode and is already in use by another pod",
    )

    k8s.delete("pod", "first")
    k8s.running("second")
