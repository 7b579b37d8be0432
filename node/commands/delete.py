"""flexvol delete: deletes volumes, archives and snapshots of this node by their names, for good.
The command shows what is lost and asks first. A volume that a pod has mounted is refused. Whether a
volume's claim still exists is known to the cluster alone: `kubectl flexvol delete` looks there
first, so use that where the API server answers.

The deletion itself is the callout `delete`, the same that the provisioner makes, with the owner
that the volume's record names: a volume that got another owner meanwhile is left alone."""

import argparse
import binascii
import json
import os
import sys

from node import callouts
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
)
from shared.protocol import Busy, Internal, InvalidArgument, NotFound, NotSupported, shown
from shared.table import aligned, human_bytes, is_deletion_confirmed, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    from node.drivers import Driver

    Entry = Dict[str, Any]

_HEADINGS = ("NAME", "POOL", "SIZE", "USED", "WHAT IT IS")
_SNAPSHOT, _ARCHIVED, _MOVING = "snapshot", "archived", "moving"
_YES = "--yes"


def is_garbled(words: "List[str]") -> bool:
    """Whether the words after `delete`, which are no JSON object, are a program's broken callout
    and not a person's command. A program waits for an object on stdout, and has nobody to ask.

    :param words: at least one word."""
    if _YES in words or _can_be_asked():
        return False
    names = {word for word in words if protocol.is_name(word)}
    if not names:
        return True
    try:
        volumes = callouts.load(callouts.DEFAULT_DRIVER).list().volumes or []
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


def main(words: "List[str]") -> int:
    arguments = parser().parse_args(words)
    if os.geteuid() != 0:
        raise Internal("only root may delete volumes; run it with sudo")
    driver = callouts.load(arguments.driver)
    volumes = _Volumes(driver)
    entries = [volumes.get(name, arguments.pool) for name in arguments.name]
    for entry in entries:
        volumes.check(entry)
    print(aligned(_HEADINGS, [_row(entry) for entry in entries]))
    for claim in sorted({_claim(entry) for entry in entries} - {""}):
        print("\nThis node does not know whether the claim {} still exists.".format(claim))
    if not arguments.yes and not is_deletion_confirmed():
        return 1
    return _delete_all(driver, arguments.driver, entries)


def parser() -> argparse.ArgumentParser:
    """What the command takes; `flexvol help delete` prints it beside the callout."""
    parser = argparse.ArgumentParser(prog="flexvol delete", description=__doc__)
    parser.add_argument(
        "name", nargs="+", metavar="NAME", help="of a volume, archive or snapshot, as list has it"
    )
    parser.add_argument("--pool", metavar="NAME", help="where two pools have that name: which one")
    parser.add_argument(_YES, action="store_true", help="do not ask")
    parser.add_argument(
        "--driver", default=callouts.DEFAULT_DRIVER, help="whose volumes (default %(default)s)"
    )
    return parser


class _Volumes:
    """What the driver lists on this node."""

    def __init__(self, driver: "Driver") -> None:
        try:
            listed = driver.list()
        except NotSupported:
            raise InvalidArgument(
                "this driver does not list its volumes; delete one by the callout: flexvol help "
                "delete"
            ) from None
        self._driver = driver
        self._entries: "List[Entry]" = listed.volumes or []
        self._pools: "List[Entry]" = listed.pools or []
        self._mounts: "Optional[Dict[Any, List[Entry]]]" = None

    def get(self, name: str, pool: "Optional[str]") -> "Entry":
        """The one volume of that name; in that pool, if a pool is named."""
        entries = [
            entry
            for entry in self._entries
            if entry.get("name") == name and pool in (None, entry.get("pool"))
        ]
        if len(entries) == 1:
            return entries[0]
        if entries:
            pools = ", ".join(sorted(str(entry.get("pool")) for entry in entries))
            raise InvalidArgument(
                "{} is in the pools {}; name one of them with --pool".format(name, pools)
            )
        away = ["{}: {}".format(one["name"], one["error"]) for one in self._pools if "error" in one]
        words = "no volume, archive or snapshot {} is in the pools of this node; see: loop list"
        raise NotFound("; ".join([words.format(shown(name)), *away]))

    def check(self, entry: "Entry") -> None:
        """Raises a Failure if nothing proves whose the volume is, or something still needs it."""
        name = entry["name"]
        if "owner" not in entry or not isinstance(entry.get("options"), dict):
            raise Internal(
                "{} is left alone, as its record does not tell what it is: {}".format(
                    name, entry.get("error") or "see loop list"
                )
            )
        if entry.get("state") == _MOVING:
            raise Busy(
                "volume {0} is being moved to node {1}, so this may be its only whole copy; end "
                "the move first: kubectl flexvol move {0} --to {1}".format(
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
            self._mounts = {}
            try:
                for volume in self._driver.operations().status().volumes or []:
                    self._mounts[volume["pool"], volume["name"]] = volume.get("mounts") or []
            except NotSupported:
                return []  # the driver's delete looks for itself
        return self._mounts.get((entry.get("pool"), entry["name"]), [])


def _row(entry: "Entry") -> "List[str]":
    sizes = [entry.get(key) for key in ("sizeBytes", "usedBytes")]
    return [
        entry["name"],
        str(entry.get("pool") or "-"),
        *(human_bytes(size) if isinstance(size, int) else "?" for size in sizes),
        printable(_about(entry)),
    ]


def _about(entry: "Entry") -> str:
    """What it is and whose, for a person who is to decide about it."""
    owner = entry["owner"]
    what = "volume"
    if entry.get("kind") == _SNAPSHOT:
        what = "snapshot of {}".format(entry.get("source"))
    elif entry.get("state") == _ARCHIVED:
        what = "archive of {}".format(entry.get("archiveOf"))
    if owner is None:
        whose = "of no claim"
    elif owner["name"] == ANY:
        whose = "for any claim that its PV is bound to"
    else:
        awaits = "that awaits" if owner["uid"] == AWAITED else "of"
        whose = "{} the claim {}/{}".format(awaits, owner["namespace"], owner["name"])
    made = ", made {}".format(entry["created"]) if entry.get("created") else ""
    empty = ", never mounted" if entry.get("blank") is True else ""
    error = "; {}".format(entry["error"]) if entry.get("error") else ""
    return "{} {}{}{}{}".format(what, whose, made, empty, error)


def _claim(entry: "Entry") -> str:
    """The claim that may still have the volume; "" for an archive or a snapshot, which outlive
    it."""
    owner = entry["owner"]
    if owner is None or entry.get("kind") == _SNAPSHOT or entry.get("state") == _ARCHIVED:
        return ""
    return printable("{}/{}".format(owner["namespace"], owner["name"]))


def _delete_all(driver: "Driver", driver_name: str, entries: "List[Entry]") -> int:
    status = 0
    for entry in entries:
        try:
            print(_delete(driver, driver_name, entry), flush=True)
        except protocol.Failure as failure:
            print("{} is left: {}".format(entry["name"], failure.message), file=sys.stderr)
            status = 1
    return status


def _delete(driver: "Driver", driver_name: str, entry: "Entry") -> str:
    """Returns the sentence about what became of it. Raises a Failure."""
    if entry.get("kind") == _SNAPSHOT:
        return driver.operations().delete_snapshot(entry["name"], entry.get("pool"))
    owner = entry["owner"]
    if owner is None or owner["uid"] == AWAITED:
        owner = _own(driver_name, entry)
    message = _call(driver_name, "delete", entry, owner, {})
    return "{}: {}".format(entry["name"], message or "deleted")


def _own(driver_name: str, entry: "Entry") -> "Dict[str, str]":
    """Gives a volume that no claim owns an owner that is nobody, since `delete` demands the owner's
    uid; returns that owner. A claim that came meanwhile keeps the volume: then the call fails."""
    before = entry["owner"] or {}
    owner = nobody(before, binascii.hexlify(os.urandom(8)).decode())
    unchanged = {ONLY_IF_OWNER: before.get("uid") or NO_OWNER}
    _call(driver_name, "adopt", entry, owner, unchanged)
    return owner


def _call(
    driver_name: str, callout: str, entry: "Entry", owner: "Dict[str, str]", also: "Dict[str, str]"
) -> str:
    """The message of a callout that is made as the provisioner makes it. Raises its Failure."""
    options = dict(entry["options"], **also)
    options[VOLUME] = entry["name"]
    options[CLAIM_NAMESPACE] = owner["namespace"]
    options[CLAIM_NAME] = owner["name"]
    options[CLAIM_UID] = owner["uid"]
    reply = callouts.answer(driver_name, callout, [json.dumps(options)])
    message = str(reply.get("message") or "")
    if reply["status"] != protocol.SUCCESS:
        raise protocol.FAILURES[reply["reason"]](message)
    return message
