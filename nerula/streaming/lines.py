"""Lines: a table that arrives line by line, understood as files of the same kind are."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerula.errors import DefectError, refuse
from nerula.readers import table_text
from nerula.readers.names import millivolts_per, name_leads
from nerula.readers.plausible import check_rate, device_rate
from nerula.readers.source import Hints
from nerula.readers.table import Column, said_rate, seconds_per, understood
from nerula.readers.table_text import Table
from nerula.streaming.inputs import Packet

Numbers = NDArray[np.float64]
HEADER = 1 << 20
"""Bytes within which the first row of numbers has to come."""
ROWS = 64
"""Rows whose times tell the rate, where nothing says it."""
_NOTHING = re.compile(rb"(?:[-+]?nan|n/?a|null|none|[-+]?inf|--?)?", re.IGNORECASE)
_NULLS = ["", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "na", "null", "NULL", "None", "none"]
_NULLS += ["-", "--", "inf", "-inf", "Inf", "-Inf"]
_UNUSED = "\x1f"
"""Separates the cells of tables that have one column."""


class Lines:
    """Columns by their titles; where there are times or sequence numbers, they place the rows.

    Steps of the times up to one and a half periods lead to the next sample, as in files; longer
    ones, and steps backward, to the sample that they come to. A line that is no row of numbers is
    counted, and where nothing else places the rows, it is a missing sample.
    """

    def __init__(self, hints: Hints, path: Path, *, clock: bool = True) -> None:
        self._hints, self._path, self._clock = hints, path, clock
        self.rate, self.leads, self.malformed, self.ordered = 0.0, tuple[str, ...](), 0, True
        self._rest = b""
        self._table: Table | None = None
        self._last: tuple[float, int] | None = None
        """Time and number of the row before."""

    def feed(self, data: bytes, *, last: bool = False) -> Iterator[Packet]:
        """Whole lines; one without an end waits for it, or for the stream's."""
        self._rest += data
        if last and self._rest and not self._rest.endswith(b"\n"):
            self._rest += b"\n"
        if self._table is None and not self._begin(last):
            return
        end = self._rest.rfind(b"\n") + 1
        body, self._rest = self._rest[:end], self._rest[end:]
        if body.strip() or (body and self._separator == _UNUSED):
            yield from self._packets(self._numbers(body))

    # --- the beginning -----------------------------------------------------------------------

    def _begin(self, last: bool) -> bool:
        """Understand what stands above the numbers, once the first of them are there."""
        head = self._rest[: self._rest.rfind(b"\n", 0, HEADER) + 1]
        hopeless = last or len(self._rest) > HEADER
        if not head.strip():
            if hopeless:
                raise refuse("header-malformed", self._path, "no row of numbers has come")
            return False
        try:
            table = table_text.parse(head.replace(b"\0", b"?"), self._path)
        except DefectError as error:
            if error.finding.code == "length-zero" and not hopeless:
                return False
            raise
        columns = understood(table, self._hints, self._path)
        signals = [one for one in columns if one.kind == "lead"]
        clocks = [one for kind in ("time", "counter") for one in columns if one.kind == kind]
        clock = clocks[0] if clocks and self._clock else None
        rate = said_rate(table, self._path) or self._hints.rate
        rows = table.body.count("\n")
        if (
            rate is None
            and clock is not None
            and clock.kind == "time"
            and rows < ROWS
            and not hopeless
        ):
            return False
        self._separator = {"": _UNUSED, None: " "}.get(table.separator, table.separator)
        self._width, self._table = len(table.first), table
        self._chosen = [*signals, *([clock] if clock else [])]
        self._timed = clock
        self._dates = clock is not None and table_text.is_time(table.first[clock.place])
        self.ordered = clock is None
        self.leads = name_leads([one.name for one in signals], self._path)[0]
        self._rest = table.body.encode() + self._rest[len(head) :]
        first = self._numbers(table.body.encode())
        self.malformed = 0  # they come again
        self._worth = self._scales(signals, table, first)
        self._second = 1.0
        if clock is not None and clock.kind == "time":
            self._second = seconds_per(clock.unit, float(first[-1, 0]), self._path)
        self.rate = rate if rate is not None else self._measured(first)
        check_rate(self.rate, self._path)
        return True

    def _scales(self, signals: list[Column], table: Table, first: Numbers) -> Numbers:
        """What one of each column's unit is in mV."""
        worth = []
        for row, column in enumerate(signals):
            unit = column.unit or table.settings.get("unit") or self._hints.unit or ""
            known = first[row][np.isfinite(first[row])]
            if not unit and known.any() and not (known % 1).any():
                raise refuse("unit-unknown", self._path, "whole numbers; give --unit", column.name)
            scale = millivolts_per(unit or "mV")
            if scale is None:
                raise refuse("unit-unknown", self._path, repr(unit[:20]), column.name)
            worth.append(scale)
        return np.array(worth)[:, None]

    def _measured(self, first: Numbers) -> float:
        """The rate that the times of the first rows have."""
        if self._timed is None or self._timed.kind != "time":
            raise refuse(
                "rate-missing", self._path, "neither times nor `# rate: 250`; give --rate"
            )
        steps = np.diff(first[-1]) * self._second
        steps = steps[np.isfinite(steps)]
        typical = float(np.median(steps)) if len(steps) else 0.0
        if typical <= 0:
            detail = "times that do not go forward step by step; give --rate and --no-times"
            raise refuse("rate-missing", self._path, detail)
        near = steps[np.abs(steps / typical - 1) <= 0.5]
        return device_rate(1 / float(near.mean()), 0.01)

    # --- rows --------------------------------------------------------------------------------

    def _numbers(self, body: bytes) -> Numbers:
        """The chosen columns (columns, rows); rows that are none are NaN throughout."""
        if self._separator != ",":  # a comma that separates no cells is a decimal point
            body = body.replace(b",", b".")
        if self._separator == " ":
            body = re.sub(rb"[ \t]+", b" ", re.sub(rb"(?m)^[ \t]+|[ \t\r]+$", b"", body))
        found = None if self._dates else self._fast(body)
        return self._slow(body) if found is None else found

    def _fast(self, body: bytes) -> Numbers | None:
        """All lines at once; None where one of them is no row of numbers."""
        import pyarrow as pa
        from pyarrow import csv

        names = [str(place) for place in range(self._width)]
        wanted = [str(column.place) for column in self._chosen]
        try:
            table = csv.read_csv(
                io.BytesIO(body),
                csv.ReadOptions(column_names=names, use_threads=False, block_size=1 << 24),
                csv.ParseOptions(
                    delimiter=self._separator, ignore_empty_lines=self._separator != _UNUSED
                ),
                csv.ConvertOptions(
                    column_types={name: pa.float64() for name in wanted},
                    include_columns=wanted,
                    null_values=_NULLS,
                ),
            )
        except (pa.ArrowInvalid, pa.ArrowKeyError):
            return None
        rows = [table.column(name).to_numpy() for name in wanted]
        return np.stack([np.asarray(row, np.float64) for row in rows])

    def _slow(self, body: bytes) -> Numbers:
        """Line by line."""
        lines = body.split(b"\n")[:-1]
        if self._separator != _UNUSED:
            lines = [line for line in lines if line.strip()]
        found = np.full((len(self._chosen), len(lines)), np.nan)
        mark = str(self._separator).encode()
        for number, line in enumerate(lines):
            cells = [cell.strip(b" \"'\r\t") for cell in line.split(mark)]
            try:
                if len(cells) != self._width:
                    raise ValueError
                found[:, number] = [
                    self._cell(cells[column.place], column) for column in self._chosen
                ]
            except ValueError:
                self.malformed += 1
        return found

    def _cell(self, cell: bytes, column: Column) -> float:
        if column is self._timed and self._dates:
            return table_text.seconds(cell.decode("ascii", "replace"))
        return np.nan if _NOTHING.fullmatch(cell) else float(cell)

    def _packets(self, numbers: Numbers) -> Iterator[Packet]:
        """Rows in mV, cut where their numbers do not follow each other."""
        if self._timed is None:
            yield Packet(None, (numbers * self._worth).astype(np.float32))
            return
        rows = numbers[:, np.isfinite(numbers[-1])]  # a row without its number is nowhere
        if not rows.shape[1]:
            return
        clock = rows[-1]
        x = (rows[:-1] * self._worth).astype(np.float32)
        if self._timed.kind == "counter":
            places = np.rint(clock).astype(np.int64)
        else:
            places = self._placed(clock * self._second)
        cuts = np.flatnonzero(np.diff(places) != 1) + 1
        for part, run in zip(np.split(x, cuts, axis=1), np.split(places, cuts), strict=True):
            yield Packet(int(run[0]), part)

    def _placed(self, times: Numbers) -> NDArray[np.int64]:
        """Numbers of samples at these times, from the row before on."""
        if self._last is None:
            self._last = (float(times[0]), round(float(times[0]) * self.rate))
        before, number = self._last
        steps = np.diff(times, prepend=before) * self.rate
        near = (steps > 0) & (steps <= 1.5)
        far = np.clip(np.rint(steps), -1e12, 1e12)
        places = number + np.cumsum(np.where(near, 1, far)).astype(np.int64)
        self._last = (float(times[-1]), int(places[-1]))
        return places
