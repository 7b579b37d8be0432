"""What explain tells about a claim: sentences, each with whether somebody must act."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """A sentence. is_wrong: whether somebody must act on what the sentence tells."""

    sentence: str
    is_wrong: bool


def problem(sentence: str) -> Finding:
    """A sentence that somebody must act on."""
    return Finding(sentence, True)


def note(sentence: str) -> Finding:
    """A sentence that nobody must act on."""
    return Finding(sentence, False)
