"""A check: what one trap of the contract is, and whether a driver falls into it."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List, Tuple

    from node.sanity.life import Life

# Severities, the worst first.
DATA_LOSS = "data loss"
SECURITY = "security"
BREAKS = "breaks"
LEAK = "leak"
ADVICE = "advice"
SEVERITIES = (DATA_LOSS, SECURITY, BREAKS, LEAK, ADVICE)

# Verdicts.
RIGHT = "right"
FAULT = "fault"
NOT_JUDGED = "not judged"
NOT_ASKED = "not asked"
VERDICTS = (RIGHT, FAULT, NOT_JUDGED, NOT_ASKED)

# What a check needs besides a driver that answers init.
ATTACH = "--attach"
PROVISION = "--provision"


class Fault(Exception):
    """The driver has the fault that the check looks for. The message says what the driver did, and
    in which call."""


class NotJudged(Exception):
    """The check could not come to what it looks for, because an earlier step failed, which is
    another check's to name. The message says which step."""


class NotAsked(Exception):
    """The driver has not what the check is about: a call that it does not offer, for example."""


class After(str):
    """In a check's needs: the name of a check that must not have found a fault. If that check could
    not be judged, as no mount succeeds on this machine, this check is judged nevertheless."""


class Check:
    """One check.

    name: the id. traps: numbers of chapter 8 of the contract. severity: of SEVERITIES. title: what
    is right, in a few words. seen: what a user sees of the fault. why: the explanation.
    needs: names of checks that must be right before this one can be judged, or After such a name,
    and of the options ATTACH and PROVISION.
    judge: makes the calls; raises Fault, NotJudged or NotAsked."""

    def __init__(
        self,
        name: str,
        traps: "Tuple[int, ...]",
        severity: str,
        words: "Words",
        needs: "Tuple[str, ...]",
        judge: "Callable[[Life], None]",
    ) -> None:
        self.name = name
        self.traps = traps
        self.severity = severity
        self.title = words.title
        self.seen = words.seen
        self.why = words.why
        self.needs = needs
        self.judge = judge


class Words:
    """The words about a check, for people: see Check."""

    def __init__(self, title: str, seen: str, why: str) -> None:
        self.title = title
        self.seen = seen
        self.why = why


class Result:
    """What came of one check. verdict: of VERDICTS. message: why it is not RIGHT."""

    def __init__(self, check: Check, verdict: str, message: str = "") -> None:
        self.check = check
        self.verdict = verdict
        self.message = message

    def is_fault(self) -> bool:
        """Whether this must be mended: advice need not be."""
        return self.verdict == FAULT and self.check.severity != ADVICE


class Topic:
    """The checks of one module, in the order in which they are judged."""

    def __init__(self) -> None:
        self.checks: "List[Check]" = []

    def check(
        self,
        name: str,
        severity: str,
        words: Words,
        traps: "Tuple[int, ...]" = (),
        needs: "Tuple[str, ...]" = (),
    ) -> "Callable[[Callable[[Life], None]], Callable[[Life], None]]":
        """Makes a check of the function below."""

        def register(judge: "Callable[[Life], None]") -> "Callable[[Life], None]":
            self.checks.append(Check(name, traps, severity, words, needs, judge))
            return judge

        return register
