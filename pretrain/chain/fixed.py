"""The chain's arithmetic: I32F32 fixed point on plain integers, for numbers, vectors and sparse matrices.

A ``Fixed`` is an integer that stands for itself / 2**32, so every result is exact to the bit and the same on every
machine. Addition rounds nothing, hence the order of summation is free; a product is rounded **down** and a quotient
**towards zero**, at once, which is why the order of multiplications and divisions is not (Rust crate
substrate-fixed, as called by subtensor's ``pallets/subtensor/src/epoch/math.rs``).

The chain's type saturates at 2**31. Nothing in an epoch comes near it but the powers inside ``exp``, so only ``exp``
looks.

Legend: i a validator (row), j a miner (column), both uids; a row holds only what was set, in the order it was set.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

Fixed: TypeAlias = int
"""A number in units of 2**-32."""
Vector: TypeAlias = tuple[Fixed, ...]
"""One number a uid."""
Row: TypeAlias = Mapping[int, Fixed]
"""The set entries of one validator by uid; a stored zero is an entry too."""
Matrix: TypeAlias = tuple[Row, ...]
"""One row a uid, empty for those that set nothing."""

FRACTION_BITS = 32
ONE: Fixed = 1 << FRACTION_BITS
U16_MAX = 65_535
_OVERFLOW = 1 << 63  # the first bits an I32F32 does not hold: 2**31
_E: Fixed = 22_802_600 << 9  # exp(1) is not summed but taken from a table of 23 binary digits


def multiply(a: Fixed, b: Fixed) -> Fixed:
    """Return a * b rounded down, also below zero (substrate-fixed ``saturating_mul``)."""
    return (a * b) >> FRACTION_BITS


def divide(a: Fixed, b: Fixed) -> Fixed:
    """Return a / b rounded towards zero, and 0 when b is 0 (subtensor ``safe_div``)."""
    if b == 0:
        return 0
    quotient = (abs(a) << FRACTION_BITS) // abs(b)
    return quotient if (a < 0) is (b < 0) else -quotient


def proportion(part: int, whole: int = U16_MAX) -> Fixed:
    """Return an integer parameter as the fraction part / whole that it stands for, rounded down."""
    return (part << FRACTION_BITS) // whole


def to_u16(x: Fixed) -> int:
    """Return a fraction of 1 times 65535 rounded down, the form in which it is stored (``fixed_proportion_to_u16``)."""
    return (x * U16_MAX) >> FRACTION_BITS


def exp(x: Fixed) -> Fixed:
    """Return e**x by the Taylor series to x**31, or 0 when a term times x passes 2**31 (``safe_exp``).

    Terms are rounded one by one, and a negative power is the reciprocal of the positive one, as in substrate-fixed's
    ``transcendental::exp``. The 0 stands for an overflow at **either** end: from about 20.9 on e**x is 0 too.
    """
    if x in (0, ONE):
        return _E if x else ONE
    magnitude = term = abs(x)
    total = ONE + magnitude
    for power in range(2, FRACTION_BITS):
        product = (term * magnitude) >> FRACTION_BITS
        if product >= _OVERFLOW:
            return 0
        term = product // power
        if term == 0:
            break
        total += term
    return divide(ONE, total) if x < 0 else total


def normalize(vector: Sequence[Fixed]) -> Vector:
    """Return the vector divided by its sum, or as it is when that is 0 (``inplace_normalize``).

    The result sums to at most 1: each quotient loses up to 2**-32.
    """
    return divide_all(vector, sum(vector))


def divide_all(vector: Sequence[Fixed], divisor: Fixed) -> Vector:
    """Return the vector divided by one number, or as it is when that is 0 (``inplace_normalize_using_sum``)."""
    return tuple(divide(x, divisor) for x in vector) if divisor else tuple(vector)


def upscale_to_u16(vector: Sequence[Fixed]) -> tuple[int, ...]:
    """Return the vector with its largest as 65535, rounded to the nearest, half up (``vec_max_upscale_to_u16``)."""
    largest = max(vector, default=0)
    scaled = (divide(x * U16_MAX, largest) for x in vector)
    return tuple((x + (ONE >> 1)) >> FRACTION_BITS for x in scaled)


def top_k(vector: Sequence[Fixed], k: int) -> tuple[bool, ...]:
    """Say who is among the k largest and not 0; of equals the **higher** index wins (``is_topk_nonzero``)."""
    largest = sorted(range(len(vector)), key=lambda index: (vector[index], index), reverse=True)[:k]
    chosen = {index for index in largest if vector[index]}
    return tuple(index in chosen for index in range(len(vector)))


def normalize_rows(matrix: Matrix) -> Matrix:
    """Return the matrix with each row divided by its sum; a row of zeros stays (``inplace_row_normalize_sparse``)."""
    return tuple(dict(zip(row, normalize(tuple(row.values())), strict=True)) for row in matrix)


def normalize_columns(matrix: Matrix) -> Matrix:
    """Return the matrix with each column divided by its sum (``inplace_col_normalize_sparse``)."""
    sums: defaultdict[int, Fixed] = defaultdict(int)
    for j, x in _entries(matrix):
        sums[j] += x
    return _divide_columns(matrix, sums)


def upscale_columns(matrix: Matrix) -> Matrix:
    """Return the matrix with each column divided by its maximum (``inplace_col_max_upscale_sparse``)."""
    largest: defaultdict[int, Fixed] = defaultdict(int)
    for j, x in _entries(matrix):
        largest[j] = max(largest[j], x)
    return _divide_columns(matrix, largest)


def scale_rows(matrix: Matrix, vector: Vector) -> Matrix:
    """Return x_ij * v_i (``row_hadamard_sparse``)."""
    return tuple({j: multiply(x, v) for j, x in row.items()} for row, v in zip(matrix, vector, strict=True))


def sum_rows(matrix: Matrix) -> Vector:
    """Return the sum over j of x_ij (``row_sum_sparse``)."""
    return tuple(sum(row.values()) for row in matrix)


def sum_columns(matrix: Matrix, by_row: Vector) -> Vector:
    """Return the sum over i of v_i * x_ij (``matmul_sparse``)."""
    sums = [0] * len(matrix)
    for row, v in zip(matrix, by_row, strict=True):
        for j, x in row.items():
            sums[j] += multiply(v, x)
    return tuple(sums)


def weigh_rows(matrix: Matrix, by_column: Vector) -> Vector:
    """Return the sum over j of x_ij * v_j (``matmul_transpose_sparse``)."""
    return tuple(sum(multiply(by_column[j], x) for j, x in row.items()) for row in matrix)


def _entries(matrix: Matrix) -> Iterable[tuple[int, Fixed]]:
    return (entry for row in matrix for entry in row.items())


def _divide_columns(matrix: Matrix, divisors: Mapping[int, Fixed]) -> Matrix:
    """Divide by column; a column of zeros stays, for 0 / 0 is 0 here."""
    return tuple({j: divide(x, divisors[j]) for j, x in row.items()} for row in matrix)
