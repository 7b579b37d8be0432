"""Findings of a report: a sentence about what was seen, and the remedy for it. A finding without a
remedy is a remark, about something that is well."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Tuple

    Finding = Tuple[str, str]  # what was seen, and the remedy


def remark(what: str) -> "Finding":
    """Returns the finding of something that is well."""
    return what, ""


def wrong(what: str, remedy: str) -> "Finding":
    """Returns the finding of something that is wrong."""
    return what, remedy


def from_sentence(
    sentence: str, remedy: str = "see that its disk is mounted and sound"
) -> "Finding":
    """Makes a finding of a failure's sentence, which has its remedy behind a semicolon. remedy: for
    a sentence without one."""
    what, _, told_remedy = sentence.partition("; ")
    return what, told_remedy or remedy
