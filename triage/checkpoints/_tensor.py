"""What a header says of one tensor."""

from __future__ import annotations

from typing import NamedTuple

# Bits of one value. https://github.com/huggingface/safetensors: `Dtype` in safetensors/src/tensor.rs
DTYPE_BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
LARGEST = (1 << 64) - 1  # the format counts in 64 bits


class Tensor(NamedTuple):
    """A tensor without its data. Tensors of one type and shape share one object."""

    dtype: str
    shape: tuple[int, ...]
    bytes: int


def count_bits(dtype: str, shape: tuple[int, ...]) -> int | None:
    """The bits of a tensor; None where they, or a part of the product, do not fit into 64 bits.

    >>> count_bits("BF16", (2, 3)), count_bits("F32", (1 << 63, 4, 0))
    (96, None)
    """
    values = 1
    for size in shape:
        values *= size
        if values > LARGEST:  # checked at every step: a hostile shape must not cost a product of a million factors
            return None
    bits = values * DTYPE_BITS[dtype]
    return bits if bits <= LARGEST else None
