"""API weather: whatever happens between the provisioner and the API server, it does not exit, each
claim gets one PV and one volume, nothing is lost for good, and it catches up within seconds. Real
images, a real API server, a proxy."""

from __future__ import annotations

import contextlib
import functools
import json
import random
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.cluster.kube.cluster import SERVER, Cluster
from tests.cluster.namespaces import Kubernetes, own_namespace
from tests.cluster.own_provisioner import (
    AUTHORITY,
    POOL,
    ROOT,
    OwnProvisioner,
    account,
    bound,
    claim,
    delete_claims,
    events,
    make_pool,
    remove_pool,
    storage_class,
    volumes_in,
)
from tests.cluster.proxy import CUT, CUT_AFTER, Proxy
from tests.precompiled import precompile
from tests.waiting import wait_until

CLAIMS = "/api/v1/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
NODES = "/api/v1/nodes/"
CLASS = "loop.weather"
HEALTH_PORT = 19808


class Weather:
    """A provisioner, the proxy it reaches the API server by, and the pool where its volumes are."""

    def __init__(self, provisioner: OwnProvisioner, proxy: Proxy, pool: Path) -> None:
        self.provisioner = provisioner
        self.proxy = proxy
        self.pool = pool

    def served(self, k8s: Kubernetes, *names: str, seconds: float = 30) -> dict[str, str]:
        """Waits until the claims are bound. Each has one PV and one volume, and there are no
        others."""
        found = bound(k8s, *names, seconds=seconds)
        assert volumes_in(self.pool) == set(found.values())
        return found

    def ready(self) -> str:
        """What /readyz answers, or wget's words for a status that is none of success."""
        url = f"http://127.0.0.1:{HEALTH_PORT}/readyz"
        line = ["busybox", "wget", "-q", "-O", "-", url]
        done = self.provisioner.node.enter(*line, check=False, capture_output=True)
        return str(done.stdout + done.stderr).strip()


@pytest.fixture(scope="module")
def one_provisioner(cluster: Cluster) -> Iterator[Weather]:
    with Proxy(SERVER, account(cluster), AUTHORITY) as proxy:
        words = ("--node=node1", f"--health-port={HEALTH_PORT}")
        provisioner = OwnProvisioner(
            cluster,
            "weather",
            proxy.url,
            "weather/loop",
            *words,
        )
        driver = provisioner.install(ROOT / "dist/flexvol")
        precompile(driver)
        pool = make_pool(provisioner.node, driver)
        default = Kubernetes(cluster, "default")
        default.apply(storage_class("weather/loop", parameters={"pool": Path(POOL).name}))
        with provisioner:
            yield Weather(provisioner, proxy, pool)
        default.delete("storageclass", CLASS)
        remove_pool(provisioner.node, driver)


@pytest.fixture(scope="module")
def k8s(cluster: Cluster, one_provisioner: Weather) -> Iterator[Kubernetes]:
    """One for all tests here; each test's claims have names of their own."""
    with own_namespace(cluster) as k8s:
        yield k8s


@pytest.fixture
def weather(one_provisioner: Weather, k8s: Kubernetes) -> Iterator[Weather]:
    """Fine until the test says otherwise, and again after it. The provisioner lives through it
    all."""
    wait_until("the provisioner is ready", lambda: one_provisioner.ready() == "ok")
    started = one_provisioner.provisioner.count(" provisioner 0")
    yield one_provisioner
    one_provisioner.proxy.rule = lambda method, path, number: None
    delete_claims(k8s)
    assert one_provisioner.provisioner.alive(), one_provisioner.provisioner.log()
    assert one_provisioner.provisioner.count(" provisioner 0") == max(started, 1)
    assert one_provisioner.provisioner.count("bug while") == 0, one_provisioner.provisioner.log()


def many(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number}" for number in range(count)]


def test_the_api_server_goes_away_in_the_middle_and_comes_back(
    weather: Weather, k8s: Kubernetes, campaign: bool
) -> None:
    before = many("before", 4)
    after = many("after", 4)
    said = weather.provisioner.count(f"cannot watch: WATCH {CLAIMS}:")
    k8s.apply(*(claim(name, CLASS) for name in before))
    wait_until("the first is being made", lambda: volumes_in(weather.pool))

    k8s.cluster.kill("kube-apiserver")
    try:
        wait_until(
            "it is said",
            lambda: weather.provisioner.count(f"cannot watch: WATCH {CLAIMS}:") > said,
        )
        if campaign:
            time.sleep(600)
        assert weather.provisioner.alive()
    finally:
        k8s.cluster.start("kube-apiserver")
        wait_until("the API server is ready", k8s.cluster.api_ready, 60)
    k8s.apply(*(claim(name, CLASS) for name in after))

    weather.served(k8s, *before, *after)
    assert weather.provisioner.count(f"cannot watch: WATCH {CLAIMS}:") == said + 1


def test_claims_made_while_only_the_provisioner_is_cut_off_are_served_afterwards(
    weather: Weather, k8s: Kubernetes
) -> None:
    said = f"cannot watch: WATCH {CLAIMS}:"
    back = f"watching {CLAIMS} again"
    before = [weather.provisioner.count(words) for words in (said, back)]
    weather.proxy.stop()
    try:
        names = many("meanwhile", 4)
        k8s.apply(*(claim(name, CLASS) for name in names))
        wait_until("it is said", lambda: weather.provisioner.count(said) > before[0])
        assert "503" in weather.ready()
    finally:
        weather.proxy.start()

    weather.served(k8s, *names, seconds=15)
    wait_until("it is ready again", lambda: weather.ready() == "ok")
    assert [weather.provisioner.count(words) for words in (said, back)] == [
        count + 1 for count in before
    ]


def test_connections_cut_before_and_after_the_request_has_come_through(
    weather: Weather, k8s: Kubernetes
) -> None:
    """A request whose answer is lost has been done: repeating it must find that, for PVs and for
    events."""
    chance = random.Random(4)

    def rule(method: str, path: str, number: int) -> str | None:
        if number % 15 == 0:
            weather.proxy.cut_all()
        return chance.choice([CUT, CUT_AFTER, None, None, None, None])

    weather.proxy.rule = rule
    names = many("cut", 8)
    k8s.apply(*(claim(name, CLASS) for name in names))
    weather.served(k8s, *names, seconds=60)

    k8s.delete("pvc", *names[4:])
    wait_until("their volumes are gone", lambda: len(volumes_in(weather.pool)) == 4)
    weather.proxy.rule = lambda method, path, number: None
    for name in names:
        k8s.event(name, "Provisioning", "")
        said = [one["count"] for one in events(k8s, name, "ProvisioningSucceeded")]
        # The event is missing where the PV's own answer was lost and the claim was bound meanwhile.
        assert said in ([1], [])


def test_410_gone_to_a_watch_and_in_the_middle_of_a_list(weather: Weather, k8s: Kubernetes) -> None:
    """What changed meanwhile is in the list that is begun anew."""
    # A claim's event ends the long pauses that the failures of the test before have led to.
    first, *names = many("gone", 3)
    k8s.apply(claim(first, CLASS))
    weather.served(k8s, first)
    gone = {"watch": 1, "list": 1}
    page = {"items": [], "metadata": {"resourceVersion": "1", "continue": "the-rest"}}

    def rule(method: str, path: str, number: int) -> int | bytes | None:
        if not path.startswith(CLAIMS) or not gone["list"]:
            return None
        if "watch=" in path and gone["watch"]:
            gone["watch"] -= 1
            return 410
        if "continue=" in path:
            gone["list"] -= 1
            return 410
        return json.dumps(page).encode()

    weather.proxy.rule = rule
    weather.proxy.cut_all()
    k8s.apply(*(claim(name, CLASS) for name in names))

    weather.served(k8s, first, *names)
    assert gone["list"] == 0


def test_429_is_no_reason_to_ask_more_often_than_it_says(weather: Weather, k8s: Kubernetes) -> None:
    asked: dict[tuple[str, str], list[float]] = {}

    def rule(method: str, path: str, number: int) -> int | None:
        # There is work to do, and each claim, before anything else, reads the one Node.
        if path.startswith((CLAIMS, NODES)):
            return None
        asked.setdefault((method, path.partition("?")[0]), []).append(time.monotonic())
        return 429

    names = many("busy", 6)
    weather.proxy.rule = rule
    weather.proxy.cut_all()
    k8s.apply(*(claim(name, CLASS) for name in names))
    watches = [("GET", VOLUMES), ("GET", CLASSES)]
    of_claims = f"/api/v1/namespaces/{k8s.namespace}/persistentvolumeclaims/"
    wait_until(
        "each was asked again",
        lambda: (
            all(len(asked.get(key, [])) >= 2 for key in watches)
            and any(method == "POST" and path.endswith("/events") for method, path in list(asked))
            and all(len(asked.get(("GET", of_claims + name), [])) >= 2 for name in names)
        ),
    )
    weather.proxy.rule = lambda method, path, number: None

    weather.served(k8s, *names, seconds=20)
    assert any(method == "POST" and path.endswith("/events") for method, path in asked)
    for key, times in asked.items():
        # The answers said Retry-After: 1.
        assert all(later - earlier > 0.95 for earlier, later in pairwise(times)), key


def test_500_to_what_it_writes_is_said_on_the_claim_and_tried_again(
    weather: Weather, k8s: Kubernetes
) -> None:
    left = [500, 503, 500]

    def rule(method: str, path: str, number: int) -> int | None:
        return left.pop() if left and (method, path) == ("POST", VOLUMES) else None

    weather.proxy.rule = rule
    k8s.apply(claim("refused", CLASS))

    weather.served(k8s, "refused")
    k8s.event(
        "refused",
        "ProvisioningFailed",
        "the PersistentVolume was refused: POST /api/v1/persistentvolumes: 500",
    )
    k8s.event("refused", "ProvisioningSucceeded", "")
    k8s.delete("pvc", "refused")
    wait_until("the volume is gone", lambda: not volumes_in(weather.pool))


def test_every_answer_is_slow(weather: Weather, k8s: Kubernetes) -> None:
    weather.proxy.rule = lambda method, path, number: 0.7
    names = many("slow", 8)
    k8s.apply(*(claim(name, CLASS) for name in names))

    weather.served(k8s, *names)


def test_answers_that_are_no_json_or_not_what_was_asked_for(
    weather: Weather, k8s: Kubernetes
) -> None:
    """To each kind of request once, a watch included; the real answer is given afterwards."""
    given: dict[tuple[str, str, bool], int] = {}

    def rule(method: str, path: str, number: int) -> bytes | None:
        bare = path.partition("?")[0]
        key = (
            method,
            bare if bare in (CLAIMS, VOLUMES, CLASSES) else bare.rpartition("/")[0],
            "watch=" in path,
        )
        given[key] = given.get(key, 0) + 1
        return [b"<html>\n", b"[]\n"][number % 2] if given[key] == 1 else None

    weather.proxy.rule = rule
    weather.proxy.cut_all()
    names = many("odd", 2)
    k8s.apply(*(claim(name, CLASS) for name in names))

    weather.served(k8s, *names)

    def was_given_twice(key: tuple[str, str, bool]) -> bool:
        return given.get(key, 0) >= 2

    for key in (("GET", CLAIMS, True), ("GET", CLAIMS, False), ("POST", VOLUMES, False)):
        wait_until(
            f"{key} was answered in earnest",
            functools.partial(was_given_twice, key),
        )


def test_events_that_could_not_be_written_are_written_afterwards(
    weather: Weather, k8s: Kubernetes
) -> None:
    weather.proxy.rule = lambda method, path, number: CUT if "/events" in path else None
    k8s.apply(claim("quiet", CLASS))
    weather.served(k8s, "quiet")
    wait_until(
        "an event was tried",
        lambda: weather.proxy.seen("POST", f"{k8s.namespace}/events") > 0,
    )
    assert events(k8s, "quiet", "Provisioning") == []

    weather.proxy.rule = lambda method, path, number: None

    k8s.event("quiet", "Provisioning", "External provisioner is provisioning", 20)
    k8s.event("quiet", "ProvisioningSucceeded", "Successfully provisioned", 20)


def test_a_right_that_is_lacking_is_said_once_and_the_work_is_done_when_it_is_given(
    weather: Weather, cluster: Cluster, k8s: Kubernetes
) -> None:
    """By another provisioner, whose account has none at first."""
    shown = cluster.kubectl(
        "get", "clusterrole", "flexvol-provisioner", "-o", "json", capture_output=True
    ).stdout
    rights = json.loads(shown)["rules"]
    lesser = [
        rule for rule in rights if rule["resources"] not in (["events"], ["persistentvolumes"])
    ]
    lesser += [
        {"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": ["get", "list", "watch"]}
    ]
    k8s.apply(storage_class("rights/scripted"))
    with (
        Proxy(SERVER, account(cluster, "rights", []), AUTHORITY) as proxy,
        contextlib.ExitStack() as stack,
    ):
        provisioner = OwnProvisioner(
            cluster, "rights", proxy.url, "rights/scripted", "--node=node1"
        )
        driver = provisioner.install(ROOT / "tests/drivers/scripted")
        stack.enter_context(provisioner)
        paths = (CLAIMS, VOLUMES, CLASSES)
        wait_until(
            "each is asked for again and again",
            lambda: all(proxy.seen("GET", one + "?") >= 3 for one in paths),
        )
        for path in paths:
            assert provisioner.count(f"cannot watch: WATCH {path}: 403") == 1
        assert provisioner.count('cannot list resource "persistentvolumeclaims"') == 1

        account(cluster, "rights", lesser)
        wait_until(  # each of them makes it say again what is refused
            "all are watched",
            lambda: all(provisioner.count(f"watching {path} again") for path in paths),
        )
        k8s.apply(claim("rights", "scripted.rights"))
        wait_until(
            "the PV is written again and again",
            lambda: proxy.seen("POST", VOLUMES) >= 3,
        )
        assert provisioner.count('cannot create resource "persistentvolumes"') == 1
        wait_until(
            "the other is said",
            lambda: provisioner.count('cannot create resource "events"') >= 1,
        )

        account(cluster, "rights", rights)
        volume = bound(k8s, "rights")["rights"]
        assert driver.with_name("made").read_text().split() == [volume]
        k8s.event("rights", "ProvisioningSucceeded", volume)
        assert provisioner.count('cannot create resource "events"') == 1
        k8s.delete("pvc", "rights")
        k8s.until_gone("pv", volume)
    k8s.delete("storageclass", "scripted.rights")
