"""Deletes volumes, archives and snapshots of this node by their names, for good.

The command shows what is lost and asks first. A volume that a pod has mounted is refused. Only the
cluster knows whether a volume's claim still exists: `kubectl flexvol delete` looks there first, so
use that command where the API server answers.

The deletion itself is the callout `delete`, as the provisioner makes it, with the owner that the
volume's record names: a volume that got another owner meanwhile is left alone."""

import argparse
import binascii
import json
import os
import sys

from node import callouts
from node.commands import add_driver, own_driver
from shared import protocol
from shared.options import (
    ANY,
    AWAITED,
    CLAIM_NAME,
    CLAIM_NAMESPACE,
    CLAIM_UID,
    NO_OWNER,
    ONLY_IF_OWNER,
    VOLUME,
    nobody,
    shown_claim,
)
from shared.protocol import Busy, Internal, InvalidArgument, NotFound, NotSupported, shown
from shared.table import aligned, human_bytes_if_known, is_deletion_confirmed, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    from node.drivers import Driver

    Entry = Dict[str, Any]  # of a volume, archive or snapshot, as the driver lists it

NEEDS_ROOT = True
_HEADINGS = ("NAME", "POOL", "SIZE", "USED", "WHAT IT IS")
_SNAPSHOT = "snapshot"
_ARCHIVED = "archived"
_MOVING = "moving"
_YES = "--yes"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        nargs="+",
        metavar="NAME",
        help="a volume, archive or snapshot, as {} list names it".format(own_driver()),
    )
    parser.add_argument("--pool", metavar="NAME", help="the pool, if two pools have the name")
    parser.add_argument(_YES, action="store_true", help="do not ask")
    add_driver(parser)


def is_garbled(words: "List[str]") -> bool:
    """Whether the words after `delete`, which are no JSON object, are a program's broken callout
    and not a person's command. A program waits for an object on stdout, and has nobody to ask.

    :param words: at least one word"""
    if _YES in words or _can_be_asked():
        return False
    names = {word for word in words if protocol.is_name(word)}
    if not names:
        return True
    try:
        volumes = callouts.load(own_driver()).list().volumes or []
    except (protocol.Failure, OSError):
        return True
    return names.isdisjoint(entry.get("name") for entry in volumes)


def _can_be_asked() -> bool:
    """Whether stdin may give an answer. kubelet, the provisioner and `kubectl exec` without -i give
    their programs the null device."""
    try:
        stdin = os.fstat(0)
        nothing = os.stat(os.devnull)
    except OSError:
        return False
    return stdin.st_rdev != nothing.st_rdev


def run(settings: argparse.Namespace) -> int:
    driver = callouts.load(settings.driver)
    volumes = _Volumes(driver, settings.driver)
    entries = [volumes.get(name, settings.pool) for name in settings.name]
    for entry in entries:
        volumes.check(entry)
    print(aligned(_HEADINGS, [_row(entry) for entry in entries]))
    doubts = {_doubt(entry) for entry in entries} - {""}
    for doubt in sorted(doubts):
        print("\n" + printable(doubt))
    if not settings.yes and not is_deletion_confirmed():
        return 1
    return _Deletion(driver, settings.driver).run(entries)


class _Volumes:
    """What the driver lists on this node."""

    def __init__(self, driver: "Driver", called: str) -> None:
        """called: the driver's name."""
        try:
            listed = driver.list()
        except NotSupported:
            raise InvalidArgument(
                "this driver does not list its volumes; delete one by the callout: "
                "flexvol help delete"
            ) from None
        self._driver = driver
        self._called = called
        self._entries: "List[Entry]" = listed.volumes or []
        self._pools: "List[Entry]" = listed.pools or []
        # By pool and name; None until they are read.
        self._mounts: "Optional[Dict[Any, List[Entry]]]" = None

    def get(self, name: str, pool: "Optional[str]") -> "Entry":
        """Returns the only volume of that name.

        :param pool: the pool to look in; None for all pools
        :raises NotFound: if no pool that is here has the name
        :raises InvalidArgument: if several pools have the name"""
        entries = [entry for entry in self._entries if entry.get("name") == name]
        if pool is not None:
            entries = [entry for entry in entries if entry.get("pool") == pool]
        if len(entries) == 1:
            return entries[0]
        if entries:
            pools = ", ".join(sorted(str(entry.get("pool")) for entry in entries))
            raise InvalidArgument(
                "{} is in the pools {}; name one of them with --pool".format(name, pools)
            )
        parts = [
            "no volume, archive or snapshot {} is in the pools of this node; see: {} list".format(
                shown(name), self._called
            )
        ]
        for away in self._pools:
            if "error" in away:
                parts.append("{}: {}".format(away["name"], away["error"]))
        raise NotFound("; ".join(parts))

    def check(self, entry: "Entry") -> None:
        """Raises a Failure if nothing proves who owns the volume, or something still needs it."""
        name = entry["name"]
        if "owner" not in entry or not isinstance(entry.get("options"), dict):
            raise Internal(
                "{} is left alone, as its record does not tell what it is: {}".format(
                    name, entry.get("error") or "see {} list".format(self._called)
                )
            )
        if entry.get("state") == _MOVING:
            raise Busy(
                "volume {0} is being moved to node {1}, so this may be its only whole copy; "
                "end the move first: kubectl flexvol move {0} --to {1}".format(
                    name, shown(str(entry.get("movingTo")))
                )
            )
        mounts = self._mounts_of(entry)
        if mounts:
            pod = mounts[0].get("pod") or "whatever mounted it"
            raise Busy(
                "volume {} is in use, mounted at {}; it can be deleted when {} has ended".format(
                    name, mounts[0]["path"], pod
                )
            )

    def _mounts_of(self, entry: "Entry") -> "List[Entry]":
        if self._mounts is None:
            self._mounts = self._read_mounts()
        return self._mounts.get((entry.get("pool"), entry["name"]), [])

    def _read_mounts(self) -> "Dict[Any, List[Entry]]":
        """The mounts of all volumes; none if the driver does not tell them, because its `delete`
        looks for itself."""
        try:
            volumes = self._driver.operations().status().volumes or []
        except NotSupported:
            return {}
        mounts = {}
        for volume in volumes:
            mounts[volume["pool"], volume["name"]] = volume.get("mounts") or []
        return mounts


def _row(entry: "Entry") -> "List[str]":
    return [
        entry["name"],
        str(entry.get("pool") or "-"),
        human_bytes_if_known(entry.get("sizeBytes")),
        human_bytes_if_known(entry.get("usedBytes")),
        printable(_describe(entry)),
    ]


def _describe(entry: "Entry") -> str:
    """What an entry is and who owns it, for a person who is to decide about it."""
    words = "{} {}".format(_kind(entry), _owner(entry))
    if entry.get("created"):
        words += ", made {}".format(entry["created"])
    if entry.get("blank") is True:
        words += ", never mounted"
    if entry.get("error"):
        words += "; {}".format(entry["error"])
    return words


def _kind(entry: "Entry") -> str:
    if entry.get("kind") == _SNAPSHOT:
        return "snapshot of {}".format(entry.get("source"))
    if entry.get("state") == _ARCHIVED:
        return "archive of {}".format(entry.get("archiveOf"))
    return "volume"


def _owner(entry: "Entry") -> str:
    owner = entry["owner"]
    if owner is None:
        return "of no claim"
    if owner["name"] == ANY:
        return "for any claim that its PV is bound to"
    relation = "that awaits" if owner["uid"] == AWAITED else "of"
    return "{} the claim {}".format(relation, shown_claim(owner))


def _doubt(entry: "Entry") -> str:
    """Who may still have the volume; "" for an archive or a snapshot, which outlive their
    claims."""
    owner = entry["owner"]
    if owner is None or entry.get("kind") == _SNAPSHOT or entry.get("state") == _ARCHIVED:
        return ""
    if owner["name"] == ANY:
        sentence = "This node does not know whether the PV {} still exists."
        return sentence.format(entry["name"])
    return "This node does not know whether the claim {} still exists.".format(shown_claim(owner))


class _Deletion:
    """The deletion that a person has confirmed."""

    def __init__(self, driver: "Driver", driver_name: str) -> None:
        self._driver = driver
        self._driver_name = driver_name

    def run(self, entries: "List[Entry]") -> int:
        """Deletes all that can be deleted; returns the exit status."""
        status = 0
        for entry in entries:
            try:
                print(self._delete(entry), flush=True)
            except protocol.Failure as failure:
                sentence = "{} is left: {}".format(entry["name"], failure.message)
                print(sentence, file=sys.stderr)
                status = 1
        return status

    def _delete(self, entry: "Entry") -> str:
        """Deletes one volume and returns a sentence about it. Raises a Failure."""
        if entry.get("kind") == _SNAPSHOT:
            operations = self._driver.operations()
            return operations.delete_snapshot(entry["name"], entry.get("pool"))
        owner = entry["owner"]
        if owner is None or owner["uid"] == AWAITED:
            owner = self._adopt(entry)
        message = self._call("delete", entry, owner, {})
        return "{}: {}".format(entry["name"], message or "deleted")

    def _adopt(self, entry: "Entry") -> "Dict[str, str]":
        """Gives a volume that no claim owns an owner that is nobody, since `delete` demands the
        owner's uid; returns that owner. A claim that came meanwhile keeps the volume: then the call
        fails."""
        before = entry["owner"] or {}
        owner = nobody(before, binascii.hexlify(os.urandom(8)).decode())
        unchanged = {ONLY_IF_OWNER: before.get("uid") or NO_OWNER}
        self._call("adopt", entry, owner, unchanged)
        return owner

    def _call(
        self, callout: str, entry: "Entry", owner: "Dict[str, str]", more: "Dict[str, str]"
    ) -> str:
        """Makes a callout as the provisioner makes it, and returns its message.

        :param more: further options of the callout
        :raises Failure: the callout's own"""
        options = dict(entry["options"], **more)
        options[VOLUME] = entry["name"]
        options[CLAIM_NAMESPACE] = owner["namespace"]
        options[CLAIM_NAME] = owner["name"]
        options[CLAIM_UID] = owner["uid"]
        reply = callouts.answer(self._driver_name, callout, [json.dumps(options)])
        message = str(reply.get("message") or "")
        if reply["status"] != protocol.SUCCESS:
            raise protocol.FAILURES[reply["reason"]](message)
        return message
