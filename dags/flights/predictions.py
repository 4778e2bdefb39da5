"""Which version made the predictions that are in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def provenance(uri: str) -> dict[str, Any] | None:
    """What ``ScoreBatchOperator`` wrote into the file's footer.

    :param uri: a path.
    :returns: ``{"data": {"uri"}, "version"}``, or ``None`` when there is no such file.
    """
    import pyarrow.parquet as pq

    if not Path(uri).exists():
        return None
    facts = pq.read_metadata(uri).metadata
    return {"data": {"uri": uri}, "version": facts[b"mlops.version"].decode()}
