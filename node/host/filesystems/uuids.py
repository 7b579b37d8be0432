"""UUIDs of file systems: random ones, their text, and the checksum of the block that has them."""

import binascii
import os


def new_uuid() -> str:
    """A random UUID (version 4 of RFC 9562), as mkfs takes it."""
    value = bytearray(os.urandom(16))
    value[6] = value[6] & 0x0F | 0x40
    value[8] = value[8] & 0x3F | 0x80
    return to_text(bytes(value))


def to_text(value: bytes) -> str:
    """The UUID of 16 bytes as text."""
    text = binascii.hexlify(value).decode()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def to_bytes(text: str) -> bytes:
    """The 16 bytes of a UUID's text."""
    return binascii.unhexlify(text.replace("-", ""))


def crc32c(data: bytes) -> int:
    """The checksum of the superblocks of xfs and btrfs."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF
