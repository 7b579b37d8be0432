"""An expansion that is given up: which step is due, and when it is refused. The steps are tried
against models of the API server, kube-controller-manager and kubelet, that interfere at random."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cluster.controller.objects import Claim, Volume
from cluster.controller.quantities import quantity, size_bytes
from cluster.kubectl.cancel_expansion import steps, verdicts
from cluster.kubectl.cancel_expansion.sizes import Sizes, Truth, sizes, truth_of
from cluster.kubectl.cancel_expansion.steps import HOLD

MIB = 1 << 20
GIB = 1 << 30
NOTE = "volume.alpha.kubernetes.io/pre-resize-capacity"
INFEASIBLE, PENDING = "NodeResizeInfeasible", "NodeResizePending"
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


ACTORS = [
    World.we_go_on,
    World.controller_starts,
    World.kubelet_expands,
    World.kubelet_fails_late,
    World.user_lowers,
    World.controller_notes_late,
    World.room_appears,
    World.call_that_had_begun_succeeds,
]
sizes_in_bytes = st.integers(64 * MIB - 5000, 64 * MIB)


@example(
    64 * MIB - 5000,
    [World.we_go_on, World.we_go_on, World.controller_starts, World.kubelet_expands],
)
@example(64 * MIB, [World.we_go_on] * 3 + [World.controller_starts])
@example(
    64 * MIB,
    [World.we_go_on] * 3
    + [World.controller_starts, World.room_appears, World.call_that_had_begun_succeeds],
)
@given(sizes_in_bytes, st.lists(st.sampled_from(ACTORS), max_size=25))
def test_whoever_interferes_the_end_is_the_truth_and_the_volume_grows_again(
    recorded: int, turns: list[Any]
) -> None:
    world = World(900 * GIB, recorded=recorded)
    for turn in turns:
        turn(world)

    for _ in range(12):
        if not world.we_go_on():
            break

    now = world.now
    assert steps.next_step(now, world.size) == ""
    assert now.resize in ("", PENDING)
    assert now.asked <= world.size, "claim and PV promise no more than there is"
    if now.resize == "":
        assert now.request <= now.capacity <= world.size
        assert not now.is_noted
    else:
        assert max(now.capacity, world.kubelet_knows) < now.asked, "kubelet has something to do"
    world.room = 2000 * GIB
    grown = {"resources": {"requests": {"storage": "1000Gi"}}}
    world.claim = merged(world.claim, {"spec": grown})
    for _ in range(3):
        world.controller_starts()
        world.kubelet_expands()
    assert world.now.capacity == world.now.volume == world.size == 1000 * GIB


@given(sizes_in_bytes, st.lists(st.sampled_from(ACTORS[:1] + ACTORS[3:6]), max_size=8))
def test_without_room_claim_and_volume_say_the_true_size(recorded: int, turns: list[Any]) -> None:
    world = World(900 * GIB, recorded=recorded)
    for turn in turns:
        turn(world)
    while world.we_go_on():
        pass

    assert world.size == 64 * MIB == world.now.volume == world.now.capacity
    assert world.now.request <= 64 * MIB
    assert not world.now.has_conditions
    assert not world.now.is_noted


def test_a_killed_run_is_not_refused_when_it_is_repeated() -> None:
    world = World(900 * GIB)
    while world.we_go_on():
        room_for_all = Truth(world.size, "default", 2000 * GIB)
        assert verdicts.refusal(world.now, room_for_all) == ""


GROWING = Sizes(request=GIB, capacity=64 * MIB, allocated=GIB, resize=PENDING, volume=GIB)
FAILING = GROWING._replace(has_failed=True, has_conditions=True)


@pytest.mark.parametrize(
    ("now", "truth", "words"),
    [
        pytest.param(
            GROWING,
            Truth(64 * MIB, "fast", 960 * MIB),
            "pool fast has room for 960 MiB more",
            id="a growth that the pool has room for is left to kubelet",
        ),
        pytest.param(
            FAILING,
            Truth(64 * MIB, "fast", 960 * MIB),
            "--even-if-it-fits",
            id="so is one that has failed and fits now, unless told otherwise",
        ),
        pytest.param(
            GROWING,
            Truth(GIB, "fast", 0),
            "has 1 GiB on its node already",
            id="a volume that has grown only waits for kubelet's word",
        ),
        pytest.param(
            GROWING,
            Truth(64 * MIB, "", None),
            "has not failed yet",
            id="where the room is unknown the first failure is waited for",
        ),
        pytest.param(
            FAILING, Truth(64 * MIB, "", None), "", id="where the room is unknown a failure counts"
        ),
        pytest.param(
            GROWING,
            Truth(64 * MIB, "fast", 959 * MIB),
            "",
            id="a growth that one MiB lacks for is given up, also before it was tried",
        ),
        pytest.param(
            GROWING._replace(resize=INFEASIBLE),
            Truth(64 * MIB, "fast", 960 * MIB),
            "",
            id="what kubelet has stopped trying is given up although it fits",
        ),
    ],
)
def test_it_is_refused_while_the_growth_can_succeed(now: Sizes, truth: Truth, words: str) -> None:
    why = verdicts.refusal(now, truth)

    assert words in why
    assert bool(why) == bool(words)


def test_a_volume_whose_file_system_cannot_be_grown_is_recorded_as_it_is_when_told() -> None:
    world = World(1 * GIB)
    world.size = 1 * GIB
    assert steps.next_step(world.now, world.size) == ""

    while step := steps.next_step(world.now, world.size, records=True):
        world.do(step)

    assert world.now.capacity == world.now.volume == world.now.request == 1 * GIB
    assert not world.now.resize


def test_what_a_late_failure_leaves_on_the_claim_is_cleared() -> None:
    assert steps.next_step(GROWING, 64 * MIB) == HOLD
    leftover = Sizes(GIB, GIB, GIB, "", GIB, has_conditions=True)
    assert steps.next_step(leftover, GIB) == HOLD
    assert steps.next_step(leftover._replace(has_conditions=False), GIB) == ""


def test_the_true_size_is_the_drivers_word_alone() -> None:
    pools = [{"name": "fast", "freeBytes": 5 * MIB}]
    entry = {"name": "pvc-1", "sizeBytes": 64 * MIB, "pool": "fast"}

    assert truth_of(entry, pools) == Truth(64 * MIB, "fast", 5 * MIB)
    assert truth_of({**entry, "error": "gone"}, pools) is None
    assert truth_of({"name": "pvc-1", "sizeBytes": True}, pools) is None
    assert truth_of({}, pools) is None
    cordoned = [{"name": "fast", "freeBytes": 0, "cordoned": True}]
    assert truth_of(entry, cordoned) == Truth(64 * MIB, "fast", None)


def test_explain_names_the_way_out_of_an_expansion_that_does_not_fit_and_of_no_other() -> None:
    world = World(900 * GIB)
    entry = {"name": "pvc-1", "sizeBytes": 64 * MIB, "pool": "fast"}

    def advice(free: int) -> str:
        pools = [{"name": "fast", "freeBytes": free}]
        return verdicts.advice(Claim(world.claim), Volume(world.volume), entry, pools)

    assert advice(5 * MIB) == (
        "it asks for 900 GiB, its volume has 64 MiB, and its pool fast can promise 5 MiB more; "
        "make room on the node, or give the expansion up, which keeps data, claim and pods: "
        "kubectl flexvol cancel-expansion shop/data"
    )
    assert advice(1000 * GIB) == ""
    while world.we_go_on():
        pass
    assert advice(5 * MIB) == ""
