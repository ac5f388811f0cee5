"""The field's reference implementation of WFDB, silenced: pandas deprecates what it calls."""

import warnings
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import wfdb


def read(path: Path) -> Any:
    """Read the record of a header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wfdb.rdrecord(str(path.with_suffix("")))


def write(path: Path, **record: Any) -> None:
    """Write a record with `wfdb.wrsamp`; the path is its header's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wfdb.wrsamp(path.stem, write_dir=str(path.parent), **record)


def marks(path: Path, ending: str) -> Any:
    """Read the annotations beside a header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wfdb.rdann(str(path.with_suffix("")), ending)
