"""What a killed `embed` had computed is continued in whole blocks."""

from pathlib import Path

import pytest

from deepfake.inference.kept_blocks import KeptBlocks

ITEM, BLOCK, TOTAL = 6, 4, 10


def grown(path: Path, items: int) -> int:
    """Add this many items, each of its own number; return how many were there before."""
    with KeptBlocks(path, ITEM, BLOCK, TOTAL) as kept:
        before = kept.done
        for number in range(before, before + items):
            kept.append(bytes([number]) * ITEM)
        return before


@pytest.mark.parametrize(("items", "kept"), [(0, 0), (3, 0), (4, 4), (7, 4), (8, 8), (10, 10)])
def test_whole_blocks_are_kept(tmp_path: Path, items: int, kept: int) -> None:
    path = tmp_path / "train.rows"
    grown(path, items)
    assert grown(path, TOTAL - kept) == kept
    assert path.read_bytes() == b"".join(bytes([number]) * ITEM for number in range(TOTAL))


@pytest.mark.parametrize(("place", "kept"), [(0, 0), (23, 0), (24, 4), (59, 8)])
def test_a_block_with_another_byte_and_all_behind_it_go(
    tmp_path: Path, place: int, kept: int
) -> None:
    path = tmp_path / "train.rows"
    grown(path, TOTAL)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert grown(path, 0) == kept
    assert path.stat().st_size == kept * ITEM


def test_what_was_kept_without_checksums_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "train.rows"
    path.write_bytes(bytes(TOTAL * ITEM))
    assert grown(path, 0) == 0
