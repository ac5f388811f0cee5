"""What the fuzz tests start from: one small valid file per format and variant.

A key is `<reader>/<variant>`. The function writes its file, and whatever that needs beside it,
into an empty folder and returns the path of the one file that will be mutated. `test_fuzz.py`
then reads that path with `nerula.readers.<reader>.read`; the reader named `source` stands for
`open_source(folder)`, of which every entry is read (for the tables of a data set).

Add a format by adding its functions to `SEEDS`.
"""

from collections.abc import Callable
from pathlib import Path

SEEDS: dict[str, Callable[[Path], Path]] = {}
