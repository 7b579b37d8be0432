"""Sizes as Kubernetes writes them ("64Mi"), from and to bytes."""

from __future__ import annotations

import decimal

import kubernetes.utils

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


def size_bytes(quantity: str) -> int:
    """The bytes of a quantity: "1Gi" -> 1073741824.

    Fractions of a byte are rounded up, as Kubernetes rounds a quantity that must be a whole number
    (Quantity.Value in apimachinery's pkg/api/resource): a smaller volume would not fit its claim.

    :raises ValueError: for a text that is no quantity, and for more than any disk has."""
    size = kubernetes.utils.parse_quantity(quantity)
    try:
        # int() or ceil() alone would make an integer of a billion digits of "1e999999999".
        whole = size // 1
    except decimal.InvalidOperation:
        raise ValueError(f"{quantity} is more than any disk has") from None
    return int(whole) if whole >= size else int(whole) + 1


def round_up(size_bytes: int, unit: int) -> int:
    """How many of the unit hold so many bytes."""
    return -(-size_bytes // unit)


def quantity(size_bytes: int) -> str:
    """Bytes as Kubernetes writes them: 67108864 -> "64Mi"."""
    for suffix, unit in (("Gi", GIB), ("Mi", MIB), ("Ki", KIB)):
        if size_bytes % unit == 0:
            return f"{size_bytes // unit}{suffix}"
    return str(size_bytes)
