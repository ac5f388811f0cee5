"""How often a damaged WFDB header is read with a changed meaning and not a word.

`python -m tests.silence 2000 [FOLDER...]` prints the shares for our reader and for the reference
implementation, over the headers below the folders or, without any, over six publishers' styles.
"""

import sys
import tempfile
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nerula.defects import Severity
from nerula.errors import NerulaError
from nerula.readers import wfdb, wfdb_info
from nerula.readers.names import canonical_lead
from tests.mutants import little_memory, mutants
from tests.reference import wfdb as reference
from tests.wfdb_styles import STYLES

Meaning = Hashable
"""Signal in mV, where it is valid, rate, leads, unit, age, sex and labels."""


@dataclass(frozen=True)
class Silence:
    """What became of the mutants of one header."""

    header: str
    mutants: int
    accepted: int
    """Read with nothing worse than a note; most of these mutants mean what they meant."""
    silent: int
    """Of those: with another meaning."""

    @property
    def share(self) -> float:
        return self.silent / self.mutants


def ours(path: Path) -> Meaning | None:
    """What our reader believes, or None where it warns or refuses."""
    try:
        recording = wfdb.read(path)
    except NerulaError:
        return None
    if any(finding.severity is not Severity.NOTE for finding in recording.findings):
        return None
    labels = tuple(sorted(recording.labels.items()))
    said = (recording.rate, recording.leads, recording.unit, recording.age, recording.sex, labels)
    return (*said, recording.x.tobytes(), recording.valid.tobytes())


def theirs(path: Path) -> Meaning | None:
    """What the reference implementation believes, or None where it warns or raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            record = reference.rdrecord(str(path.with_suffix("")))
            leads = tuple(canonical_lead(name or "") or name for name in record.sig_name)
            info = wfdb_info.read(record.comments, path)
            labels = tuple(sorted(info.labels.items()))
            x = np.nan_to_num(record.p_signal, nan=-1e9).tobytes()
            return (record.fs, leads, tuple(record.units), info.age, info.sex, labels, x)
        except Exception:  # it raises whatever it stumbles over
            return None


@contextmanager
def _undone(path: Path) -> Iterator[bytes]:
    original = path.read_bytes()
    yield original
    path.write_bytes(original)


def measure(path: Path, count: int, read: Callable[[Path], Meaning | None]) -> Silence:
    """Read mutants of a header in place."""
    meaning = read(path)
    assert meaning is not None, path
    accepted = silent = 0
    with _undone(path) as original, little_memory():
        for mutant in mutants(original, count, path.name, text=True):
            path.write_bytes(mutant)
            found = read(path)
            accepted += found is not None
            silent += found not in (None, meaning)
    return Silence(path.name, count, accepted, silent)


def _report(count: int, folders: list[str]) -> None:
    print(f"{'header':40} {'accepted':>9} {'silent':>8} {'reference':>10}")
    with tempfile.TemporaryDirectory() as scratch:
        paths = {str(p): p for folder in folders for p in sorted(Path(folder).rglob("*.hea"))}
        for name, write in () if folders else STYLES.items():
            folder = Path(scratch) / name
            folder.mkdir()
            paths[name] = write(folder)
        shares = []
        for name, path in paths.items():
            our, their = measure(path, count, ours), measure(path, max(1, count // 4), theirs)
            shares.append((our.share, their.share))
            accepted = our.accepted / count
            print(f"{name[-40:]:40} {accepted:9.1%} {our.share:8.2%} {their.share:10.1%}")
        our_mean, their_mean = np.mean(shares, axis=0)
        print(f"{'mean':40} {'':9} {our_mean:8.2%} {their_mean:10.1%}")


if __name__ == "__main__":
    _report(int(sys.argv[1]), sys.argv[2:])
