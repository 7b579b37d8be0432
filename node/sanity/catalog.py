"""All checks, in the order in which they are judged."""

from node.sanity import (
    answers,
    attach_checks,
    failures,
    mounts_checks,
    provisioner_checks,
    repeats,
    secrets_checks,
    surroundings,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List

    from node.sanity.check import Check

TOPICS = (
    answers,
    attach_checks,
    mounts_checks,
    failures,
    repeats,
    secrets_checks,
    surroundings,
    provisioner_checks,
)
CHECKS: "List[Check]" = [check for topic in TOPICS for check in topic.TOPIC.checks]
_BY_NAME: "Dict[str, Check]" = {check.name: check for check in CHECKS}


def named(name: str) -> "Check":
    """The check of that name. Raises KeyError if there is no such check."""
    return _BY_NAME[name]
