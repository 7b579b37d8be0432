"""A claim whose request was raised, and models of the API server, kube-controller-manager and
kubelet."""

from __future__ import annotations

from typing import Any

from cluster.controller.objects import Claim, Volume
from cluster.controller.quantities import quantity, size_bytes
from cluster.kubectl.cancel_expansion import steps
from cluster.kubectl.cancel_expansion.sizes import Sizes, sizes

MIB = 1 << 20
GIB = 1 << 30
NOTE = "volume.alpha.kubernetes.io/pre-resize-capacity"
INFEASIBLE = "NodeResizeInfeasible"
PENDING = "NodeResizePending"
Object = dict[str, Any]


def merged(there: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(there) if isinstance(there, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class World:
    """A claim whose request was raised. Its methods are what each of the programs may do next, as
    in Kubernetes 1.32 to 1.37 (see the paths in cluster/kubectl/cancel_expansion/steps.py)."""

    def __init__(self, asked: int, size: int = 64 * MIB, recorded: int = 64 * MIB) -> None:
        self.size = size
        self.room = 0
        self.kubelet_knows = recorded  # the volume's size, since the pod was started
        self.claim: Object = {
            "metadata": {"namespace": "shop", "name": "data"},
            "spec": {"resources": {"requests": {"storage": quantity(asked)}}},
            "status": {"capacity": {"storage": quantity(recorded)}},
        }
        self.volume: Object = {
            "metadata": {"annotations": {}},
            "spec": {"capacity": {"storage": quantity(recorded)}},
        }
        self.controller_starts()

    @property
    def now(self) -> Sizes:
        return sizes(Claim(self.claim), Volume(self.volume))

    def status(self, **changes: Any) -> None:
        self.claim = merged(self.claim, {"status": changes})

    def we_go_on(self) -> str:
        step = steps.next_step(self.now, self.size)
        if step:
            self.do(step)
        return step

    def do(self, step: str) -> None:
        changes = steps.changes(step, self.now, self.size, Claim(self.claim))
        if step == steps.SET_VOLUME:
            self.volume = merged(self.volume, changes)
        elif "status" in changes:
            self.claim = merged(self.claim, changes)
        else:
            wanted = size_bytes(changes["spec"]["resources"]["requests"]["storage"])
            assert wanted > self.now.capacity, "the API server refuses this request"
            self.claim = merged(self.claim, changes)

    def controller_starts(self) -> None:
        """kube-controller-manager looks at each claim when it starts."""
        now = self.now
        if now.request <= now.capacity and not now.is_noted:
            return
        if now.capacity >= now.request and now.capacity >= now.volume:
            self.volume = merged(self.volume, {"metadata": {"annotations": {NOTE: None}}})
            return
        if now.volume >= now.request and now.resize == PENDING:
            return
        if not (now.volume >= now.request and now.resize == INFEASIBLE):
            to = now.request
            if now.allocated is not None and (now.resize or now.volume >= now.request):
                to = now.allocated
            self.status(allocatedResources={"storage": quantity(to)})
            self.volume = merged(self.volume, {"spec": {"capacity": {"storage": quantity(to)}}})
        self.status(
            allocatedResourceStatuses={"storage": PENDING},
            conditions=[{"type": "FileSystemResizePending", "status": "True"}],
        )
        before = {"metadata": {"annotations": {NOTE: quantity(now.capacity)}}}
        self.volume = merged(self.volume, before)

    def kubelet_expands(self) -> None:
        now = self.now
        if now.resize != PENDING or now.volume <= max(now.capacity, self.kubelet_knows):
            return
        to = now.allocated or now.volume
        if to > self.size + self.room:
            failed = {"type": "NodeResizeError", "status": "True"}
            self.status(conditions=[*self.claim["status"].get("conditions", []), failed])
            return
        self.size = max(self.size, -(-to // MIB) * MIB)
        self.kubelet_knows = to
        self.status(
            capacity={"storage": quantity(to)},
            allocatedResourceStatuses={"storage": None},
            conditions=[],
        )
        self.controller_starts()  # the claim's capacity has grown

    def kubelet_fails_late(self) -> None:
        """A call that had begun before HOLD: it writes whatever the claim says meanwhile."""
        if self.now.resize == PENDING:
            self.status(allocatedResourceStatuses={"storage": INFEASIBLE})

    def controller_notes_late(self) -> None:
        """Its patch of the PV has no precondition."""
        if self.now.resize == PENDING:
            before = {"metadata": {"annotations": {NOTE: quantity(self.now.capacity)}}}
            self.volume = merged(self.volume, before)

    def user_lowers(self) -> None:
        """As far as the API server lets them."""
        lower = self.now.capacity + MIB // 2
        if lower < self.now.request:
            request = {"resources": {"requests": {"storage": quantity(lower)}}}
            self.claim = merged(self.claim, {"spec": request})

    def room_appears(self) -> None:
        self.room = 2000 * GIB

    def call_that_had_begun_succeeds(self) -> None:
        """Its result cannot be recorded: the claim has another version now."""
        if self.room:
            self.size = max(self.size, 900 * GIB)
