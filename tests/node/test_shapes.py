"""What the documents say of the shape that a file system keeps is what the tools make of a
volume."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared import table
from tests import documents
from tests.bench import shapes


def test_an_ext4_has_the_journal_that_the_documents_say_from_each_size_on(tmp_path: Path) -> None:
    rows = documents.table("ext4 made with at least")

    sizes = [table.human_bytes(size) for size in shapes.JOURNAL_SIZES]
    assert rows["ext4 made with at least"] == sizes
    journals = [shapes.journal_bytes(tmp_path, size) for size in shapes.JOURNAL_SIZES]
    assert rows["has a journal of"] == [table.human_bytes(journal) for journal in journals]
    # A volume has whole MiB; one MiB less has the journal of the size before.
    for size, before in zip(shapes.JOURNAL_SIZES[1:], journals, strict=False):
        assert shapes.journal_bytes(tmp_path, size - shapes.MIB) == before


def test_an_xfs_that_grew_has_the_groups_that_the_documents_say(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    rows = documents.table("xfs grown to 200 GiB, made with")

    sizes = [table.human_bytes(size) for size in shapes.GROWN_FROM]
    assert rows["xfs grown to 200 GiB, made with"] == sizes
    grown = [shapes.grown(tmp_path, size, mounts=1) for size in shapes.GROWN_FROM]
    assert rows["has groups"] == [str(one.groups) for one in grown]
    # Where the tools are others, some blocks more or less are taken.
    for stated, one in zip(rows["takes of the pool, empty"], grown, strict=True):
        mib = one.used_bytes / shapes.MIB
        assert float(stated.removesuffix(" MiB")) == pytest.approx(mib, rel=0.2)
    reads = [one.mount_reads for one in grown]
    stated_reads = [int(stated) for stated in rows["reads of the disk at each mount"]]
    assert stated_reads == pytest.approx(reads, rel=0.2)
