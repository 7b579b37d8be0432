"""Judges a driver: each check in a throw-away root of its own, so that no check finds what another
one left."""

import json

from node.sanity import catalog, sandbox
from node.sanity.check import (
    ATTACH,
    FAULT,
    NOT_ASKED,
    NOT_JUDGED,
    PROVISION,
    RIGHT,
    After,
    Fault,
    NotAsked,
    NotJudged,
    Result,
)
from node.sanity.life import Life, SetupFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Iterator, Optional, Sequence, Set

    from node.sanity.check import Check
    from node.sanity.life import Request

# A check has so many calls at most, and each may take its whole time.
_CALLS_OF_A_CHECK = 30
_SETUP_FAILED = "setup failed"


class Suite:
    """The checks of one driver. settings: of each root. request: what is to be judged. begins:
    called before a check makes its calls, which may take long, with the check, its number, and how
    many checks are judged in all."""

    def __init__(
        self,
        settings: sandbox.Settings,
        request: "Request",
        begins: "Optional[Callable[[Check, int, int], None]]" = None,
    ) -> None:
        self._settings = settings
        self._request = request
        self._begins = begins
        self._results: "Dict[str, Result]" = {}
        self._count = 0

    def judge(self, names: "Sequence[str]") -> "Iterator[Result]":
        """The results of the checks of these names, or of all if there are none, one by one. Checks
        that others need are judged before, whether named or not. Raises sandbox.Impossible or
        SetupFailed."""
        wanted = [check for check in catalog.CHECKS if not names or check.name in names]
        self._count = len(_with_needed(wanted))
        for check in wanted:
            yield self._result(check)

    def take_for_right(self, names: "Sequence[str]") -> None:
        """Takes the checks that these ones need for right, instead of judging them."""
        for name in sorted(_with_needed([catalog.named(name) for name in names]) - set(names)):
            self._results[name] = Result(catalog.named(name), RIGHT, "")

    def _result(self, check: "Check") -> Result:
        if check.name not in self._results:
            self._results[check.name] = self._judged(check)
        return self._results[check.name]

    def _judged(self, check: "Check") -> Result:
        for need in check.needs:
            if need in (ATTACH, PROVISION):
                given = self._request.attach if need == ATTACH else self._request.provision
                if not given:
                    return Result(check, NOT_ASKED, "give {}".format(need))
                continue
            needed = self._result(catalog.named(need))
            if needed.verdict == RIGHT:
                continue
            if needed.verdict == NOT_ASKED:
                return Result(check, NOT_ASKED, needed.message)
            if needed.verdict == FAULT or not isinstance(need, After):
                return Result(check, NOT_JUDGED, "see {}".format(need))
        return self._in_a_root(check)

    def _in_a_root(self, check: "Check") -> Result:
        if self._begins is not None:
            self._begins(check, len(self._results) + 1, self._count)
        seconds = _CALLS_OF_A_CHECK * self._request.call_seconds
        try:
            answer = sandbox.run(self._settings, lambda inside: self._work(check, inside), seconds)
        except sandbox.LimitPassed as passed:
            return Result(check, NOT_JUDGED, str(passed))
        verdict, message = json.loads(answer.decode())
        if verdict == _SETUP_FAILED:
            raise SetupFailed(message)
        return Result(check, verdict, message)

    def _work(self, check: "Check", inside: "sandbox.Inside") -> bytes:
        """The verdict and its message. Runs in the root."""
        message = ""
        try:
            life = Life(inside, self._request)
            life.set_up()
            check.judge(life)
            verdict = RIGHT
        except Fault as fault:
            verdict = FAULT
            message = str(fault)
        except NotJudged as reason:
            verdict = NOT_JUDGED
            message = str(reason)
        except NotAsked as reason:
            verdict = NOT_ASKED
            message = str(reason)
        except SetupFailed as failure:
            verdict = _SETUP_FAILED
            message = str(failure)
        except OSError as error:
            verdict = NOT_JUDGED
            message = "a step of the check failed: {}".format(error)
        return json.dumps([verdict, message]).encode()


def _with_needed(checks: "Sequence[Check]") -> "Set[str]":
    """The names of these checks, and of all that they need."""
    names: "Set[str]" = set()
    left = list(checks)
    while left:
        check = left.pop()
        if check.name not in names:
            names.add(check.name)
            left += [catalog.named(n) for n in check.needs if n not in (ATTACH, PROVISION)]
    return names
