"""What the command line means, and what is wrong with it."""

from __future__ import annotations

import pytest

from cluster.controller import settings


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(
            ["--node=a", "--driver=loop"],
            "--driver loop: expected VENDOR/NAME",
            id="a driver without a vendor",
        ),
        pytest.param(
            ["--node=a", "--driver=../x"],
            "--driver ../x: expected VENDOR/NAME",
            id="a driver that is a path",
        ),
        pytest.param(
            [
                "--node=a",
                "--workers=0",
            ],
            "--workers 0: expected 1 or more",
            id="no workers",
        ),
        pytest.param(
            [
                "--node=a",
                "--pod=x",
            ],
            "--pod x: expected NAME/UID",
            id="a pod without a uid",
        ),
        pytest.param(
            ["--node=a", "--orphan-grace-seconds=nan"],
            "--orphan-grace-seconds nan: expected 0 or more",
            id="a time that is no number",
        ),
        pytest.param(
            ["--node=a", "--identity=b"],
            "not allowed with argument",
            id="two modes",
        ),
        pytest.param([], "is required", id="no mode"),
        pytest.param(["--node="], "the value of node is empty", id="a node without a name"),
        pytest.param(["--node", ""], "the value of node is empty", id="a node that is unset"),
        pytest.param(
            ["--identity="], "the value of identity is empty", id="an identity without a name"
        ),
        pytest.param(
            ["--node=a", "--kubeconfig="],
            "the value of kubeconfig is empty",
            id="a kubeconfig without a path",
        ),
        pytest.param(["--node=a", "--pod="], "the value of pod is empty", id="an empty pod"),
        pytest.param(
            ["--node=a", "--namespace="], "the value of namespace is empty", id="an empty namespace"
        ),
        pytest.param(
            ["--node=a", "--plugin-dir="],
            "the value of plugin-dir is empty",
            id="an empty plugin directory",
        ),
        pytest.param(
            ["--node=$(NODE_NAME)"],
            "--node '$(NODE_NAME)': no node can have that name",
            id="a variable that the pod does not have",
        ),
    ],
)
def test_bad_arguments_are_named(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        settings.parse(words, "")
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "has_cluster_duties"),
    [
        pytest.param(["--cluster"], True, id="cluster mode has the duties of no single node"),
        pytest.param(["--node=a"], False, id="node mode does not have them"),
        pytest.param(["--identity=a"], False, id="shared mode does not have them"),
    ],
)
def test_only_cluster_mode_has_the_duties_of_no_single_node(
    words: list[str], has_cluster_duties: bool
) -> None:
    assert settings.parse(words, "").has_cluster_duties == has_cluster_duties
