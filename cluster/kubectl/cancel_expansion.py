"""Gives up an expansion that does not fit: PV and claim say again what the volume really has.

For a claim whose request was raised beyond what its volume's pool can hold. The data, the claim and
its pods are left as they are; afterwards the claim may be raised to a size that fits. Refused while
the growth can still succeed. What was killed goes on when the same command is run again.
Needs Kubernetes 1.32, and the right to patch persistentvolumeclaims, persistentvolumeclaims/status
and persistentvolumes."""

# Why it takes four steps. When a claim is raised, kube-controller-manager raises the PV at once and
# asks nobody (pkg/controller/volume/expand); kubelet then calls the driver, which has no room.
# Lowering the claim's request undoes nothing: kube-controller-manager looks at a claim again only
# if its request or its capacity grows, and the API server refuses a request of exactly the
# capacity that the claim has (ValidatePersistentVolumeClaimUpdate). So:
#
# 1. HOLD: the claim's status says NodeResizeInfeasible, on which kubelet begins no expandfs
#    (NodeExpander.runPreCheck), and allocatedResources has the true size, so that whoever lifts
#    that state (kube-controller-manager does when it starts) expands to what is there already. The
#    status' capacity is one byte below the true size while the request has to be lowered to it.
# 2. LOWER_REQUEST: the claim's request is the true size.
# 3. SET_VOLUME: the PV's capacity is the true size, and the annotation by which
#    kube-controller-manager remembers an expansion is gone.
# 4. FINISH: the status' capacity is the true size, and the resize state and conditions are gone.
#    allocatedResources stays, as after each expansion: kubelet, which may still hold the old PV,
#    reads from it that there is nothing to do. Without it kubelet would call expandfs ungated
#    (legacyCallNodeExpandOnPlugin).
#
# The true size is read from the node before each step: a call of expandfs begun before HOLD
# may have found room meanwhile, and then the true size is what was asked. Each patch fails if
# somebody else has changed the object since it was read.

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from cluster.controller import cluster, decide, lost
from cluster.controller.quantities import quantity, size_bytes
from cluster.kubectl import claims, nodes
from shared import protocol
from shared.table import human_bytes, printable

Object = dict[str, Any]
HOLD, LOWER_REQUEST, SET_VOLUME, FINISH = "hold", "lower request", "set volume", "finish"
INFEASIBLE = "NodeResizeInfeasible"
FAILED = "NodeResizeError"
_RESIZE_CONDITIONS = ("FileSystemResizePending", "Resizing", "ControllerResizeError", FAILED)
# pkg/volume/util/resize_util.go, AnnPreResizeCapacity
_BEFORE_RESIZE = "volume.alpha.kubernetes.io/pre-resize-capacity"
_MIB = 1 << 20
_FIRST_MINOR = 32  # RecoverVolumeExpansionFailure is on by default from Kubernetes 1.32
_SECONDS = 60.0  # for all steps; each takes well below a second
_AGAIN_SECONDS = 1.0
# A failing expandfs that had begun before HOLD writes its failure on the claim whatever the claim
# says meanwhile (MarkNodeExpansionInfeasible patches without a precondition).
_SETTLE_SECONDS = 3.0


class Sizes(NamedTuple):
    """What claim and PV say of the volume's size, in bytes.

    :param request: the claim's spec.
    :param capacity: the claim's status.
    :param allocated: the claim's status.allocatedResources; None if it has none.
    :param resize: the claim's status.allocatedResourceStatuses; empty if it has none.
    :param volume: the PV's capacity.
    :param has_conditions: whether conditions of the claim tell of an expansion.
    :param has_failed: whether one of them says that kubelet's call of the driver failed.
    :param is_noted: whether kube-controller-manager has noted an expansion on the PV.
    """

    request: int
    capacity: int
    allocated: int | None
    resize: str
    volume: int
    has_conditions: bool = False
    has_failed: bool = False
    is_noted: bool = False

    @property
    def asked(self) -> int:
        """The size to which the volume is to grow."""
        return max(self.request, self.volume)


class Truth(NamedTuple):
    """What the node says: the volume's size, its pool, and how much the pool can still promise;
    None if that is not known."""

    size: int
    pool: str
    room: int | None


def sizes(claim: Object, volume: Object) -> Sizes:
    status = claim.get("status") or {}
    allocated = (status.get("allocatedResources") or {}).get("storage")
    conditions = _resize_conditions(claim)
    return Sizes(
        request=size_bytes(claim["spec"]["resources"]["requests"]["storage"]),
        capacity=size_bytes((status.get("capacity") or {}).get("storage", "0")),
        allocated=None if allocated is None else size_bytes(allocated),
        resize=(status.get("allocatedResourceStatuses") or {}).get("storage", ""),
        volume=size_bytes(volume["spec"]["capacity"]["storage"]),
        has_conditions=bool(conditions),
        has_failed=any(one["type"] == FAILED and one["status"] == "True" for one in conditions),
        is_noted=_BEFORE_RESIZE in decide.annotations_of(volume),
    )


def _resize_conditions(claim: Object) -> list[Object]:
    conditions = (claim.get("status") or {}).get("conditions") or []
    return [one for one in conditions if one["type"] in _RESIZE_CONDITIONS]


def is_held(now: Sizes, size: int) -> bool:
    """Whether step 1 is done, by this run or one that was killed."""
    return now.resize == INFEASIBLE and now.allocated == size


def next_step(now: Sizes, size: int, records: bool = False) -> str:
    """The step that is due for a volume of really `size` bytes; empty if nothing is to be
    undone. records: whether we record a growth in kubelet's place."""
    if is_held(now, size):
        if now.request > size:
            return LOWER_REQUEST if now.capacity < size else HOLD
        return SET_VOLUME if now.volume != size or now.is_noted else FINISH
    if now.asked > size or now.resize == INFEASIBLE:
        return HOLD
    if now.capacity < now.asked:
        # The volume has grown as asked. kubelet records that, unless what it is to grow to
        # (allocatedResources) is less than what was asked, or the claim has no resize state: such
        # a claim is never looked at (NodeExpander.runPreCheck). Nor does kubelet call the driver
        # for what it takes for the volume's size already (actualStateOfWorld.volumeNeedsExpansion),
        # so the one byte that HOLD takes away is put back here.
        is_cut = now.allocated is not None and (now.allocated < now.asked or not now.resize)
        return HOLD if is_cut or now.capacity == now.asked - 1 or records else ""
    # Nothing is asked for beyond what the claim has. kube-controller-manager, when it starts amid
    # our steps, may leave a state that waits for a call which kubelet has no reason to make, and
    # then goes on with the old allocatedResources when the claim is raised again.
    has_traces = now.resize or now.has_conditions or now.is_noted
    return HOLD if has_traces else ""


def refusal(now: Sizes, truth: Truth) -> str:
    """Why the expansion is not to be given up; empty if it can be."""
    if now.resize == INFEASIBLE:
        return ""  # kubelet has stopped trying: nothing but this command goes on from here
    if now.asked <= truth.size:
        if now.capacity < now.asked and not next_step(now, truth.size):
            return (
                f"the volume has {human_bytes(truth.size)} on its node already; kubelet writes "
                "that on the claim within minutes while a pod runs, or when the next pod starts. "
                "If its file system cannot be grown and keeps a pod from starting, repeat this "
                "command with --even-if-it-fits: the pod then starts with the file system as it is"
            )
        return ""
    if truth.room is None and not now.has_failed:
        return (
            "its driver does not say how much room there is, and the growth has not failed yet; "
            "wait until it has (kubectl describe shows it on the claim)"
        )
    if truth.room is not None and fits(now, truth):
        return (
            f"pool {truth.pool} has room for {human_bytes(truth.room)} more, so the growth to "
            f"{human_bytes(now.asked)} can succeed: kubelet tries it again within minutes while a "
            "pod runs, or when the next pod starts. If it fails for another reason than room, "
            "repeat this command with --even-if-it-fits"
        )
    return ""


def fits(now: Sizes, truth: Truth) -> bool:
    """Whether the pool is known to have room for what is asked; volumes are whole MiB."""
    asked = -(-now.asked // _MIB) * _MIB
    return truth.room is not None and asked - truth.size <= truth.room


def truth_of(entry: Object, pools: list[Object]) -> Truth | None:
    """From what a driver lists of the volume and of its pools; None if it does not say the
    volume's size."""
    size = entry.get("sizeBytes")
    if entry.get("error") or isinstance(size, bool) or not isinstance(size, int) or size < 1:
        return None
    pool = next((one for one in pools if one.get("name") == entry.get("pool")), {})
    free = pool.get("freeBytes")
    # A cordoned pool lists no room for new volumes; what its volumes may grow by is not listed.
    is_known = isinstance(free, int) and not pool.get("cordoned")
    return Truth(size, str(entry.get("pool") or ""), free if is_known else None)


def advice(claim: Object, volume: Object, entry: Object, pools: list[Object]) -> str:
    """For `explain`: that the claim's expansion does not fit, and the way out; else empty."""
    truth = truth_of(entry, pools)
    if truth is None:
        return ""
    now = sizes(claim, volume)
    is_stuck = now.resize == INFEASIBLE or (truth.room is not None and not fits(now, truth))
    if not (is_held(now, truth.size) or (now.asked > truth.size and is_stuck)):
        return ""
    room = "" if truth.room is None else f", and its pool {truth.pool} can promise "
    room += "" if truth.room is None else f"{human_bytes(truth.room)} more"
    return (
        f"it asks for {human_bytes(now.asked)}, its volume has {human_bytes(truth.size)}{room}; "
        "make room on the node, or give the expansion up, which keeps data, claim and pods: "
        f"kubectl flexvol cancel-expansion {lost.full_name(claim)}"
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    claims.arguments(parser)
    parser.add_argument(
        "--even-if-it-fits",
        action="store_true",
        help="although the pool has room: for a growth that fails for another reason. What the "
        "volume has taken of the pool it keeps, and claim and PV then say so",
    )


def run(api: cluster.Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    _check_version(api)
    return _Cancellation(api, drivers, settings, lambda words: print(words, flush=True)).run()


def _check_version(api: cluster.Cluster) -> None:
    """Raises Unavailable where the API server never lets a claim's request be lowered."""
    version = api.get("/version") or {}
    digits = "".join(letter for letter in str(version.get("minor", "")) if letter.isdigit())
    if version.get("major") == "1" and digits and int(digits) < _FIRST_MINOR:
        raise protocol.Unavailable(
            f"the API server is Kubernetes 1.{digits}, and lets no claim's request be lowered "
            f"before 1.{_FIRST_MINOR}; make room in the volume's pool instead"
        )


class _Cancellation:
    """Works through the steps. say: what becomes of it, a line each."""

    def __init__(
        self,
        api: cluster.Cluster,
        drivers: dict[str, str],
        settings: argparse.Namespace,
        say: Callable[[str], None],
    ) -> None:
        self._api = api
        self._drivers = drivers
        self._settings = settings
        self._say = say
        self._claim: Object = {}
        self._volume: Object = {}
        self._is_settled = False

    def run(self) -> int:
        now, truth = self._read()
        name = lost.full_name(self._claim)
        self._check(now, truth)
        if not self._next_step(now, truth):
            self._say(f"nothing is to be given up for the claim {name}, {_says(now, truth)}")
            return 0
        what = "gives up the expansion of" if now.asked > truth.size else "clears the expansion of"
        self._say(f"{what} the claim {name}, {_says(now, truth)}")
        deadline = time.monotonic() + _SECONDS
        while self._go_on(now, truth):
            if time.monotonic() > deadline:
                raise protocol.Busy(
                    f"the claim {name} or its PV is changed by somebody else again and again; "
                    "run this again"
                )
            now, truth = self._read()
        self._say(_outcome(self._claim, now, truth))
        return 0

    def _next_step(self, now: Sizes, truth: Truth) -> str:
        return next_step(now, truth.size, records=self._settings.even_if_it_fits)

    def _go_on(self, now: Sizes, truth: Truth) -> bool:
        """Does the next step. Returns False when none is left, also after a while."""
        step = self._next_step(now, truth)
        if step:
            self._do(step, now, truth.size)
            self._is_settled = False
            return True
        if self._is_settled:
            return False
        time.sleep(_SETTLE_SECONDS)
        self._is_settled = True
        return True

    def _check(self, now: Sizes, truth: Truth) -> None:
        """Raises Busy if there is nothing to give up, or not yet."""
        name = lost.full_name(self._claim)
        if self._claim["metadata"].get("deletionTimestamp"):
            raise protocol.Busy(f"the claim {name} is being deleted; nothing was changed")
        if self._settings.even_if_it_fits:
            return
        why = refusal(now, truth)
        if why:
            raise protocol.Busy(
                f"the expansion of the claim {name} is not given up: {why}; nothing was changed"
            )

    def _read(self) -> tuple[Sizes, Truth]:
        """All of it live. Raises a Failure if one of the three is not there, or not known."""
        self._claim = claims.get(self._api, self._settings)
        self._volume, driver = claims.volume_of(self._api, self._claim, self._drivers)
        name = self._volume["metadata"]["name"]
        node_name = decide.node_of(self._volume, self._drivers)
        node = nodes.get(self._api, self._settings.namespace, node_name)
        volumes, pools = nodes.NodeStorage(self._api, node).list(driver)
        entry = next((one for one in volumes if one.get("name") == name), {})
        if entry.get("state") == "moving":
            raise protocol.Busy(
                f"the volume {name} is being moved to another node; run this when that is done"
            )
        truth = truth_of(entry, pools)
        if truth is None:
            why = entry.get("error") or f"the driver {driver} does not list it"
            away = [f"pool {one.get('name')}: {one['error']}" for one in pools if one.get("error")]
            raise protocol.Unavailable(
                f"the size of the volume {name} on node {node_name} is not known: "
                f"{printable('; '.join([str(why), *away]))}; nothing was changed"
            )
        return sizes(self._claim, self._volume), truth

    def _do(self, step: str, now: Sizes, size: int) -> None:
        metadata = self._claim["metadata"]
        path = cluster.claim_path(metadata["namespace"], metadata["name"])
        body = changes(step, now, size, self._claim)
        try:
            if step == SET_VOLUME:
                volume_path = cluster.path_to(cluster.VOLUMES, self._volume["metadata"]["name"])
                self._patch(volume_path, self._volume, body)
            else:
                self._patch(
                    cluster.path_to(path, "status") if "status" in body else path, self._claim, body
                )
        except cluster.Refused as error:
            if error.status != 409:  # somebody else has changed it: it is read again
                raise
            time.sleep(_AGAIN_SECONDS)

    def _patch(self, path: str, read: Object, changes: Object) -> None:
        """Raises Refused with status 409 if the object is no longer as it was read."""
        version = {"resourceVersion": read["metadata"]["resourceVersion"]}
        body = {**changes, "metadata": {**changes.get("metadata", {}), **version}}
        if self._api.patch(path, body) is None:
            raise protocol.NotFound(f"{read['metadata']['name']} was deleted meanwhile")


def changes(step: str, now: Sizes, size: int, claim: Object) -> Object:
    """What a step changes: of the PV for SET_VOLUME, of the claim for the others, where a status is
    patched apart."""
    if step == LOWER_REQUEST:
        return {"spec": {"resources": {"requests": {"storage": quantity(size)}}}}
    if step == SET_VOLUME:
        return {
            "metadata": {"annotations": {_BEFORE_RESIZE: None}},
            "spec": {"capacity": {"storage": quantity(size)}},
        }
    if step == HOLD:
        capacity = min(now.capacity, size - 1) if now.request > size else now.capacity
        return {
            "status": {
                "capacity": {"storage": quantity(capacity)},
                "allocatedResources": {"storage": quantity(size)},
                "allocatedResourceStatuses": {"storage": INFEASIBLE},
            }
        }
    final = {"storage": quantity(size)}
    conditions = (claim.get("status") or {}).get("conditions") or []
    return {
        "status": {
            "capacity": final,
            "allocatedResources": final,
            "allocatedResourceStatuses": {"storage": None},
            "conditions": [one for one in conditions if one["type"] not in _RESIZE_CONDITIONS],
        }
    }


def _says(now: Sizes, truth: Truth) -> str:
    sentence = f"which asks for {human_bytes(now.asked)}; its volume has {human_bytes(truth.size)}"
    if truth.room is None:
        return sentence
    return f"{sentence}, and its pool {truth.pool} can promise {human_bytes(truth.room)} more"


def _outcome(claim: Object, now: Sizes, truth: Truth) -> str:
    name = lost.full_name(claim)
    if now.resize or now.capacity < now.asked:
        return (
            f"the volume of the claim {name} has grown to {human_bytes(truth.size)} meanwhile, as "
            "was asked; kubelet writes that on the claim"
        )
    done = (
        f"done: the claim {name} and its PV say {quantity(now.capacity)}; data and pods are as "
        "they were"
    )
    most = truth.size + (truth.room or 0) // _MIB * _MIB
    if most <= now.capacity:
        return done
    patch = f'{{"spec": {{"resources": {{"requests": {{"storage": "{quantity(most)}"}}}}}}}}'
    metadata = claim["metadata"]
    return (
        f"{done}. The most that fits now: kubectl -n {metadata['namespace']} patch pvc "
        f"{metadata['name']} -p '{patch}'"
    )
