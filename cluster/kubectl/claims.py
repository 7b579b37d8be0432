"""The claim that a person means by a command's words."""

from __future__ import annotations

import argparse

from cluster.controller import cluster, lost_storage
from cluster.controller.objects import Claim, Volume
from shared import protocol


def arguments(parser: argparse.ArgumentParser, is_needed: bool = True) -> None:
    parser.add_argument(
        "claim",
        nargs=None if is_needed else "?",
        metavar="CLAIM",
        help="its name, its namespace/name, or the name of its PV",
    )
    parser.add_argument(
        "-n",
        "--namespace",
        dest="claim_namespace",
        metavar="NAMESPACE",
        help="the claim's (default: that of the kubeconfig's context)",
    )


def named(words: str, namespace: str) -> tuple[str, str]:
    """Namespace and name of the claim or pod that a person means. namespace: where the words name
    none.

    :raises NotFound: if nothing can have such a name."""
    given, _, name = words.rpartition("/")
    namespace = given or namespace
    if not protocol.is_object_name(namespace) or not protocol.is_object_name(name):
        raise nowhere(namespace, name)
    return namespace, name


def nowhere(
    namespace: str,
    name: str,
    is_a_pv: bool = False,
) -> protocol.NotFound:
    """The failure that tells of a claim that does not exist. is_a_pv: whether a PV of that name was
    looked for too."""
    shown = name if protocol.is_object_name(name) else protocol.shown(name)
    also = ", and no PV of that name" if is_a_pv else ""
    return protocol.NotFound(
        f"there is no claim {shown} in namespace {namespace}{also}; -n names another namespace"
    )


def get(api: cluster.Cluster, settings: argparse.Namespace) -> Claim:
    """The claim of that name; else the claim of the PV of that name.

    :raises NotFound: if there is neither."""
    namespace, name = names(settings)
    claim = Claim.of(api.get(cluster.claim_path(namespace, name)))
    if claim is not None:
        return claim
    if "/" in settings.claim:
        raise nowhere(namespace, name)
    volume = Volume.of(api.get(cluster.path_to(cluster.VOLUMES, name)))
    if volume is None:
        raise nowhere(namespace, name, is_a_pv=True)
    claim = lost_storage.claim_of(api, volume)
    if claim is None:
        raise protocol.NotFound(
            f"the PV {name} is bound to no claim; see: kubectl flexvol inventory"
        )
    return claim


def names(settings: argparse.Namespace) -> tuple[str, str]:
    """The namespace and the name that the words say. Raises NotFound as `named`."""
    return named(settings.claim, settings.claim_namespace)


def volume_name(api: cluster.Cluster, words: str) -> str:
    """The name of the PV that a person means: PV, or NAMESPACE/NAME of its claim. A claim's own
    words do not count, as any of its namespace's users could name another's PV in it: the PV has to
    name the claim.

    :raises NotFound: if no PV names that claim.
    :raises InvalidArgument: if several do."""
    if "/" not in words:
        return words
    every = map(Volume, api.items(cluster.VOLUMES))
    volumes = [volume for volume in every if volume.claim.full_name == words]
    bound = [volume for volume in volumes if lost_storage.claim_of(api, volume) is not None]
    found = [volume.name for volume in bound or volumes]
    if not found:
        raise protocol.NotFound(f"no PV is of the claim {words}; see: kubectl flexvol inventory")
    if len(found) > 1:
        raise protocol.InvalidArgument(
            f"several PVs name the claim {words}; name one of them: {', '.join(found)}"
        )
    return found[0]


def no_volume(words: str) -> str:
    """The sentence about a PV that does not exist. A claim's name without its namespace is taken
    for a PV's. words: what a person wrote, without a slash."""
    return f"there is no PV {words}; a claim is named with its namespace, as in NAMESPACE/{words}"


def volume_of(
    api: cluster.Cluster,
    claim: Claim,
    drivers: dict[str, str],
) -> tuple[Volume, str]:
    """The PV that the claim is bound to, and its driver.

    :raises NotFound: if the claim is not bound.
    :raises InvalidArgument: if the PV is of none of the drivers.
    """
    volume = _named_volume(api, claim)
    if volume is None or volume.claim_reference.get("uid") != claim.uid:
        raise protocol.NotFound(f"the claim {claim.full_name} is not bound, so it has no volume")
    driver = drivers.get(volume.provisioner)
    if driver is None or volume.driver != driver:
        raise protocol.InvalidArgument(
            f"the PV {volume.name} of the claim {claim.full_name} is of no "
            f"driver of flexvol here ({', '.join(drivers.values())}); --driver "
            "names another"
        )
    return volume, driver


def _named_volume(api: cluster.Cluster, claim: Claim) -> Volume | None:
    if not claim.volume_name:
        return None
    return Volume.of(api.get(cluster.path_to(cluster.VOLUMES, claim.volume_name)))
