"""The features of a finished file system, read from its superblock and compared with what every
node of ours can mount.

A newer mkfs turns on features that an older kernel refuses, so mkfs is told what to leave out. A
feature that becomes a default after this was written is not among what mkfs is told; therefore the
bits of each new superblock are compared with the bits that are allowed."""

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, List

# The kernel whose features are allowed, and no newer ones.
KERNEL = "4.18"


class Word:
    """A word of feature bits in a superblock.

    label: what the kernel calls the word. offset: where the image has it, in bytes. form: as struct
    has it. allowed: the bits that may be set. names: bits that may not be set, for a message; a bit
    without a name is shown as a number."""

    def __init__(
        self, label: str, offset: int, form: str, allowed: int, names: "Dict[int, str]"
    ) -> None:
        self.label = label
        self.offset = offset
        self.form = form
        self.allowed = allowed
        self.names = names

    def surplus(self, device: int) -> "List[str]":
        """The bits that are set and not allowed, as words."""
        size = struct.calcsize(self.form)
        (value,) = struct.unpack(self.form, os.pread(device, size, self.offset))
        surplus = int(value) & ~self.allowed
        bits = [1 << number for number in range(surplus.bit_length()) if surplus >> number & 1]
        return [self.names.get(bit, "{} {:#x}".format(self.label, bit)) for bit in bits]


def surplus(words: "Iterable[Word]", device: int) -> "List[str]":
    """The features of the new file system on the open image that are not allowed, as words."""
    return [feature for word in words for feature in word.surplus(device)]
