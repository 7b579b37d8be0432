"""All checks, in the order in which they are judged."""

from node.sanity import answers, mounts_checks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from node.sanity.check import Check

TOPICS = (answers.TOPIC, mounts_checks.TOPIC)
CHECKS = [check for topic in TOPICS for check in topic.checks]
_BY_NAME = {check.name: check for check in CHECKS}


def named(name: str) -> "Check":
    """The check of that name. Raises KeyError if there is no such check."""
    return _BY_NAME[name]
