"""DES, one block at a time (FIPS 46-3): VNC's authentication is made of it, and no library here has it any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

INITIAL: Final = [
    start - 8 * column for start in (58, 60, 62, 64, 57, 59, 61, 63) for column in range(8)
]  # fmt: skip
LAST: Final = [INITIAL.index(bit) + 1 for bit in range(1, 65)]
EXPANSION: Final = [(4 * row + column - 1) % 32 + 1 for row in range(8) for column in range(6)]
PERMUTATION: Final = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10,
    2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25,
]  # fmt: skip
KEY: Final = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36,
    63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4,
]  # fmt: skip
ROUND_KEY: Final = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2,
    41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
]  # fmt: skip
SHIFTS: Final = (1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1)
BOXES: Final = (
    "e4d12fb83a6c59070f74e2d1a6cb953841e8d62bfc973a50fc8249175b3ea06d",
    "f18e6b34972dc05a3d47f28ec01a69b50e7ba4d158c6932fd8a13f42b67c05e9",
    "a09e63f51dc7b428d709346a285ecbf1d6498f30b12c5ae71ad069874fe3b52c",
    "7de3069a1285bc4fd8b56f03472c1ae9a690cb7df13e52843f06a1d8945bc72e",
    "2c417ab6853fd0e9eb2c47d150fa3986421bad78f9c5630eb8c71e2d6f09a453",
    "c1af92680d34e75baf427c9561de0b389ef528c3704a1db6432c95fabe17608d",
    "4b2ef08d3c975a61d0b7491ae35c2f8614bdc37eaf6805926bd814a7950fe23c",
    "d2846fb1a93e50c71fd8a374c56b0e927b419ce206adf35821e74a8dfc90356b",
)
"""The rows of each box, one after the other."""


def encrypt(key: bytes, block: bytes) -> bytes:
    """One block of eight bytes under a key of eight."""
    bits = _chosen(_bits(block), INITIAL)
    left, right = bits[:32], bits[32:]
    for round_key in _round_keys(key):
        left, right = right, _xor(left, _mixed(right, round_key))
    return _bytes(_chosen(right + left, LAST))


def _round_keys(key: bytes) -> list[list[int]]:
    chosen = _chosen(_bits(key), KEY)
    left, right = chosen[:28], chosen[28:]
    keys = []
    for shift in SHIFTS:
        left, right = left[shift:] + left[:shift], right[shift:] + right[:shift]
        keys.append(_chosen(left + right, ROUND_KEY))
    return keys


def _mixed(half: list[int], round_key: list[int]) -> list[int]:
    bits = _xor(_chosen(half, EXPANSION), round_key)
    out: list[int] = []
    for number, box in enumerate(BOXES):
        six = bits[6 * number : 6 * number + 6]
        row, column = 2 * six[0] + six[5], 8 * six[1] + 4 * six[2] + 2 * six[3] + six[4]
        value = int(box[16 * row + column], 16)
        out += [value >> bit & 1 for bit in (3, 2, 1, 0)]
    return _chosen(out, PERMUTATION)


def _chosen(bits: Sequence[int], places: Sequence[int]) -> list[int]:
    return [bits[place - 1] for place in places]


def _xor(one: Sequence[int], other: Sequence[int]) -> list[int]:
    return [a ^ b for a, b in zip(one, other, strict=True)]


def _bits(data: bytes) -> list[int]:
    return [byte >> bit & 1 for byte in data for bit in range(7, -1, -1)]


def _bytes(bits: Sequence[int]) -> bytes:
    return int("".join(map(str, bits)), 2).to_bytes(len(bits) // 8)
