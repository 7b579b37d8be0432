"""flexvol uninstall: takes the driver out of kubelet's plugin directory. It refuses while a pod of
this node has a volume of it, because nothing else can unmount that, and while the driver lists
volumes, because nothing else can delete them. The pools stay. First take flexvol out of the cluster
(kubectl flexvol uninstall says how), or its pod installs the driver again."""

import argparse
import os

from node import callouts
from node.commands import kubelet
from node.host import mounts
from shared.protocol import Internal, NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

_SHOWN = 10
_DELETED_BY = (
    "Delete the claims of the volumes; snapshots, archives and what has no claim: loop delete "
    "NAME. Mount the disk of a pool that is away; if it will never come back: loop pool remove "
    "NAME --away"
)


def main(words: "List[str]") -> int:
    parser = argparse.ArgumentParser(prog="flexvol uninstall", description=__doc__)
    kubelet.add_argument(parser)
    parser.add_argument(
        "--driver", default=callouts.DEFAULT_DRIVER, help="which driver (default %(default)s)"
    )
    parser.add_argument(
        "--vendor", default="flexvol", help="the name before the ~ (default %(default)s)"
    )
    arguments = parser.parse_args(words)
    if os.geteuid() != 0:
        raise Internal("only root sees volumes and mounts; run it with sudo")
    name = "{}~{}".format(arguments.vendor, arguments.driver)
    path = os.path.join(
        arguments.plugin_dir or kubelet.plugin_directory()[0], name, arguments.driver
    )
    _refuse(
        "pods of this node have volumes of {} mounted".format(name),
        "Stop these pods first.",
        _mounted(name),
    )
    _refuse(
        "there are, or may be, volumes of {} on this node".format(name),
        _DELETED_BY,
        _volumes(arguments.driver),
    )
    if not os.path.exists(path):
        print("there is no {}".format(path))
        return 0
    os.unlink(path)
    left = os.listdir(os.path.dirname(path))
    if not left:
        os.rmdir(os.path.dirname(path))
    print(
        "removed {}{}; the pools stay".format(
            path, ", and left beside it " + left[0] if left else ""
        )
    )
    return 0


def _mounted(name: str) -> "List[str]":
    """The directories of pods at which kubelet had a volume of the driver mounted."""
    return sorted(
        {mount.path for mount in mounts.table() if "/volumes/{}/".format(name) in mount.path}
    )


def _volumes(driver: str) -> "List[str]":
    """The volumes that the driver lists, and the pools that it cannot look into; none if it lists
    none."""
    try:
        listed = callouts.load(driver).list()
    except NotSupported:
        return []
    found = []
    for volume in listed.volumes or []:
        owner = volume.get("owner")
        whose = " of claim {namespace}/{name}".format(**owner) if owner else ""
        found.append("{} in pool {}{}".format(volume["name"], volume.get("pool", "-"), whose))
    return found + [
        "pool {} is away and may hold volumes: {}".format(pool["name"], pool["error"])
        for pool in listed.pools or []
        if "error" in pool
    ]


def _refuse(why: str, remedy: str, found: "List[str]") -> None:
    if found:
        more = "\n  and {} more".format(len(found) - _SHOWN) if len(found) > _SHOWN else ""
        raise Internal(
            "{}, so nothing was changed:\n  {}{}\n{}".format(
                why, "\n  ".join(found[:_SHOWN]), more, remedy
            )
        )
