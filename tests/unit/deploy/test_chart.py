"""The Helm chart says the same as the kustomizations, object for object. Its values are checked,
and each of them is in the table of docs/chart.md."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle import new_driver
from cluster.controller import modes, settings
from node.host.plugin_directory import PLUGIN_DIRECTORY
from shared.protocol import VERSION
from tests import documents
from tests.cluster.kube import build
from tests.cluster.kube import helm as helm_builder
from tests.sources import ROOT
from tests.unit.deploy import charts
from tests.unit.deploy.charts import CHART, DEPLOY, Helm, Object

OVERLAYS = sorted(path.name for path in (DEPLOY / "overlays").iterdir())
REGISTRY = "registry.example:5000/storage/flexvol"
IMAGE = {"image.repository": REGISTRY, "image.tag": "1.2.3"}
# The kustomizations have their namespace; Helm is given it.
WITH_NAMESPACE = {**IMAGE, "namespace.create": True}
ALL_ON = {
    "shared.enabled": True,
    "secrets.enabled": True,
    "snapshots.enabled": True,
    "monitoring.podMonitor.enabled": True,
    "monitoring.rules.enabled": True,
    "monitoring.dashboard.enabled": True,
}


def a_helm(major: int, home: Path) -> Helm:
    lacking = helm_builder.missing(major)
    if lacking:
        pytest.skip(lacking)
    return Helm(major, home)


@pytest.fixture(scope="module", params=sorted(helm_builder.VERSIONS), ids="helm {}".format)
def each_helm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return a_helm(request.param, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """The newest, for what is the same in all."""
    return a_helm(max(helm_builder.VERSIONS), tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def _kustomize() -> None:
    """kubectl, for the tests that render kustomizations."""
    lacking = build.missing()
    if lacking:
        pytest.skip(lacking)


def kustomization(*resources: str, components: tuple[str, ...] = ()) -> Object:
    return {
        "resources": ["deploy", *resources],
        "components": list(components),
        "images": [{"name": "flexvol", "newName": REGISTRY, "newTag": "1.2.3"}],
    }


WITHOUT_SNAPSHOTS = ("deploy/shared", "deploy/secrets", "deploy/monitoring/operator")
ALL = (*WITHOUT_SNAPSHOTS, "deploy/snapshots")
# The chart refuses the account for snapshots where no policy holds that account.
NO_POLICIES = {"policies.install": "never", "snapshots.enabled": False}
EQUAL = [
    pytest.param(kustomization(), {}, id="the base"),
    *(
        pytest.param(
            kustomization(components=(f"deploy/overlays/{name}",)),
            {"driverDirectory.distribution": name},
            id=f"the overlay {name}",
        )
        for name in OVERLAYS
    ),
    pytest.param(kustomization("deploy/shared"), {"shared.enabled": True}, id="shared mode"),
    pytest.param(kustomization("deploy/secrets"), {"secrets.enabled": True}, id="secrets"),
    pytest.param(
        kustomization(components=("deploy/without-policies",)),
        {"policies.install": "never"},
        id="the base without policies",
    ),
    pytest.param(kustomization("deploy/snapshots"), {"snapshots.enabled": True}, id="snapshots"),
    pytest.param(kustomization(*ALL), ALL_ON, id="all at once"),
    pytest.param(
        kustomization(*WITHOUT_SNAPSHOTS, components=("deploy/without-policies",)),
        {**ALL_ON, **NO_POLICIES},
        id="all but snapshots at once, without policies",
    ),
]


@pytest.mark.usefixtures("_kustomize")
@pytest.mark.parametrize(("own", "values"), EQUAL)
def test_chart_and_kustomize_have_the_same_objects(
    each_helm: Helm, own: Object, values: Object
) -> None:
    expected = charts.by_name(charts.kustomize(own))

    found = charts.by_name(each_helm.render({**WITH_NAMESPACE, **values}))

    assert sorted(found) == sorted(expected)
    for key, one in expected.items():
        assert found[key] == one, key


@pytest.fixture(params=["without pools", "with pools"])
def drivers(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Path]:
    """What `./build.sh new-driver` writes in either mode: the directories of two drivers."""
    pools = "Reply(pools=[])" if request.param == "with pools" else ""
    modes = {"quota": new_driver.NODE, "archive": new_driver.SHARED}
    for name, mode in modes.items():
        new_driver.write(tmp_path / name, mode, f"{pools}\n")
    return {name: tmp_path / name for name in modes}


def values_of(drivers: dict[str, Path]) -> Object:
    """The values of all drivers, as Helm merges several files."""
    merged: Object = {}
    for directory in drivers.values():
        merged.update(yaml.safe_load((directory / "values.yaml").read_text())["drivers"])
    return {"drivers": merged}


def test_chart_and_kustomize_have_the_same_objects_for_drivers_that_use_secrets(
    each_helm: Helm, drivers: dict[str, Path]
) -> None:
    manifests = [str(directory / "deploy") for directory in drivers.values()]
    for directory in drivers.values():
        file = directory / "deploy/kustomization.yaml"
        text = file.read_text()
        assert "# Add secrets.yaml, " in text
        file.write_text(text.replace("resources:\n", "resources:\n  - secrets.yaml\n"))
    own = kustomization("deploy/shared/account", "deploy/secrets", *manifests)

    expected = charts.by_name(charts.kustomize(own))
    found = charts.by_name(
        each_helm.render({**WITH_NAMESPACE, "secrets.enabled": True, **values_of(drivers)})
    )

    assert sorted(found) == sorted(expected)
    for key, one in expected.items():
        assert found[key] == one, key


@pytest.mark.parametrize("overlay", ["", "openshift"], ids=["the base", "with an overlay"])
def test_chart_and_kustomize_have_the_same_objects_for_drivers_of_ones_own(
    each_helm: Helm, drivers: dict[str, Path], overlay: str
) -> None:
    manifests = [str(directory / "deploy") for directory in drivers.values()]
    components = (f"deploy/overlays/{overlay}",) if overlay else ()
    own = kustomization("deploy/shared/account", *manifests, components=components)
    values = {"driverDirectory.distribution": overlay or "default", **values_of(drivers)}

    expected = charts.by_name(charts.kustomize(own))
    found = charts.by_name(each_helm.render({**WITH_NAMESPACE, **values}))

    assert sorted(found) == sorted(expected)
    for key, one in expected.items():
        assert found[key] == one, key


def test_a_driver_has_the_capabilities_and_arguments_of_its_values(helm: Helm) -> None:
    own = {"capabilities": ["SYS_ADMIN"], "extraArgs": ["--workers=2"]}
    drivers = {"quota": {"mode": "node", **own}, "archive": {"mode": "shared", **own}}

    objects = helm.render({"drivers": drivers})

    pods = [one for one in objects if one["metadata"]["name"].startswith("flexvol-driver-")]
    provisioners = [
        container
        for one in pods
        if one["kind"] in ("DaemonSet", "Deployment")
        for container in one["spec"]["template"]["spec"]["containers"]
        if container["name"] == "provisioner"
    ]
    assert len(provisioners) == 2
    for container in provisioners:
        assert container["args"][-1] == "--workers=2"
        assert container["securityContext"]["capabilities"]["add"] == ["SYS_ADMIN"]


def pod_of(objects: list[Object], name: str) -> Object:
    (workload,) = [
        one
        for one in objects
        if one["kind"] in ("DaemonSet", "Deployment") and one["metadata"]["name"] == name
    ]
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def container_of(pod: Object, name: str = "provisioner") -> Object:
    """The container of that name, which may be an init container."""
    (container,) = [
        one
        for kind in ("initContainers", "containers")
        for one in pod.get(kind, [])
        if one["name"] == name
    ]
    return dict(container)


def host_path(pod: Object, volume: str) -> str:
    (path,) = [one["hostPath"]["path"] for one in pod["volumes"] if one["name"] == volume]
    return str(path)


def test_the_namespace_is_left_to_helm_unless_a_value_asks_for_it(helm: Helm) -> None:
    with_it, without = (
        set(charts.by_name(helm.render(values))) for values in (WITH_NAMESPACE, IMAGE)
    )

    assert with_it - without == {("Namespace", "", "flexvol")}


def test_every_object_follows_the_release_into_another_namespace(helm: Helm) -> None:
    objects = helm.render(ALL_ON, "--namespace", "storage")

    namespaces = {one["metadata"].get("namespace") for one in objects}
    subjects = [subject for one in objects for subject in one.get("subjects", [])]
    assert namespaces == {None, "storage", "flexvol-secrets"}
    assert {subject["namespace"] for subject in subjects} == {"storage"}


def test_without_values_the_image_has_the_version_of_flexvol(helm: Helm) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    pods = [pod_of(helm.render({}), name) for name in ("flexvol-node", "flexvol-cluster")]

    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)
    assert {container_of(pod)["image"] for pod in pods} == {f"localhost/flexvol:{VERSION}"}
    assert "imagePullPolicy" not in container_of(pods[0])


def test_every_container_gets_the_image_in_the_way_that_the_values_say(helm: Helm) -> None:
    values = {"image.pullPolicy": "Always", "image.pullSecrets": ["registry", "mirror"]}
    pools = {"pools": [{"name": "fast"}]}

    objects = helm.render({**IMAGE, **values, **pools, "shared.enabled": True})

    pods = [pod_of(objects, f"flexvol-{name}") for name in ("node", "cluster", "shared")]
    containers = [
        one for pod in pods for one in [*pod.get("initContainers", []), *pod["containers"]]
    ]
    assert len(containers) == 5
    assert {(one["image"], one["imagePullPolicy"]) for one in containers} == {
        (f"{REGISTRY}:1.2.3", "Always")
    }
    for pod in pods:
        assert pod["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}]


def test_a_digest_stands_in_place_of_the_tag(helm: Helm) -> None:
    digest = "sha256:" + "0123456789abcdef" * 4

    pods = [
        pod_of(helm.render({**IMAGE, "image.digest": digest}), f"flexvol-{name}")
        for name in ("node", "cluster")
    ]

    assert {container_of(pod)["image"] for pod in pods} == {f"{REGISTRY}@{digest}"}


def test_a_directory_of_ones_own_is_that_of_all_pods_that_run_drivers(helm: Helm) -> None:
    values = {"driverDirectory.path": "/opt/volume plugins".replace(" ", "-")}

    objects = helm.render({**values, "shared.enabled": True})

    node, shared = (pod_of(objects, f"flexvol-{name}") for name in ("node", "shared"))
    directory = values["driverDirectory.path"]
    assert host_path(node, "plugins") == host_path(shared, "plugins") == directory
    assert directory in container_of(node, "install")["command"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_shared_mode_looks_where_the_nodes_have_their_drivers(helm: Helm, name: str) -> None:
    """The kustomizations leave this to whoever applies them."""
    objects = helm.render({"driverDirectory.distribution": name, "shared.enabled": True})

    node, shared = (pod_of(objects, f"flexvol-{name}") for name in ("node", "shared"))
    assert host_path(shared, "plugins") == host_path(node, "plugins") != PLUGIN_DIRECTORY


def test_the_pods_have_what_their_values_say(helm: Helm) -> None:
    own = {
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "extraArgs": ["--log-format=json", "--workers=2"],
        "tolerations": [{"key": "storage", "operator": "Exists"}],
        "nodeSelector": {"storage": "yes"},
        "podAnnotations": {"example/a": "b"},
    }
    names = ("node", "cluster", "shared")
    values = {f"{name}.{key}": value for name in names for key, value in own.items()}

    objects = helm.render({**values, "shared.enabled": True})

    for name in names:
        pod = pod_of(objects, f"flexvol-{name}")
        container = container_of(pod)
        assert container["resources"] == own["resources"]
        assert container["args"][-2:] == own["extraArgs"]
        assert container["args"][-3] == "--health-port=9808"
        assert pod["tolerations"] == own["tolerations"]
        assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "storage": "yes"}


def test_a_storage_class_has_what_its_value_says_and_the_usual_rest(helm: Helm) -> None:
    whole = {
        "name": "fast",
        "default": True,
        "parameters": {"fsType": "xfs", "pool": "fast", "thick": "true"},
        "mountOptions": ["noatime"],
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "Immediate",
        "allowVolumeExpansion": False,
        "provisioner": "other.example",
        "labels": {"a": "b"},
        "annotations": {"c": "d"},
    }

    objects = helm.render({"classes": [whole, {"name": "bare"}]})

    bare, fast = sorted(
        (one for one in objects if one["kind"] == "StorageClass"),
        key=lambda one: str(one["metadata"]["name"]),
    )
    assert fast["metadata"]["labels"] == {"a": "b"}
    assert fast["metadata"]["annotations"] == {
        "c": "d",
        "storageclass.kubernetes.io/is-default-class": "true",
    }
    same = ("parameters", "mountOptions", "reclaimPolicy", "volumeBindingMode")
    for key in (*same, "allowVolumeExpansion", "provisioner"):
        assert fast[key] == whole[key]
    del bare["apiVersion"], bare["kind"]
    assert bare == {
        "metadata": {"name": "bare"},
        "provisioner": "loop.flexvol",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
    }


IS_DEFAULT = "storageclass.kubernetes.io/is-default-class"


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        pytest.param({"default": True}, {IS_DEFAULT: "true"}, id="by its value"),
        pytest.param(
            {"annotations": {IS_DEFAULT: "true"}}, {IS_DEFAULT: "true"}, id="by hand alone"
        ),
        pytest.param(
            {"default": True, "annotations": {IS_DEFAULT: "true", "c": "d"}},
            {IS_DEFAULT: "true", "c": "d"},
            id="by its value and by hand",
        ),
        pytest.param(
            {"default": True, "annotations": {IS_DEFAULT: "false"}},
            {IS_DEFAULT: "true"},
            id="by its value, and not by hand",
        ),
        pytest.param({"default": False}, None, id="not at all"),
    ],
)
def test_a_class_says_once_whether_it_is_the_default(
    each_helm: Helm, one: Object, expected: Object | None
) -> None:
    rendered = each_helm.run(
        *("template", "flexvol", CHART, "--show-only", "templates/storageclasses.yaml"),
        *("--set-json", f"classes={json.dumps([{'name': 'fast', **one}])}"),
    ).stdout

    (found,) = [
        each
        for each in yaml.safe_load_all(rendered)
        if each is not None and each["kind"] == "StorageClass"
    ]
    assert found["metadata"].get("annotations") == expected
    assert rendered.count(IS_DEFAULT) == len([key for key in expected or {} if key == IS_DEFAULT])


TAKEN = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"


def with_classes(*classes: Object) -> Object:
    """The value of a driver that has these classes."""
    return {"mode": "node", "classes": list(classes)}


DOUBLED = [
    pytest.param(
        {"classes": [{"name": "fast"}, {"name": "slow"}, {"name": "fast"}]},
        "The value classes has the name fast twice.",
        id="two classes of one name",
    ),
    pytest.param(
        {"pools": [{"name": "fast"}, {"name": "fast", "reserve": "5%"}]},
        "The value pools has the name fast twice.",
        id="two pools of one name",
    ),
    pytest.param(
        {"classes": [{"name": "a", "default": True}, {"name": "b", "default": True}]},
        "The values make a and b default classes.",
        id="two default classes",
    ),
    pytest.param(
        {
            "classes": [
                {"name": "a", "default": True},
                {"name": "b", "annotations": {IS_DEFAULT: "true"}},
            ]
        },
        "The values make a and b default classes.",
        id="two default classes, one by hand",
    ),
    pytest.param(
        {"classes": [{"name": "fast"}], "drivers": {"quota": with_classes({"name": "fast"})}},
        "The value classes, with those of drivers, has the name fast twice.",
        id="a class of a driver with the name of one of the loop driver",
    ),
    pytest.param(
        {
            "drivers": {
                "archive": with_classes({"name": "fast"}),
                "quota": with_classes({"name": "fast"}),
            }
        },
        "The value classes, with those of drivers, has the name fast twice.",
        id="two drivers with classes of one name",
    ),
    pytest.param(
        {
            "classes": [{"name": "a", "default": True}],
            "drivers": {"quota": with_classes({"name": "b", "default": True})},
        },
        "The values make a and b default classes.",
        id="two default classes, one of a driver",
    ),
    pytest.param(
        {
            "drivers": {
                "archive": with_classes({"name": "a", "default": True}),
                "quota": with_classes({"name": "b", "annotations": {IS_DEFAULT: "true"}}),
            }
        },
        "The values make a and b default classes.",
        id="two default classes of two drivers, one by hand",
    ),
    pytest.param(
        {"drivers": {"quota": {"mode": "node", "volumes": [{"name": "host", "emptyDir": {}}]}}},
        "The value drivers.quota.volumes has the name host twice.",
        id="a volume of a driver with the name of one of the chart's",
    ),
    pytest.param(
        {
            "drivers": {
                "quota": {"mode": "shared", "volumeMounts": [{"name": "x", "mountPath": "/tmp"}]}
            }
        },
        "The value drivers.quota.volumeMounts has the mountPath /tmp twice.",
        id="a volume of a driver where the chart has one",
    ),
    pytest.param(
        {"shared.enabled": True, "shared.volumes": [{"name": "tmp", "emptyDir": {}}]},
        "The value shared.volumes has the name tmp twice.",
        id="a volume with the name of one of the chart's",
    ),
    pytest.param(
        {"shared.enabled": True, "shared.volumeMounts": [{"name": "x", "mountPath": TAKEN}]},
        f"The value shared.volumeMounts has the mountPath {TAKEN} twice.",
        id="a volume where the chart has the drivers",
    ),
]


@pytest.mark.parametrize(("values", "sentence"), DOUBLED)
def test_what_is_there_twice_is_refused_before_anything_is_changed(
    each_helm: Helm, values: Object, sentence: str
) -> None:
    assert sentence in each_helm.refusal(values)


def test_an_argument_may_be_any_that_the_chart_does_not_give_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        settings.parse(["--help"], "")
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out.partition("What a person")[0]))
    given = {"--node", "--cluster", "--identity", "--pod", "--health-port"}
    no_use = {"--help", "--version", "--kubeconfig", "--namespace"}

    allowed = re.findall("[a-z-]{2,}", SCHEMA["definitions"]["arguments"]["items"]["pattern"])

    assert {f"--{name.lstrip('-')}" for name in allowed if name.strip("-")} == (
        options - given - no_use
    )


def test_each_pool_is_made_after_the_driver_is_installed_and_the_others_do_not_wait_for_it(
    helm: Helm,
) -> None:
    pools = [{"name": "fast", "reserve": "5%", "overcommit": 1.5}, {"name": "slow"}]

    pod = pod_of(helm.render({"pools": pools}), "flexvol-node")

    assert [one["name"] for one in pod["initContainers"]] == ["install", "pool-fast", "pool-slow"]
    fast, slow = (container_of(pod, f"pool-{name}")["command"] for name in ("fast", "slow"))
    assert fast[3:] == ["fast", "--reserve=5%", "--overcommit=1.5"]
    assert slow[3:] == ["slow", "--reserve=20%", "--overcommit=1"]


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 8:1 /var/lib/flexvol /var/lib/flexvol rw,relatime - ext4 /dev/sda1 rw
"""
FAST = "/var/lib/flexvol/fast"
DISKS = [
    pytest.param(f"41 40 8:16 / {FAST} rw - xfs /dev/sdb rw\n", True, id="its disk is mounted"),
    pytest.param("", False, id="its disk is not mounted"),
    pytest.param(
        f"41 40 8:16 / {FAST}er rw - xfs /dev/sdb rw\n",
        False,
        id="a disk is mounted at a longer name",
    ),
    pytest.param(
        f"41 40 8:1 {FAST} /var/lib/flexvol/slow rw - ext4 /dev/sda1 rw\n",
        False,
        id="its directory is mounted at another name",
    ),
]


@pytest.mark.parametrize(("mount", "is_made"), DISKS)
def test_a_pool_is_made_where_the_kernel_lists_a_mount_and_no_program_looks_at_its_disk(
    helm: Helm, tmp_path: Path, mount: str, is_made: bool
) -> None:
    """The PATH holds no program that could wait for a disk that hangs."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "grep").symlink_to(str(shutil.which("grep")))
    (programs / "flexvol").write_text('#!/bin/sh\necho "made: $@"\n')
    (programs / "flexvol").chmod(0o755)
    (tmp_path / "mountinfo").write_text(MOUNTS + mount)
    pod = pod_of(helm.render({"pools": [{"name": "fast"}]}), "flexvol-node")
    _, option, script, *words = container_of(pod, "pool-fast")["command"]
    assert "/proc/self/mountinfo" in script
    script = script.replace("/proc/self/mountinfo", str(tmp_path / "mountinfo"))

    done = subprocess.run(
        ["/bin/sh", option, script, *words],
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    made = "made: pool init --driver=loop fast --unless-removed --reserve=20% --overcommit=1"
    refused = "no disk is mounted at /var/lib/flexvol/fast, so this node gets no pool fast"
    assert done.stdout.strip() == (made if is_made else refused)
    assert done.stderr == ""


def served_by(objects: list[Object], role: str, what: str = "provisioners") -> list[str]:
    """The names that a ClusterRole lets an account serve."""
    (found,) = [
        one for one in objects if one["kind"] == "ClusterRole" and one["metadata"]["name"] == role
    ]
    (rule,) = [
        one for one in found["rules"] if one["resources"] == [what] and one["verbs"] == ["serve"]
    ]
    return list(rule["resourceNames"])


def test_the_nodes_serve_the_provisioners_of_their_value(helm: Helm) -> None:
    provisioners = ["loop.flexvol", "directory.flexvol"]

    objects = helm.render({"provisioners": provisioners})

    assert served_by(objects, "flexvol-served") == provisioners


def test_each_account_serves_the_provisioners_of_its_pods_arguments(helm: Helm) -> None:
    more = {"extraArgs": ["--workers=2", "--driver=example/films"]}
    drivers = {
        "archive": {"mode": "shared", **more},
        "quota": {"mode": "node", **more},
        "tapes": {"mode": "shared"},
    }
    values = {"shared.enabled": True, "shared.driver": "example/array", "drivers": drivers}

    objects = helm.render({**values, "shared.extraArgs": ["--driver=example/disks"]})

    assert served_by(objects, "flexvol-shared") == ["array.example", "disks.example"]
    both = ["archive.flexvol", "films.example"]
    assert served_by(objects, "flexvol-driver-archive") == both
    assert served_by(objects, "flexvol-driver-tapes") == ["tapes.flexvol"]
    assert served_by(objects, "flexvol-driver-quota-served") == ["films.example", "quota.flexvol"]
    for name, provisioners in (("archive", both), ("tapes", ["tapes.flexvol"])):
        (role,) = [one for one in objects if one["kind"] == "Role"
                   and one["metadata"]["name"] == f"flexvol-driver-{name}"]  # fmt: skip
        (lease,) = role["rules"][0]["resourceNames"]
        assert lease == "-".join([modes.SHARED_LEASE, *provisioners])


def test_another_identity_of_shared_mode_has_the_rights_to_its_own_secrets(helm: Helm) -> None:
    objects = helm.render({"shared.enabled": True, "shared.identity": "array"})

    args = container_of(pod_of(objects, "flexvol-shared"))["args"]
    (role,) = [one for one in objects if one["metadata"]["name"] == "flexvol-shared"
               and one["kind"] == "ClusterRole"]  # fmt: skip
    (rule,) = [one for one in role["rules"] if one["resources"] == ["identities"]]
    assert "--identity=array" in args
    assert rule["resourceNames"] == ["array"]


def test_storage_of_shared_mode_is_in_its_pods(helm: Helm) -> None:
    volume = {"name": "storage", "nfs": {"server": "storage.example", "path": "/"}}
    mount = {"name": "storage", "mountPath": "/srv/storage"}
    values = {"shared.volumes": [volume], "shared.volumeMounts": [mount]}

    pod = pod_of(helm.render({"shared.enabled": True, **values}), "flexvol-shared")

    assert pod["volumes"][-1] == volume
    assert container_of(pod)["volumeMounts"][-1] == mount


PLAIN = "stand-in"


def named(word: str) -> Object:
    """Values that have the word wherever a text of one's own may stand by itself."""
    own = {"nodeSelector": {"pool": word}, "podAnnotations": {"note": word}}
    workloads = {
        f"{name}.{key}": value
        for name in ("node", "cluster", "shared")
        for key, value in own.items()
    }
    return {
        **ALL_ON,
        **workloads,
        "namespace.create": True,
        "driverDirectory.distribution": "openshift",
        "image.repository": word,
        "image.tag": "20",
        "image.pullSecrets": [word],
        "classes": [
            {
                "name": word,
                "provisioner": word,
                "parameters": {"pool": word},
                "mountOptions": [word],
                "labels": {"note": word},
            }
        ],
        "pools": [{"name": word}],
        "provisioners": [word],
        "drivers": {
            "quota": {
                "mode": "node",
                "classes": [{"name": f"{word}-quota", "provisioner": word}],
                "capabilities": [word],
                "volumes": [{"name": word}],
                "volumeMounts": [{"name": word, "mountPath": f"/{word}"}],
            }
        },
        "priorityClass.name": word,
        "cluster.priorityClassName": word,
        "shared.priorityClassName": word,
        "shared.identity": word,
        "monitoring.podMonitor.labels": {"release": word},
    }


def with_word(tree: Any, word: str) -> Any:
    """What was rendered for the plain word, with another word in its place."""
    if isinstance(tree, dict):
        return {key: with_word(value, word) for key, value in tree.items()}
    if isinstance(tree, list):
        return [with_word(value, word) for value in tree]
    return tree.replace(PLAIN, word) if isinstance(tree, str) else tree


@pytest.mark.parametrize(
    "word",
    [
        pytest.param("1", id="a number"),
        pytest.param("0x1f", id="a hexadecimal number"),
        pytest.param("null", id="YAML's word for nothing"),
        pytest.param("on", id="one of YAML's words for true"),
    ],
)
def test_a_name_that_yaml_would_not_read_as_text_stays_text(each_helm: Helm, word: str) -> None:
    plain = each_helm.render(named(PLAIN), "--namespace", PLAIN)

    found = each_helm.render(named(word), "--namespace", word)

    assert charts.by_name(found) == charts.by_name(with_word(plain, word))


POLICIES = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
BY_VERSION = [
    pytest.param("auto", "1.37.0", True, id="auto has them where Kubernetes has them"),
    pytest.param("auto", "1.30.0", True, id="auto has them from 1.30 on"),
    pytest.param("auto", "1.30.2-gke.1", True, id="auto understands a vendor's version"),
    pytest.param("auto", "1.29.9", False, id="auto has none before 1.30"),
    pytest.param("always", "1.29.9", True, id="always is always"),
    pytest.param("never", "1.37.0", False, id="never is never"),
]


@pytest.mark.parametrize(("install", "version", "expected"), BY_VERSION)
def test_the_policies_are_there_by_value_and_version(
    helm: Helm, install: str, version: str, expected: bool
) -> None:
    values = {**ALL_ON, "snapshots.enabled": expected, "policies.install": install}

    objects = helm.render(values, "--kube-version", version)

    kinds = {one["kind"] for one in objects}
    assert kinds & POLICIES == (POLICIES if expected else set())


@pytest.mark.parametrize(
    ("install", "version"),
    [
        pytest.param("auto", "1.29.9", id="before Kubernetes 1.30"),
        pytest.param("never", "1.37.0", id="where a value leaves the policies out"),
    ],
)
def test_without_policies_no_account_may_run_programs_in_the_pods(
    helm: Helm, install: str, version: str
) -> None:
    values = {"snapshots.enabled": True, "policies.install": install}

    refusal = helm.refusal(values, "--kube-version", version)

    assert "snapshots.enabled needs the admission policies" in refusal


def test_an_older_kubernetes_than_flexvol_needs_is_refused(helm: Helm) -> None:
    done = helm.run("template", "flexvol", CHART, "--kube-version", "1.23.0")

    assert done.returncode != 0
    assert "chart requires kubeVersion: >=1.24.0-0" in done.stderr


def test_the_pod_monitor_has_what_its_value_says(helm: Helm) -> None:
    values = {"labels": {"release": "prometheus"}, "interval": "30s"}

    objects = helm.render({"monitoring.podMonitor": {"enabled": True, **values}})

    (monitor,) = [one for one in objects if one["kind"] == "PodMonitor"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["interval"] == "30s"
    assert monitor["metadata"]["labels"] == values["labels"]


def test_the_rules_and_the_dashboard_are_the_files_of_monitoring(helm: Helm) -> None:
    monitoring = DEPLOY / "monitoring"
    labels = {"release": "prometheus"}
    values = {
        "monitoring.rules": {"enabled": True, "labels": labels},
        "monitoring.dashboard.enabled": True,
    }

    objects = {one["kind"]: one for one in helm.render(values)}

    rules, dashboard = objects["PrometheusRule"], objects["ConfigMap"]
    assert rules["spec"] == yaml.safe_load((monitoring / "alerts.yaml").read_text())
    assert rules["metadata"]["labels"] == labels
    assert json.loads(dashboard["data"]["flexvol.json"]) == json.loads(
        (monitoring / "dashboard.json").read_text()
    )
    assert dashboard["metadata"]["labels"] == {"grafana_dashboard": "1"}


def test_the_chart_has_no_file_of_deploy_a_second_time() -> None:
    """Helm reads what a link in a chart leads to, and packs that."""
    files = sorted((CHART / "files").iterdir())

    assert files
    assert [file.name for file in files if not file.is_symlink()] == []
    for file in files:
        assert file.resolve(strict=True).is_relative_to(DEPLOY)
        assert not file.readlink().is_absolute()


def test_a_packaged_chart_renders_the_same(each_helm: Helm, tmp_path: Path) -> None:
    done = each_helm.run("package", CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    package = tmp_path / f"flexvol-{VERSION}.tgz"

    with tarfile.open(package) as archive:
        members = archive.getmembers()

    assert [member.name for member in members if not member.isfile()] == []
    assert each_helm.render(ALL_ON, chart=package) == each_helm.render(ALL_ON)


NEEDED = [
    pytest.param({}, "policy.yaml", id="the nodes' policies"),
    pytest.param({"shared.enabled": True}, "policy-shared.yaml", id="those of shared mode"),
    pytest.param({"secrets.enabled": True}, "policy-secrets.yaml", id="those for Secrets"),
    pytest.param({"snapshots.enabled": True}, "policy-snapshots.yaml", id="those for snapshots"),
    pytest.param({"monitoring.rules.enabled": True}, "alerts.yaml", id="the alerts"),
    pytest.param({"monitoring.dashboard.enabled": True}, "dashboard.json", id="the dashboard"),
]


@pytest.mark.parametrize("link", [None, "../../policy.yaml"], ids=["is missing", "is a bare name"])
@pytest.mark.parametrize(("values", "name"), NEEDED)
def test_a_chart_without_one_of_its_files_is_refused(
    helm: Helm, tmp_path: Path, values: Object, name: str, link: str | None
) -> None:
    """A checkout on a system without links has a file with the name that the link leads to."""
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    (chart / "files" / name).unlink()
    if link:
        (chart / "files" / name).write_text(link)

    refusal = helm.refusal(values, chart=chart)

    assert f"This chart is not whole: files/{name} holds no text." in refusal


LINTED = [
    pytest.param({}, id="without values"),
    pytest.param({**ALL_ON, "pools": [{"name": "fast"}]}, id="with all that is off by default"),
    pytest.param({"policies.install": "never", "classes": []}, id="with as little as can be"),
]


@pytest.mark.parametrize("values", LINTED)
def test_helm_lint_finds_nothing(each_helm: Helm, tmp_path: Path, values: dict[str, Any]) -> None:
    nested: Object = {}
    for name, value in values.items():
        *above, last = name.split(".")
        inner = nested
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = value
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(nested))

    done = each_helm.run("lint", "--strict", CHART, "--values", tmp_path / "values.yaml")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 chart(s) failed" in done.stdout


# The value, and words that the refusal has: where the value is, and what is wrong.
REFUSED = [
    pytest.param("imge", {"tag": "1"}, ("'imge' not allowed",), id="a mistyped value"),
    pytest.param(
        "node.extraArg", ["--workers=2"], ("/node", "'extraArg' not allowed"), id="a mistyped part"
    ),
    pytest.param(
        "driverDirectory.distribution",
        "eks",
        ("/driverDirectory/distribution", "'default', 'aks', 'flatcar'"),
        id="an unknown distribution, with those that are known",
    ),
    pytest.param(
        "driverDirectory.path",
        "usr/libexec",
        ("/driverDirectory/path", "'usr/libexec' does not match pattern"),
        id="a directory that is no absolute path",
    ),
    pytest.param(
        "image.pullPolicy",
        "always",
        ("/image/pullPolicy", "'Always', 'IfNotPresent', 'Never'"),
        id="a pull policy in lower case",
    ),
    pytest.param(
        "image.digest",
        "sha256:0123",
        ("/image/digest", "'sha256:0123' does not match pattern"),
        id="a digest that is cut",
    ),
    pytest.param("image.tag", 0.1, ("/image/tag", "got number, want string"), id="a bare version"),
    pytest.param(
        "policies.install",
        True,
        ("/policies/install", "'auto', 'always', 'never'"),
        id="policies as a boolean",
    ),
    pytest.param(
        "classes",
        [{"name": "fast", "parameters": {"thick": True}}],
        ("/classes/0/parameters/thick", "got boolean, want string"),
        id="a class parameter that is no string",
    ),
    pytest.param(
        "classes",
        [{"name": "fast", "fsType": "xfs"}],
        ("/classes/0", "'fsType' not allowed"),
        id="a class parameter beside the parameters",
    ),
    pytest.param(
        "classes", [{"parameters": {}}], ("/classes/0", "missing property 'name'"),
        id="a class without a name",
    ),
    pytest.param(
        "drivers", {"quota": {}}, ("/drivers/quota", "missing property 'mode'"),
        id="a driver without a mode",
    ),
    pytest.param(
        "drivers", {"my-quota": {"mode": "node"}}, ("'my-quota' does not match pattern",),
        id="a driver that Python cannot name",
    ),
    pytest.param(
        "drivers", {"loop": {"mode": "node"}}, ("invalid propertyName 'loop'", "'not' failed"),
        id="a driver with the name of the driver that is there",
    ),
    pytest.param(
        "pools", [{"name": "default"}], ("/pools/0/name",), id="the pool that each node has"
    ),
    pytest.param(
        "pools",
        [{"name": "fast", "reserve": "5 GiB"}],
        ("/pools/0/reserve", "'5 GiB' does not match pattern"),
        id="a reserve in other units",
    ),
    pytest.param(
        "pools",
        [{"name": "fast", "overcommit": 0}],
        ("/pools/0/overcommit", "got 0, want 0.1"),
        id="a pool that may promise nothing",
    ),
    pytest.param(
        "shared.driver",
        "shared",
        ("/shared/driver", "'shared' does not match pattern"),
        id="a driver without its vendor",
    ),
    pytest.param(
        "shared.identity",
        "array #2",
        ("/shared/identity", "'array #2' does not match pattern"),
        id="an identity with a space",
    ),
    pytest.param(
        "cluster.replicas", 0, ("/cluster/replicas", "got 0, want 1"), id="no replica at all"
    ),
    pytest.param(
        "node.extraArgs",
        ["log-format=json"],
        ("/node/extraArgs/0", "'log-format=json' does not match pattern"),
        id="an argument without its dashes",
    ),
    pytest.param(
        "node.extraArgs",
        ["--node=other"],
        ("/node/extraArgs/0", "'--node=other' does not match pattern"),
        id="an argument that the chart gives",
    ),
    pytest.param(
        "node.extraArgs",
        ["--workers", "2"],
        ("/node/extraArgs/0", "'--workers' does not match pattern"),
        id="an argument in two words",
    ),
    pytest.param(
        "cluster.extraArgs",
        ["--workers=2", "--workers=2"],
        ("/cluster/extraArgs", "items at 0 and 1 are equal"),
        id="an argument twice",
    ),
    pytest.param(
        "node.resources.limits",
        {"memory": "-512Mi"},
        ("/node/resources/limits/memory", "'-512Mi' does not match pattern"),
        id="a negative limit",
    ),
    pytest.param(
        "node.resources.requests",
        {"cpu": -1},
        ("/node/resources/requests/cpu", "got -1, want 0"),
        id="a negative request that is a number",
    ),
    pytest.param(
        "shared.resources.limits",
        {"memory": "512 Mi"},
        ("/shared/resources/limits/memory", "does not match pattern"),
        id="a limit in other words",
    ),
    pytest.param(
        "node.resources.limits",
        {"two words": "1"},
        ("'two words' does not match pattern",),
        id="a resource that has no name of one",
    ),
    pytest.param(
        "node.tolerations",
        [{"keys": "storage"}],
        ("/node/tolerations/0", "'keys' not allowed"),
        id="a mistyped part of a toleration",
    ),
    pytest.param(
        "classes",
        [{"name": "fast", "allowedTopologies": [{"matchLabels": {}}]}],
        ("/classes/0/allowedTopologies/0",),
        id="a mistyped part of a topology",
    ),
    pytest.param(
        "node.nodeSelector",
        {"storage": "a b"},
        ("/node/nodeSelector/storage", "'a b' does not match pattern"),
        id="a label that no node can have",
    ),
    pytest.param(
        "node.podAnnotations",
        {"a: b\nc": "d"},
        ("does not match pattern",),
        id="an annotation whose name is of two lines",
    ),
    pytest.param(
        "image.repository",
        "registry.example/flexvol:1.0",
        ("/image/repository", "does not match pattern"),
        id="an image that has its tag already",
    ),
    pytest.param(
        "driverDirectory.path",
        "/opt/../etc",
        ("/driverDirectory/path",),
        id="a directory above itself",
    ),
    pytest.param(
        "shared.driver",
        "../loop",
        ("/shared/driver", "'../loop' does not match pattern"),
        id="a driver that is a path",
    ),
    pytest.param(
        "provisioners",
        ["loop.flexvol", "loop.flexvol"],
        ("/provisioners", "items at 0 and 1 are equal"),
        id="a provisioner twice",
    ),
    pytest.param(
        "shared.volumes",
        [{"emptyDir": {}}],
        ("/shared/volumes/0", "missing property 'name'"),
        id="a volume without a name",
    ),
    pytest.param(
        "monitoring.podMonitor.interval",
        "30s30s",
        ("/monitoring/podMonitor/interval", "'30s30s' does not match pattern"),
        id="an interval twice",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "words"), REFUSED)
def test_a_wrong_value_is_refused_and_named(
    helm: Helm, name: str, value: Any, words: tuple[str, ...]
) -> None:
    refusal = helm.refusal({name: value})

    assert "values don't meet the specifications of the schema" in refusal
    for word in words:
        assert word in refusal


def test_the_chart_and_new_driver_refuse_the_same_names_of_drivers() -> None:
    names = SCHEMA["properties"]["drivers"]["propertyNames"]

    assert set(names["not"]["enum"]) == new_driver.TAKEN


def test_the_page_shows_a_refusal_as_helm_words_it(helm: Helm) -> None:
    (shown,) = documents.blocks("text", ROOT / "docs/chart.md")

    assert shown.strip() in helm.refusal({"driverDirectory.distribution": "eks"})


def test_a_chart_that_has_this_one_may_have_global_values(helm: Helm) -> None:
    assert helm.render({"global": {"imageRegistry": "registry.example"}})


def schema_names(schema: Object, above: str = "") -> set[str]:
    """The names of the values that the schema knows, down to those that values.yaml has."""
    names = set()
    for name, inner in schema.get("properties", {}).items():
        path = f"{above}{name}"
        while "$ref" in inner:
            inner = SCHEMA["definitions"][inner["$ref"].rsplit("/")[-1]]
        below = schema_names(inner, path + ".")
        is_whole = path in {value.name for value in charts.values()}
        names |= {path} if is_whole or not below else below
    return names


SCHEMA: Object = json.loads((CHART / "values.schema.json").read_text())


def test_the_schema_knows_the_values_that_there_are_and_no_others() -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())

    assert schema_names(SCHEMA) - {"global"} == set(charts.leaves(defaults))


def test_each_value_has_a_comment_of_whole_sentences() -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    purposes = {value.name: value.purpose for value in charts.values()}

    assert list(charts.leaves(defaults)) == list(purposes)
    wrong = [text for text in purposes.values() if not re.fullmatch(r"[`A-Z].*\.", text)]
    assert wrong == []


def test_the_page_has_the_table_of_the_values() -> None:
    page = (ROOT / "docs/chart.md").read_text()
    table = "\n".join(charts.table())

    assert table in page, f"put this table into docs/chart.md:\n{table}"
