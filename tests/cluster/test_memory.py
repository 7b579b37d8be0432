"""What a provisioner in a real pod takes of a node's memory and processor, and what its manifest
asks for."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.cluster.namespaces import Kubernetes, Object
from tests.cluster.own_provisioner import bound, claim
from tests.cluster.processes import one_process
from tests.waiting import wait_until

AT_REST_MIB = 55
AT_WORK_MIB = 70
# Of a processor, with all that the provisioner starts. Measured in four minutes: 6. In a shorter
# time a single list of the driver counts for more; a loop that does not wait takes 1000.
AT_REST_MILLICORES = 100
CLASS = "flexvol-loop"
CORE = "/api/v1"


def memory_mib(process: int, field: str) -> float:
    """A field of /proc/PID/status: VmRSS, or its peak VmHWM."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def provisioner(word: str) -> int:
    """The one process that was started with that argument."""
    return one_process("/usr/local/bin/provisioner", word)


def mib(quantity: str) -> int:
    return int(quantity.removesuffix("Mi"))


def container(pod: Object) -> Object:
    found: Object = pod["spec"]["containers"][0]
    return found


def restarted(flexvol: Kubernetes, node: str) -> Object:
    """The new pod in the place of the node's own, once it is ready."""
    fields = f"spec.nodeName={node}"
    before = flexvol.all("pods", "app=flexvol-node", fields)[0]["metadata"]["name"]
    flexvol.delete("pod", before)

    def renewed() -> Object | None:
        pods = flexvol.all("pods", "app=flexvol-node", fields)
        return next((pod for pod in pods if pod["metadata"]["name"] != before), None)

    pod: Object = wait_until("the DaemonSet has made another pod", renewed)
    flexvol.running(pod["metadata"]["name"])
    return pod


def in_the_container_of(process: int) -> list[int]:
    """The processes of its container: the provisioner, and the drivers that it runs."""
    namespace = os.readlink(f"/proc/{process}/ns/pid")
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{name}/ns/pid") == namespace:
                found.append(int(name))
        except OSError:  # it ended
            continue
    return found


def total_mib(process: int) -> float:
    """What all of the container have for themselves."""
    total = 0.0
    for one in in_the_container_of(process):
        try:
            total += memory_mib(one, "RssAnon")
        except (OSError, StopIteration):  # it ended
            continue
    return total


def test_a_provisioner_stays_within_what_its_manifest_says(k8s: Kubernetes, campaign: bool) -> None:
    """At rest, with claims of others, and at work."""
    flexvol = Kubernetes(k8s.cluster, "flexvol")
    foreign, own = (10_000, 200) if campaign else (300, 12)
    resources = container(restarted(flexvol, "node2"))["resources"]
    asked, limit = (mib(resources[key]["memory"]) for key in ("requests", "limits"))
    node = provisioner("--node=node2")
    cluster = provisioner("--cluster")

    assert memory_mib(node, "VmRSS") <= AT_REST_MIB <= asked
    assert memory_mib(cluster, "VmRSS") <= AT_REST_MIB

    space = f"{CORE}/namespaces/{k8s.namespace}/persistentvolumeclaims"
    k8s.cluster.api.all(
        "POST",
        [(space, claim(f"foreign-{number}", "another")) for number in range(foreign)],
    )
    names = [f"own-{number}" for number in range(own)]
    k8s.cluster.api.all("POST", [(space, claim(name, CLASS, "node2")) for name in names])
    totals = []

    def all_are_made() -> bool:
        totals.append(total_mib(node))
        volumes = k8s.all("pv")
        made = [one for one in volumes if one["spec"].get("claimRef", {}).get("name") in names]
        return len(made) >= own

    wait_until("the volumes are made", all_are_made, 120)
    assert bound(k8s, *names, seconds=120)
    assert memory_mib(node, "VmHWM") <= AT_WORK_MIB
    assert max(totals) <= limit / 2


def processor_seconds(process: int) -> float:
    """What the process and its children that ended have had of processors, see proc_pid_stat(5)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def test_a_provisioner_at_rest_takes_little_of_a_processor(k8s: Kubernetes, campaign: bool) -> None:
    seconds = 240 if campaign else 20
    assert k8s.all("pods") == []
    process = provisioner("--node=node2")
    before = processor_seconds(process)
    time.sleep(seconds)

    millicores = (processor_seconds(process) - before) / seconds * 1000

    print(f"at rest a provisioner takes {millicores:.1f}m of a processor")
    assert millicores <= AT_REST_MILLICORES
