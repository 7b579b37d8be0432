"""What a person does with volumes from anywhere, with their own kubeconfig: one command a file.

A command is a module with a docstring, which is its help, `arguments(parser)`, which says what it takes beside what all
take, and `run(api, drivers, settings)`, which returns its exit status. drivers: vendor/name by provisioner's name.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

import protocol
from controller import cluster, lost

COMMANDS = ("release",)


def by_provisioner(drivers: Sequence[str]) -> dict[str, str]:
    return {".".join(reversed(driver.split("/"))): driver for driver in drivers}


def main(words: list[str], default_drivers: Sequence[str]) -> int:
    """words: the command and its arguments."""
    command = importlib.import_module(f"administration.{words[0]}")
    parser = argparse.ArgumentParser(prog=f"provisioner {words[0]}", description=command.__doc__)
    command.arguments(parser)
    parser.add_argument("--driver", action="append", metavar="VENDOR/NAME", help="default: flexvol/loop; repeatable")
    parser.add_argument("--kubeconfig", metavar="FILE", help="for use outside the cluster")
    parser.add_argument("--namespace", default="flexvol", help="where flexvol is installed (default: %(default)s)")
    settings = parser.parse_args(words[1:])
    try:
        api = cluster.Cluster(settings.kubeconfig)
        status: int = command.run(api, by_provisioner(settings.driver or default_drivers), settings)
    except (lost.NotLost, cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
        print(error, file=sys.stderr)
        return 1
    return status
