"""What a volume is that has neither a PV nor its claim, as its driver lists it; and so whether it
may be deleted. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cluster.controller.objects import ClaimReference, Object

BLANK = "blank"
USED = "used"
RETAINED = "retained"
FOREIGN = "other-cluster"
UNKNOWN = "unknown"
REASONS = (BLANK, USED, RETAINED, FOREIGN, UNKNOWN)
_REMEDY = "it is given to a claim by kubectl flexvol adopt, and deleted by kubectl flexvol delete"
_REMEDY_FOR_ANY = (
    "it was made for any claim, and gets its PV again by kubectl flexvol static --apply, and is "
    "deleted by kubectl flexvol delete"
)
_OWNER_PARTS = ("namespace", "name", "uid")


class Verdict(NamedTuple):
    """reason: one of REASONS. Only what is BLANK may be collected."""

    reason: str
    sentence: str


def judge(entry: Object, cluster_uid: str) -> Verdict:
    """Why a volume without PV and claim is left alone, or that it may be collected.

    entry: as its driver lists it.
    cluster_uid: this cluster's."""
    if not is_described(entry):
        error = f" ({entry['error']})" if entry.get("error") else ""
        return Verdict(
            UNKNOWN,
            "its driver does not say whose it was, of which cluster, and if it was "
            f"ever mounted{error}",
        )
    is_for_any = ClaimReference.of(entry["owner"]).is_any
    remedy = _REMEDY_FOR_ANY if is_for_any else _REMEDY
    if entry["clusterUid"] != cluster_uid:
        return Verdict(
            FOREIGN,
            f"it was made for the cluster {entry['clusterUid']}, and this one is "
            f"{cluster_uid}; {remedy}",
        )
    if entry["reclaimPolicy"] != "Delete":
        return Verdict(RETAINED, f"its class said {entry['reclaimPolicy']}; {remedy}")
    if not is_never_mounted(entry):
        return Verdict(
            USED, f"it was mounted, or was to be retained, so it may hold data; {remedy}"
        )
    if not entry["blank"]:
        return Verdict(
            BLANK,
            f"it is a copy of {entry.get('source')} that was never mounted, whose "
            "claim went while it was made, and is deleted when its grace time is over",
        )
    return Verdict(BLANK, "it was never mounted and is deleted when its grace time is over")


def is_never_mounted(entry: Object) -> bool:
    """Whether no pod and no person has had the volume since it was made: it is blank; or it is a
    copy, which has its source's data, and its driver says so."""
    return bool(entry.get("blank") is True or entry.get("neverMounted") is True)


def is_unmounted_copy(entry: Object) -> bool:
    """Whether the volume is a copy that was never mounted. Only its record tells it from a copy
    with a pod's data."""
    return is_never_mounted(entry) and entry.get("blank") is not True


def is_described(entry: Object) -> bool:
    """Whether the driver says of a volume all that a decision about it needs. What is not said, or
    said in another form, is never taken for permission."""
    if not isinstance(entry.get("blank"), bool):
        return False
    if not _has_texts(entry, ("clusterUid", "reclaimPolicy")):
        return False
    if not _has_texts(entry.get("owner"), _OWNER_PARTS):
        return False
    options = entry.get("options")
    if not isinstance(options, dict):
        return False
    return all(isinstance(value, str) for value in options.values())


def _has_texts(value: object, keys: Iterable[str]) -> bool:
    """Whether the value is an object that has a text, and not an empty one, for each of the
    keys."""
    if not isinstance(value, dict):
        return False
    return all(isinstance(value.get(key), str) and value[key] for key in keys)
