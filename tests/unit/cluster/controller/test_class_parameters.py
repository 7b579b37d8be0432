"""What is wrong with the parameters of a class that are the provisioner's own."""

from __future__ import annotations

import pytest

from cluster.controller import class_parameters, decide
from cluster.controller.objects import Claim, StorageClass
from shared import options
from tests.unit.cluster.controller.objects import NODE, claim, storage_class

BOTH = class_parameters.FS_TYPE_PARAMETERS


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        pytest.param({BOTH[0]: "xfs", BOTH[1]: "xfs"}, "", id="both names of fsType say the same"),
        pytest.param({BOTH[1]: "xfs"}, "", id="only CSI's name of fsType is there"),
        pytest.param(
            {BOTH[0]: "ext4", BOTH[1]: "xfs"},
            "has fsType 'ext4' and csi.storage.k8s.io/fstype 'xfs', which mean the same",
            id="the names of fsType differ",
        ),
        pytest.param({"onNodeGone": "drop"}, "it is keep or release", id="a value that none knows"),
        pytest.param({"requestBytes": "1"}, "is reserved; remove it", id="a word that is ours"),
        pytest.param({"a.k8s.io/b": "1"}, "is reserved; remove it", id="a word of Kubernetes"),
    ],
)
def test_what_is_wrong_with_a_class_is_said_with_what_can_be_done_about_a_class(
    parameters: dict[str, str], words: str
) -> None:
    given = {**storage_class(), "parameters": parameters}

    problem = class_parameters.class_problem(StorageClass(given))

    assert words in problem
    assert bool(problem) == bool(words)
    assert problem.endswith("volumes stay as they are") == bool(words)
    assert decide.on_claim(Claim(claim()), StorageClass(given), NODE).sentence == problem


def test_the_parameters_that_the_provisioner_takes_are_those_that_a_driver_names() -> None:
    ours = (*class_parameters.FS_TYPE_PARAMETERS, class_parameters.ON_NODE_GONE_PARAMETER)

    assert ours == options.PROVISIONER_PARAMETERS
