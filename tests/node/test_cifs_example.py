"""examples/cifs.py on a node, as far as no server is needed: the driver in the place of the drivers
juliohm/cifs and fstab/cifs, and what a failure tells. tests/vm/test_network_drivers.py mounts."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from bundle import pack
from tests.node.nodes import Node
from tests.precompiled import precompile
from tests.sources import ROOT

PLUGINS = "/var/lib/kubelet/plugins-exec"
POD = "/var/lib/kubelet/pods/web/volumes/juliohm~cifs/data"
PASSWORD = "secret, and long enough to be found"
NOWHERE = "no-such-host.invalid"


@pytest.fixture(scope="session")
def executable(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """dist/flexvol, built with the example."""
    target = tmp_path_factory.mktemp("cifs") / "flexvol"
    pack.pack(target, [ROOT / "examples/cifs.py"])
    precompile(target)
    return [str(target)]


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    node = make_node()
    node.path(POD).mkdir(parents=True)
    return node


def options(**own: str) -> str:
    """What kubelet passes to mount."""
    secret = {"username": "web", "password": PASSWORD}
    encoded = {
        f"kubernetes.io/secret/{key}": base64.b64encode(value.encode()).decode()
        for key, value in secret.items()
    }
    return json.dumps({"kubernetes.io/pvOrVolumeName": "data", **encoded, **own})


def call(node: Node, *line: str, **keywords: Any) -> dict[str, Any]:
    done = node.enter(*line, **keywords)
    assert (done.returncode, done.stderr) == (0, b""), done
    reply: dict[str, Any] = json.loads(done.stdout)
    return reply


@pytest.mark.parametrize("vendor", ["juliohm", "fstab"])
def test_the_driver_is_installed_in_the_place_of_another(node: Node, vendor: str) -> None:
    node.command("install", PLUGINS, "--driver", "cifs", "--vendor", vendor)

    installed = f"{PLUGINS}/{vendor}~cifs/cifs"
    assert [path.name for path in node.path(PLUGINS).iterdir()] == [f"{vendor}~cifs"]
    assert call(node, installed, "init")["capabilities"]["attach"] is False
    without_secret = json.dumps({"kubernetes.io/pvOrVolumeName": "data", "networkPath": "//nas/a"})
    refusal = call(node, installed, "mount", POD, without_secret)
    assert "there is no user name: name a Secret" in refusal["message"]
    assert call(node, installed, "unmount", POD)["status"] == "Success"


def test_a_failure_tells_the_share_and_not_the_password(node: Node) -> None:
    message = node.fails("Unavailable", "mount", POD, options(server=NOWHERE, share="/data"))

    assert f"the server '{NOWHERE}' of '//{NOWHERE}/data' has no address" in message
    log = node.path("/var/log/flexvol/cifs.log").read_text()
    assert "has no address" in log
    for hidden in (PASSWORD, base64.b64encode(PASSWORD.encode()).decode()):
        assert hidden not in log + message


def test_a_path_may_have_any_letters_whatever_the_locale(
    node: Node, request: pytest.FixtureRequest
) -> None:
    python = request.config.getoption("--python") or sys.executable
    line = [str(python), "-I", "-S", *node.executable, "mount", POD]
    sent = options(networkPath=f"//{NOWHERE}/SIZE").replace("SIZE", "Größe")

    reply = call(node, *line, sent, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"})

    assert f"'//{NOWHERE}/Gr\\xf6\\xdfe' has no address" in reply["message"]


def test_a_mount_of_somebody_else_is_left_alone(node: Node) -> None:
    assert node.enter("mount", "-t", "tmpfs", "none", POD).returncode == 0

    message = node.fails("InvalidArgument", "unmount", POD)

    assert "it is left alone" in message
    assert b"tmpfs" in node.enter("findmnt", "-n", "-o", "FSTYPE", POD).stdout
