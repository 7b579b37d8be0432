"""What a driver lists is believed only as far as it can be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from cluster.controller import driver_replies
from node.host import filesystems
from shared import options, protocol, schemas
from tests import schema_documents


@pytest.mark.parametrize(
    ("pool", "is_odd"),
    [
        pytest.param({"freeBytes": 1}, False, id="a number"),
        pytest.param({"freeBytes": 0}, False, id="none at all"),
        pytest.param({"freeBytes": -1}, True, id="less than none"),
        pytest.param({"freeBytes": True}, True, id="a truth value"),
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


ASKED = options.Options({options.REQUEST_BYTES: "100", options.FS_TYPE: "xfs"})
MADE: dict[str, Any] = {"options": {"pool": "a"}, "capacityBytes": 100, "fsType": "xfs"}


@pytest.mark.parametrize(
    "volume",
    [
        pytest.param(MADE, id="just what was asked for"),
        pytest.param({**MADE, "capacityBytes": 101}, id="a larger one"),
        pytest.param({**MADE, "options": {}}, id="one without options"),
    ],
)
def test_a_volume_that_the_driver_made_is_used_as_it_is(volume: dict[str, Any]) -> None:
    assert driver_replies.checked_volume("flexvol/loop", volume, ASKED) == volume


def test_a_driver_that_answers_nothing_has_made_what_was_asked_for() -> None:
    expected = {"options": {}, "capacityBytes": 100, "fsType": "xfs"}

    assert driver_replies.checked_volume("flexvol/loop", None, ASKED) == expected


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        pytest.param([], "no object", id="a list"),
        pytest.param({**MADE, "options": None}, "options is not an object", id="no options"),
        pytest.param(
            {**MADE, "options": {"pool": 1}}, "options is not", id="an option of a number"
        ),
        pytest.param(
            {**MADE, "options": {"pool": "a", options.CLAIM_UID: "u9"}},
            f"the option {options.CLAIM_UID} is reserved",
            id="an option that stands for the owner",
        ),
        pytest.param(
            {**MADE, "options": {"pool": "a", "storage.k8s.io/b": "c"}},
            "the option storage.k8s.io/b is reserved",
            id="an option that the API server refuses",
        ),
        pytest.param({**MADE, "capacityBytes": 99}, "capacityBytes is 99", id="a smaller one"),
        pytest.param({**MADE, "capacityBytes": True}, "capacityBytes is True", id="a truth value"),
        pytest.param({**MADE, "capacityBytes": "100"}, "capacityBytes is '100'", id="a text"),
        pytest.param({**MADE, "capacityBytes": 100.5}, "capacityBytes is 100.5", id="a half byte"),
        pytest.param({**MADE, "fsType": None}, "fsType is not", id="no file system"),
    ],
)
def test_a_volume_that_was_not_asked_for_is_not_used(volume: Any, words: str) -> None:
    with pytest.raises(protocol.Internal, match="flexvol/loop answered provision without") as told:
        driver_replies.checked_volume("flexvol/loop", volume, ASKED)

    assert words in str(told.value)


def test_a_size_that_cannot_be_is_refused_where_nothing_was_asked_for() -> None:
    """A truth value counts as a number in Python, and true is as much as 1."""
    asked = options.Options({options.REQUEST_BYTES: "1", options.FS_TYPE: "xfs"})

    with pytest.raises(protocol.Internal, match="capacityBytes is True"):
        driver_replies.checked_volume("flexvol/loop", {**MADE, "capacityBytes": True}, asked)


@pytest.mark.parametrize(
    ("entry", "named", "words"),
    [
        pytest.param({"name": 7}, "7", "name '7'", id="a name that is a number"),
        pytest.param({"owner": None}, "None", "name 'None'", id="no name"),
        pytest.param({"name": "pvc-1", "owner": "u1"}, "pvc-1", "owner 'u1'", id="a text as owner"),
        pytest.param(
            {"name": "pvc-1", "owner": [], "sizeBytes": -1},
            "pvc-1",
            "sizeBytes '-1', owner '[]'",
            id="two of them",
        ),
    ],
)
def test_an_odd_volume_is_an_error_that_names_what_is_odd(
    entry: dict[str, Any], named: str, words: str
) -> None:
    (checked,) = driver_replies.checked_entries([entry, "no object"])

    assert checked == {"name": named, "error": f"its driver lists it with {words}"}


def test_a_list_in_another_form_has_no_entries() -> None:
    assert driver_replies.checked_entries({"name": "pvc-1"}) == []


DEFINITIONS = schemas.document()["$defs"]
ENTRIES = pytest.mark.parametrize("kind", ["volumes", "pools"])
VOLUME = DEFINITIONS["provision.reply"]["then"]["properties"]["volume"]
often = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


def schema_of(kind: str) -> dict[str, Any]:
    """The schema of the entries of that list."""
    schema: dict[str, Any] = DEFINITIONS["list.reply"]["then"]["properties"][kind]["items"]
    return schema


@ENTRIES
def test_an_entry_that_its_schema_allows_is_no_error(kind: str) -> None:
    @given(schema_documents.allowed(schema_of(kind), DEFINITIONS))
    @often
    def check(entry: dict[str, Any]) -> None:
        assert driver_replies.checked_entry(entry) == entry

    check()


@ENTRIES
def test_an_entry_that_is_an_error_is_none_that_its_schema_allows(kind: str) -> None:
    @given(schema_documents.faulty(schema_of(kind), DEFINITIONS))
    @often
    def check(entry: Any) -> None:
        if isinstance(entry, dict) and driver_replies.checked_entry(entry) != entry:
            assert schemas.errors("list.reply", {"status": "Success", kind: [entry]})

    check()


def test_a_volume_that_its_schema_allows_is_used_if_it_is_as_large_as_was_asked_for() -> None:
    asked = options.Options({options.REQUEST_BYTES: "1", options.FS_TYPE: ""})

    @given(schema_documents.allowed(VOLUME, DEFINITIONS))
    @often
    def check(volume: dict[str, Any]) -> None:
        assert driver_replies.checked_volume("flexvol/loop", volume, asked) == volume

    check()
