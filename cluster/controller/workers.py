"""The threads that work on claims and PVs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from cluster.controller import cluster, retry, waiting_claims
from cluster.controller.lifecycle import Lifecycle
from cluster.controller.workqueue import Key, WorkQueue
from shared import protocol

_STAND_BY_SECONDS = 0.2
Takes = Callable[[Key], bool]
_log = logging.getLogger("provisioner")


class Workers:
    """Some of them make volumes, and some do all the rest; most do both."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        work: WorkQueue[Key],
        syncs: Mapping[str, Callable[[Key], None]],
    ) -> None:
        """syncs: what is done with a key, by its kind."""
        self._lifecycle = lifecycle
        self._work = work
        self._syncs = syncs
        self._lacking: set[str] = set()  # rights, each of which is logged once
        self._threads = [
            threading.Thread(target=self._run, name=f"worker-{number}", args=(takes,))
            for number, takes in enumerate(what_workers_take(lifecycle.settings.workers))
        ]

    def start(self) -> None:
        """They begin to work when everything was listed."""
        for thread in self._threads:
            self._lifecycle.keep_thread(thread)

    def finish(self) -> None:
        """Returns when what is in hand is finished. Nothing else is begun."""
        self._work.stop()
        self._lifecycle.all_listed.set()
        for thread in self._threads:
            thread.join()

    def back(self) -> None:
        """The API server answers again. While it starts it may have refused what it allows now."""
        self._lacking.clear()
        self._work.hurry()

    def _run(self, takes: Takes) -> None:
        self._lifecycle.all_listed.wait()  # Half a picture would lead to wrong decisions.
        while True:
            key = self._work.get(takes)
            if key is None or not self._may_work():
                return
            self._work_on(key)

    def _may_work(self) -> bool:
        """Waits until this instance is the elected one; False if the process ends before."""
        while not self._lifecycle.may_work():
            if self._lifecycle.stopping.wait(_STAND_BY_SECONDS):
                return False
        return True

    def _work_on(self, key: Key) -> None:
        kind, name = key
        try:
            self._syncs[kind](key)
        except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
            lacking = getattr(error, "lacking", "")
            if not lacking or lacking not in self._lacking:
                _log.warning("%s %s: %s", kind, name, error)
            self._lacking |= {lacking}
            asked_seconds = getattr(error, "retry_after_seconds", 0.0)
            self._work.failed(key, retry.GROWING, asked_seconds)
        except Exception:
            _log.exception("bug while working on %s %s", kind, name)
            self._work.failed(key, retry.GROWING)


def what_workers_take(makers: int) -> list[Takes]:
    """For each worker, which keys it works on.

    Making a volume may take minutes, and so may deleting one. One of the makers does nothing else,
    and one worker more makes none, so that neither kind of work waits for the other.

    makers: how many may make volumes."""
    takers: list[Takes] = [_takes_claims]
    takers += [_takes_all] * (makers - 1)
    takers.append(_takes_no_claim)
    return takers


def _takes_all(key: Key) -> bool:
    return True


def _takes_claims(key: Key) -> bool:
    return key[0] == waiting_claims.KIND


def _takes_no_claim(key: Key) -> bool:
    return not _takes_claims(key)
