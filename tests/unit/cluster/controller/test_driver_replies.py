"""What a driver lists is believed only as far as it can be."""

from __future__ import annotations

import pytest

from cluster.controller import driver_replies
from node.host import filesystems


@pytest.mark.parametrize(
    ("pool", "is_odd"),
    [
        pytest.param({"freeBytes": 1}, False, id="a number"),
        pytest.param({"freeBytes": "many"}, True, id="no number"),
        pytest.param(
            {"freeBytes": {"ext4": 1}},
            True,
            id="numbers where one is expected",
        ),
        pytest.param(
            {
                "minimumVolumeBytes": {
                    "ext4": 1,
                    "": 1,
                }
            },
            False,
            id="a least for each file system",
        ),
        pytest.param(
            {"minimumVolumeBytes": {"ext4": "1"}},
            True,
            id="a least that is no number",
        ),
        pytest.param({"minimumVolumeBytes": 5}, False, id="one least for all"),
    ],
)
def test_a_pool_that_cannot_be_as_it_is_listed_is_an_error_with_its_name(
    pool: dict[str, object], is_odd: bool
) -> None:
    checked = driver_replies.checked_entry({"name": "default", **pool})

    assert ("error" in checked) == is_odd
    assert checked["name"] == "default"


def test_what_the_loop_driver_lists_of_a_pool_is_no_error() -> None:
    """As it describes one: an odd key would make all its pools count as away."""
    least = filesystems.minimum_bytes_by_name()

    assert "error" not in driver_replies.checked_entry(
        {"name": "default", "minimumVolumeBytes": least}
    )
