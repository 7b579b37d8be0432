"""What the value of an option of mkfs or mount may be."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

# A kernel refuses a commit interval of more than INT_MAX ticks, of which it has 1000 a second at
# most.
COMMIT_SECONDS = 2147483
_SHIFTS = {"k": 10, "m": 20, "g": 30}


class Value:
    """What the value of an option may be. says: that as the end of a sentence. holds: whether a
    text is such a value."""

    def __init__(self, says: str, holds: "Callable[[str], bool]") -> None:
        self.says = says
        self.holds = holds


NO_VALUE = Value("takes no value", lambda text: text == "")


def whole(least: int, most: int) -> Value:
    """A whole number."""

    def holds(text: str) -> bool:
        number = _number(text)
        return number is not None and least <= number <= most

    return Value("is a whole number from {} to {}".format(least, most), holds)


def one_of(*words: str) -> Value:
    """One of the words."""
    return Value("is one of " + ", ".join(words), lambda text: text in words)


def power_of_two(least: int, most: int) -> Value:
    """A number of bytes that is a power of two, as `to_bytes` reads it."""

    def holds(text: str) -> bool:
        size = to_bytes(text)
        return least <= size <= most and size & size - 1 == 0

    says = "is a power of two from {}k to {}k, like 64k".format(least >> 10, most >> 10)
    return Value(says, holds)


def keyed(key: str, value: Value) -> Value:
    """KEY=VALUE, as mkfs has it after some options."""

    def holds(text: str) -> bool:
        beginning = key + "="
        return text.startswith(beginning) and value.holds(text[len(beginning) :])

    return Value("is {}=VALUE, which {}".format(key, value.says), holds)


def to_bytes(text: str) -> int:
    """A number of bytes, which may end in k, m or g; 0 for any other text."""
    shift = _SHIFTS.get(text[-1:], 0)
    number = _number(text[:-1] if shift else text)
    return 0 if number is None else number << shift


def _number(text: str) -> "Optional[int]":
    """A whole number as people write it; None for any other text. The kernel reads 010 as 8."""
    if not text or text.strip("0123456789"):
        return None
    if text.startswith("0") and text != "0":
        return None
    return int(text)
