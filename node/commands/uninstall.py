"""Takes this file out of kubelet's plugin directory, if no volume needs it any more.

The command refuses while a pod of this node has a volume of the driver, because nothing else can
unmount that volume, and while the driver lists volumes, or cannot list them, because nothing else
can delete them. Volumes that a driver has on a server are on no node: only their mounts count. The
pools stay. First take flexvol out of the cluster (kubectl flexvol uninstall says how), or its pod
installs the driver again."""

import argparse
import os
import sys

from node import callouts
from node.commands import add_driver, add_plugin_dir
from node.host import mount_table, plugin_directory
from node.operations import Operations
from shared.options import shown_claim
from shared.protocol import Failure, Internal, NotSupported, Reply, system_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

    from node.drivers import Driver

NEEDS_ROOT = True
_SHOWN = 10  # volumes or mounts that a refusal names; it only counts the rest


def arguments(parser: argparse.ArgumentParser) -> None:
    add_plugin_dir(parser)
    add_driver(parser)
    parser.add_argument(
        "--vendor", default=_own_vendor(), help="the name before the ~ (default: %(default)s)"
    )


def _own_vendor() -> str:
    """The vendor of the directory that this file is installed in."""
    directory = os.path.dirname(os.path.abspath(sys.argv[0]))
    vendor, tilde, _ = os.path.basename(directory).partition("~")
    return vendor if tilde and vendor else "flexvol"


def run(settings: argparse.Namespace) -> int:
    name = "{}~{}".format(settings.vendor, settings.driver)
    plugins = settings.plugin_dir or plugin_directory.find()[0]
    directory = os.path.join(plugins, name)
    path = os.path.join(directory, settings.driver)
    _refuse(
        "pods of this node have volumes of {} mounted".format(name),
        "Stop these pods first; kubelet unmounts a few seconds later.",
        _mounted(name),
    )
    driver = callouts.load(settings.driver)
    listed = _list(driver, name, directory)
    _refuse(
        "there are, or may be, volumes of {} on this node".format(name),
        "\n".join(_remedies(driver, settings.driver, listed, directory)),
        _volumes(listed),
    )
    if not os.path.exists(path):
        print("there is no {}".format(path))
        return 0
    os.unlink(path)
    stays = "the pools stay" if driver.VOLUMES_ON_NODES else "the volumes stay on their server"
    print("removed {}{}; {}".format(path, _remove_empty(directory), stays))
    return 0


def _remove_empty(directory: str) -> str:
    """Removes the directory if it is empty; else returns words about what is in it."""
    left = os.listdir(directory)
    if left:
        return ", and left beside it " + left[0]
    os.rmdir(directory)
    return ""


def _mounted(name: str) -> "List[str]":
    """The directories of pods at which kubelet had a volume of the driver mounted."""
    of_driver = "/volumes/{}/".format(name)
    paths = {mount.path for mount in mount_table.table()}
    return sorted(path for path in paths if of_driver in path)


def _list(driver: "Driver", name: str, directory: str) -> Reply:
    """What the driver lists on this node; nothing if the driver lists no volumes, or has them on a
    server.

    name: VENDOR~DRIVER. directory: where the driver is installed.
    :raises Internal: if the driver cannot tell, for example without its settings"""
    if not driver.VOLUMES_ON_NODES:
        return Reply()
    try:
        return driver.list()
    except NotSupported:
        return Reply()
    except Failure as failure:
        why = failure.message
    except OSError as error:
        why = system_failure(error, "the list of volumes").message
    raise Internal(
        "the driver cannot tell whether volumes of {} are on this node, so nothing was changed:\n"
        "  {}\n"
        "Put that right, and repeat the command. If nobody wants these volumes any more: "
        "rm -r {}".format(name, why, directory)
    )


def _volumes(listed: Reply) -> "List[str]":
    """The volumes that the driver lists, and the pools that it cannot look into."""
    lines = []
    for volume in listed.volumes or []:
        owner = volume.get("owner")
        claim = " of claim {}".format(shown_claim(owner)) if owner else ""
        lines.append("{} in pool {}{}".format(volume["name"], volume.get("pool", "-"), claim))
    for pool in listed.pools or []:
        if "error" in pool:
            why = "pool {} is away and may hold volumes: {}"
            lines.append(why.format(pool["name"], pool["error"]))
    return lines


def _remedies(driver: "Driver", called: str, listed: Reply, directory: str) -> "List[str]":
    """What a person does about the volumes that are listed, and about the pools that are away, with
    the commands that the driver has.

    called: the driver's name. directory: where the driver is installed"""
    remedies = []
    if listed.volumes:
        remedies.append(
            "Delete the claims of the volumes; what has no claim, such as an archive: {} delete "
            "NAME".format(called)
        )
    if any("error" in pool for pool in listed.pools or []):
        remedy = "Mount the disk of a pool that is away; if it will never come back: {}"
        forgotten = "{} pool remove NAME --away".format(called)
        if type(driver.operations()).remove_pool is Operations.remove_pool:
            forgotten = "rm -r {}".format(directory)
        remedies.append(remedy.format(forgotten))
    return remedies


def _refuse(why: str, remedy: str, reasons: "List[str]") -> None:
    """Raises Internal if there are reasons, with the first of them."""
    if not reasons:
        return
    lines = [why + ", so nothing was changed:"]
    lines += ["  " + reason for reason in reasons[:_SHOWN]]
    if len(reasons) > _SHOWN:
        lines.append("  and {} more".format(len(reasons) - _SHOWN))
    lines.append(remedy)
    raise Internal("\n".join(lines))
