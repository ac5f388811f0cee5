"""What `nerula check` says: a table for people, or one JSON document for machines.

Both are written from counts and a few examples of each defect, and the document's findings go out
as they come, so that a million recordings need no more memory than a hundred.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nerula.defects import CATALOGUE, Finding, Severity
from nerula.leakage import Ledger, Split
from nerula.survey import Part, Seen

FORMAT, VERSION = "nerula-check", 1
EXAMPLES = 5
"""Findings of one kind that a person is shown; the JSON document has all."""

_ORDER = (Severity.ERROR, Severity.WARNING, Severity.NOTE)
_STYLE = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.NOTE: "cyan"}
_LEAKS = frozenset(("subject-leak", "duplicate-leak"))


class Verdict:
    """Counts findings, keeps examples, and says what it comes to."""

    def __init__(self, parts: Sequence[Part], ledger: Ledger, split: Split) -> None:
        self.parts, self.ledger, self.split = parts, ledger, split
        self.recordings = self.sound = self.broken = 0
        self.findings: Counter[str] = Counter()
        self.affected: Counter[str] = Counter()
        """Recordings with a code, while `findings` has one of each lead."""
        self.examples: dict[str, list[tuple[str, str, str]]] = {}

    def add(self, part: Part, seen: Seen, findings: Sequence[Finding]) -> None:
        """Take one recording, or what is said of the path itself."""
        if seen.name:
            self.recordings += 1
            self.sound += all(found.severity is Severity.NOTE for found in findings)
            self.broken += any(found.severity is Severity.ERROR for found in findings)
        for found in findings:
            self.findings[found.code] += 1
            examples = self.examples.setdefault(found.code, [])
            if len(examples) < EXAMPLES:
                where = self._where(part, seen)
                examples.append((where, found.lead, found.detail))
        self.affected.update({found.code for found in findings})

    def _where(self, part: Part, seen: Seen) -> str:
        """Return the shortest name that tells a person where to look."""
        path = seen.path
        if len(self.parts) == 1 and path != part.path and path.is_relative_to(part.path):
            path = path.relative_to(part.path)
        row = seen.name.rpartition("#")[2] if "#" in seen.name else ""
        named = seen.name if path == part.path and part.kind == "store" else str(path)
        return f"{named}#{row}" if row.isdigit() and path.suffix else named

    def count(self, severity: Severity) -> int:
        """How many findings are that severe."""
        return sum(n for code, n in self.findings.items() if CATALOGUE[code].severity is severity)

    @property
    def wrong(self) -> bool:
        """Whether there is anything but notes."""
        return bool(self.count(Severity.ERROR) or self.count(Severity.WARNING))

    @property
    def next(self) -> str:
        """The next sensible command."""
        if not self.recordings:
            return "nerula check --help"
        if _LEAKS & set(self.findings):
            path = self.parts[0].path
            return f"mend the split, then nerula check {path} --split TABLE"
        part = next(part for part in self.parts if part.kind != "unknown")
        if self.broken == self.recordings:  # nothing would be left to prepare
            return f"mend what is wrong, then nerula check {part.path}"
        if part.kind == "store":
            return f"nerula pretrain nerula {part.path} RUN"
        return f"nerula prepare {part.path} STORE"


# --- for machines --------------------------------------------------------------------------------


class Document:
    """Writes one JSON document, a finding per line, while the findings come."""

    def __init__(self, verdict: Verdict, out: TextIO) -> None:
        self._verdict, self._out = verdict, out
        self._lines = 0
        paths = [str(part.path) for part in verdict.parts]
        head = {"format": FORMAT, "version": VERSION, "paths": paths}
        out.write(json.dumps(head)[:-1] + ', "findings": [')

    def add(self, seen: Seen, findings: Iterable[Finding]) -> None:
        """Write the findings of one recording."""
        for found in findings:
            line = json.dumps(_plain(found, seen), allow_nan=False)
            self._out.write(("," if self._lines else "") + "\n" + line)
            self._lines += 1

    def close(self) -> None:
        """Write the summary and the end."""
        summary = json.dumps(_summary(self._verdict), allow_nan=False)
        self._out.write(f'\n], "summary": {summary}}}\n')
        self._out.flush()


def _plain(found: Finding, seen: Seen) -> dict[str, str]:
    return {
        "severity": found.severity.value,
        "code": found.code,
        "path": str(found.path or seen.path),
        "recording": seen.name,
        "lead": found.lead,
        "detail": found.detail,
        "meaning": found.defect.meaning,
        "remedy": found.defect.remedy,
    }


def _summary(verdict: Verdict) -> dict[str, Any]:
    ledger = verdict.ledger
    sides = {
        "by": verdict.split.name,
        "sides": dict(_by_name(ledger.sides)),
        "without_side": verdict.recordings - ledger.sides.total(),
        "subjects": ledger.subjects,
        "shared_subjects": ledger.shared,
    }
    return {
        "recordings": verdict.recordings,
        "sound": verdict.sound,
        "errors": verdict.count(Severity.ERROR),
        "warnings": verdict.count(Severity.WARNING),
        "notes": verdict.count(Severity.NOTE),
        "codes": dict(sorted(verdict.findings.items())),
        "duplicates": ledger.duplicates,
        "split": sides if ledger.sides else None,
    }


def _by_name(sides: Counter[str]) -> list[tuple[str, int]]:
    """Sort sides, 2 before 10."""
    return sorted(sides.items(), key=lambda one: (len(one[0]) if one[0].isdigit() else 99, one[0]))


# --- for people ----------------------------------------------------------------------------------


def show(verdict: Verdict, console: Console) -> None:
    """Print what was found, worst first, and what it comes to."""
    with console.capture() as printed:
        for severity in _ORDER:
            codes = [code for code in verdict.findings if CATALOGUE[code].severity is severity]
            for code in sorted(codes, key=lambda code: (-verdict.affected[code], code)):
                console.print(_group(verdict, code, severity))
        console.print(_closing(verdict))
        console.print(Text(f"Next: {_clean(verdict.next)}"), soft_wrap=True)
    for line in printed.get().splitlines():
        console.file.write(f"{line.rstrip()}\n")  # no blanks for whoever copies it


def _group(verdict: Verdict, code: str, severity: Severity) -> Padding:
    """One defect: what it means, what to do, where it is."""
    defect = CATALOGUE[code]
    count = _many(verdict.affected[code], "recording")
    title = Text.assemble(
        (severity.value.upper(), _STYLE[severity]), " ", (code, "bold"), (f"  {count}", "dim")
    )
    meaning = f"{defect.meaning[0].upper()}{defect.meaning[1:]}. "
    said: list[RenderableType] = [Text.assemble(meaning, (defect.remedy, "italic"))]
    if severity is not Severity.NOTE:
        said += _places(verdict, code)
    below = Padding(Group(*said), (0, 0, 0, 2), expand=False)
    return Padding(Group(title, below), (0, 0, 1, 0), expand=False)


def _places(verdict: Verdict, code: str) -> Iterator[RenderableType]:
    examples = verdict.examples[code]
    styles = ("", "bold", "dim")
    shown = [column for column in range(3) if any(example[column] for example in examples)]
    table = Table.grid(padding=(0, 2))
    for column in shown:
        table.add_column(overflow="fold", no_wrap=column == 1, style=styles[column])
    for example in examples:
        table.add_row(*(Text(_clean(example[column])) for column in shown))
    yield table
    if more := verdict.findings[code] - len(examples):
        yield Text(f"and {more:,} more", "dim")


def _closing(verdict: Verdict) -> Padding:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(verdict):
        table.add_row(name, Text(_clean(value)))
    if not verdict.recordings:
        said = Text("Nothing was checked.", "bold red")
    elif verdict.wrong:
        said = Text("Not all is sound.", "bold yellow")
    else:
        said = Text("All is sound.", "bold green")
    return Padding(Group(table, said), (0, 0, 1, 0), expand=False)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _facts(verdict: Verdict) -> Iterable[tuple[str, str]]:
    places = ", ".join(
        str(part.path) if part.kind == "unknown" else f"{part.kind} in {part.path}"
        for part in verdict.parts[:3]
    )
    more = f" and {len(verdict.parts) - 3} more" if len(verdict.parts) > 3 else ""
    yield "checked", f"{_many(verdict.recordings, 'recording')}, {places}{more}"
    yield "sound", f"{verdict.sound:,}"
    yield "found", ", ".join(_many(verdict.count(one), one.value) for one in _ORDER)
    ledger = verdict.ledger
    yield "duplicates", f"{ledger.duplicates:,}"
    if ledger.sides:
        sides = ", ".join(f"{side} ({n:,})" for side, n in _by_name(ledger.sides))
        yield "split", f"by {verdict.split.name}: {sides}"
        yield "subjects", f"{ledger.subjects:,}, shared subjects: {ledger.shared:,}"


def _clean(text: str) -> str:
    """Names come from files: nothing in them may steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
