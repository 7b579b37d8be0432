"""The room that a class has on a node: that of the pool that the class means, as the pool's driver
lists it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from cluster.controller.class_parameters import fs_type_of
from cluster.controller.objects import Object

# The pool of a class that names none, where its driver has several.
_DEFAULT = "default"
# So many steps of room are told apart in each doubling of it.
_STEPS_A_DOUBLING = 4
# The step of 2**64 bytes, which no pool reaches.
STEPS = 64 * _STEPS_A_DOUBLING


def pool_of(parameters: Mapping[str, str], pools: list[Object]) -> Object:
    """The pool that a class means, as its driver lists it; {} if the pool is not on this node, or
    its disk is away."""
    name = pool_name(parameters, pools)
    for pool in pools:
        if pool.get("name") == name and not pool.get("error"):
            return pool
    return {}


def pool_name(parameters: Mapping[str, str], pools: list[Object]) -> str:
    """The name of the pool that a class means on a node with these pools, which may lack it.

    A class that names no pool means the pool `default`, or the only one, unless its driver says
    that a class gets it only by its name (`byName`)."""
    if parameters.get("pool"):
        return parameters["pool"]
    first = pools[0]
    if len(pools) > 1 or first.get("byName"):
        return _DEFAULT
    return str(first.get("name"))


def free_bytes(parameters: Mapping[str, str], pool: Object) -> int:
    """The bytes that volumes of a class with these parameters can have in the pool, all together; 0
    where not even the smallest volume fits.

    A driver makes a smaller claim as large as its file system must be. A claim of 64Mi would
    otherwise seem to fit into 200 MiB, be refused as xfs needs 300 MiB, and be sent to the same
    node again, for ever."""
    return _free_bytes(pool) if _fits_one(parameters, pool) else 0


def largest_volume(parameters: Mapping[str, str], pool: Object) -> int:
    """The bytes of the largest volume of a class with these parameters in the pool; 0 where not
    even the smallest volume fits."""
    return _largest_bytes(pool) if _fits_one(parameters, pool) else 0


def smallest_volume(fs_type: str, pool: Object) -> int:
    """The bytes of the smallest volume with that file system; 0 if the driver does not tell."""
    least = pool.get("minimumVolumeBytes")
    if not isinstance(least, dict):
        return 0
    return int(least.get(fs_type, 0))


def room_step(size_bytes: int) -> int:
    """The step of room on which the largest possible volume is: a quarter of a doubling each, so
    that nodes with more room can be asked for by label. 0 is no room."""
    if size_bytes < 1:
        return 0
    return min(STEPS, 1 + int(math.log2(size_bytes) * _STEPS_A_DOUBLING))


def _free_bytes(pool: Object) -> int:
    return max(0, int(pool.get("freeBytes", 0)))


def _largest_bytes(pool: Object) -> int:
    """As long as the room of the pool and the length of its files allow."""
    free = _free_bytes(pool)
    longest = max(0, int(pool.get("maximumVolumeBytes", free)))
    return min(free, longest)


def _fits_one(parameters: Mapping[str, str], pool: Object) -> bool:
    return _largest_bytes(pool) >= smallest_volume(fs_type_of(parameters), pool)
