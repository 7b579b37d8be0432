"""node/host/filesystems/option_values.py: what the value of an option of a file system may be."""

from __future__ import annotations

import pytest

from node.host.filesystems import option_values
from node.host.filesystems.option_values import Value, keyed, one_of, power_of_two, whole

SECONDS = whole(0, 300)
SIZE = power_of_two(16 << 10, 256 << 10)
MODE = one_of("ordered", "journal")
JOURNAL = keyed("size", whole(4, 40000))


@pytest.mark.parametrize(
    ("value", "text", "holds"),
    [
        pytest.param(SECONDS, "0", True, id="the smallest number is taken"),
        pytest.param(SECONDS, "300", True, id="the largest number is taken"),
        pytest.param(SECONDS, "301", False, id="a larger number is refused"),
        pytest.param(SECONDS, "", False, id="no number is refused"),
        pytest.param(SECONDS, "-1", False, id="a negative number is refused"),
        pytest.param(SECONDS, "010", False, id="a number that the kernel reads as 8 is refused"),
        pytest.param(SECONDS, "\u0663", False, id="a digit of another script is refused"),
        pytest.param(SIZE, "64k", True, id="a power of two is taken"),
        pytest.param(SIZE, "65536", True, id="a power of two in bytes is taken"),
        pytest.param(SIZE, "48k", False, id="a size between two powers is refused"),
        pytest.param(SIZE, "1m", False, id="a power that is too large is refused"),
        pytest.param(SIZE, "8k", False, id="a power that is too small is refused"),
        pytest.param(SIZE, "k", False, id="a unit without a number is refused"),
        pytest.param(MODE, "journal", True, id="a word of the list is taken"),
        pytest.param(MODE, "writeback", False, id="a word that is not in the list is refused"),
        pytest.param(JOURNAL, "size=64", True, id="a key with its value is taken"),
        pytest.param(JOURNAL, "size=1", False, id="a key with a wrong value is refused"),
        pytest.param(JOURNAL, "64", False, id="a value without its key is refused"),
        pytest.param(option_values.NO_VALUE, "", True, id="no value is taken"),
        pytest.param(option_values.NO_VALUE, "=", False, id="an empty value is refused"),
    ],
)
def test_a_value_is_taken_or_refused(value: Value, text: str, holds: bool) -> None:
    assert value.holds(text) == holds


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        pytest.param(SECONDS, "is a whole number from 0 to 300", id="a number says its limits"),
        pytest.param(
            SIZE, "is a power of two from 16k to 256k, like 64k", id="a size says its limits"
        ),
        pytest.param(MODE, "is one of ordered, journal", id="a list says its words"),
        pytest.param(
            JOURNAL,
            "is size=VALUE, which is a whole number from 4 to 40000",
            id="a key says what its value is",
        ),
    ],
)
def test_a_value_says_what_it_may_be(value: Value, sentence: str) -> None:
    assert value.says == sentence
