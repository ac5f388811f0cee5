"""Readers: every format and data set, one module each. `open_source` finds the right one."""

from nerula.readers.source import Entry, Source

__all__ = ["Entry", "Source"]
