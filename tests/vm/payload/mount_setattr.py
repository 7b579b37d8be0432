"""Whether the kernel has mount_setattr: prints the error that it answers."""

from __future__ import annotations

import ctypes
import errno

MOUNT_SETATTR = 442  # the same number on all architectures


def mount_setattr() -> str:
    """How the kernel answers a call of mount_setattr that is wrong in every argument."""
    ctypes.CDLL(None, use_errno=True).syscall(MOUNT_SETATTR, -1, None, 0, None, 0)
    return errno.errorcode.get(ctypes.get_errno(), "none")


if __name__ == "__main__":
    print(mount_setattr())
