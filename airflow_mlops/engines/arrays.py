"""Arrow's arrays as numpy's, with what is null beside them.

Arrow's own functions for this are in ``pyarrow.compute``, which takes longer to import than a small file to count.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_mlops.core.errors import DataError
from airflow_mlops.engines.scratch import Scratch

ENDLESS = np.int64(2**63 - 1)
"""An infinite time, in microseconds; its negative is the one before all others."""

_A_DAY = np.int64(86_400_000_000)


def raw(array: Any) -> tuple[Any, Any]:
    """Numbers, times or codes as they are stored, and which of them are there; ``None``: all.

    What stands where nothing is, is anything.

    >>> values, there = raw(pa.array([1.5, None, 2.5])[1:])
    >>> values[there].tolist(), raw(pa.array([1, 2], pa.int8()))
    ([2.5], (array([1, 2], dtype=int8), None))
    """
    type_ = array.type
    _, data = array.buffers()
    if pa.types.is_boolean(type_):
        values = _bits(data, array.offset, len(array))
    else:
        kind = "f" if pa.types.is_floating(type_) else "u" if pa.types.is_unsigned_integer(type_) else "i"
        values = np.frombuffer(data or b"", f"{kind}{type_.bit_width // 8}")[array.offset : array.offset + len(array)]
    return values, there(array)


def there(array: Any) -> Any:
    """Which values are there; ``None``: all."""
    return _bits(array.buffers()[0], array.offset, len(array)) if array.null_count else None


def _bits(buffer: Any, offset: int, size: int) -> Any:
    if not size:
        return np.empty(0, bool)
    first = offset // 8
    found = np.unpackbits(np.frombuffer(buffer, np.uint8)[first : (offset + size + 7) // 8], bitorder="little")
    return found[offset - 8 * first : offset - 8 * first + size].view(bool)


def of_whole(values: Any) -> Any:
    """Whole numbers of 64 bits as an Arrow array. Arrow's own way asks pandas, whose import takes longer than a count.

    >>> of_whole(np.arange(2)).to_pylist()
    [0, 1]
    """
    held = np.ascontiguousarray(values, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(held), [None, pa.py_buffer(held)])


def of_texts(texts: Iterable[str]) -> Any:
    """Texts as an Arrow array; for the same reason.

    >>> of_texts(["", "é"]).to_pylist()
    ['', 'é']
    """
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(encoded), buffers)


def floats(array: Any, scratch: Scratch, chosen: Any = None) -> tuple[Any, Any, Any]:
    """Numbers as floats, times as seconds since 1970 (UTC); which are there; and of times, their microseconds.

    :param chosen: the places that are asked for.
    """
    values, known = raw(array)
    if chosen is not None:
        values, known = values.take(chosen), None if known is None else known.take(chosen)
    if pa.types.is_temporal(array.type):
        whole = microseconds(values, array.type, known, scratch)
        return np.divide(whole, 1e6, out=scratch.floats("values", len(whole))), known, whole
    if values.dtype == np.float64:
        return values, known, None
    found = scratch.floats("values", len(values))
    np.copyto(found, values)
    return found, known, None


def microseconds(values: Any, type_: Any, known: Any, scratch: Scratch) -> Any:
    """Times in microseconds; nanoseconds are rounded, as DuckDB does it.

    :raises DataError: for times that 64 bits can't hold.
    """
    if pa.types.is_date(type_):
        found = np.multiply(values, _A_DAY, out=scratch.whole("us", len(values)), dtype=np.int64)
        found[values == 2**31 - 1] = ENDLESS
        found[values == 1 - 2**31] = -ENDLESS
        return found
    if type_.unit == "us":
        return values
    if type_.unit == "ns":
        rounded = np.sign(values) * ((np.abs(values) + 500) // 1000)
        return np.where(np.abs(values) == ENDLESS, values, rounded)
    times = np.int64(1000 if type_.unit == "ms" else 1_000_000)
    held = values if known is None else np.where(known, values, 0)
    if len(held) and max(int(held.max()), -int(held.min())) > int(ENDLESS) // int(times):
        raise DataError(f"a time of {held.max()} {type_.unit} since 1970 is past the year 294247")
    return np.multiply(held, times, out=scratch.whole("us", len(values)))
