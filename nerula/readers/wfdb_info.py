"""Comments of WFDB headers: age, sex and diagnoses are kept, everything else is left out.

Written as `#Age: 56`, `# Age: 25`, `# Age: 64 Sex: F` or `#<age>: 49 <sex>: M`.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from nerula.defects import Finding
from nerula.readers import facts

_FIELD = re.compile(r"<?([A-Za-z][A-Za-z ]{0,40})>?:(?!//)\s*")
_SEX_BESIDE = re.compile(r"\s+(?=<?(?:sex|gender)>?:)", re.IGNORECASE)
_ANGLED = re.compile(r"\s+(?=<[^<>]*>:)")
_LEADING_ZERO = re.compile(r"0[0-9]")
_UNSAID = frozenset(("", "-", "n/a", "nan", "none", "(none)", "unknown"))
_SNOMED = re.compile(r"[1-9][0-9]{5,17}")
_ABBREVIATION = re.compile(r"[1-3]?[A-Z]{2,7}")
_MENTIONS = {
    "age": re.compile(r"\bage\b", re.IGNORECASE),
    "sex": re.compile(r"\b(?:sex|gender|male|female)\b", re.IGNORECASE),
    "dx": re.compile(r"\bdx\b", re.IGNORECASE),
}
_KEYS = {"gender": "sex", "ecg date": "date"}
_CHALLENGE = frozenset(("rx", "hx", "sx"))


class Info(NamedTuple):
    """What the comments say of the subject."""

    age: float | None
    sex: str | None
    labels: dict[str, float]
    removed: tuple[str, ...]
    findings: list[Finding]


NOTHING = Info(None, None, {}, (), [])


def read(comments: Sequence[str], path: Path) -> Info:
    """Read a header's comments."""
    said: dict[str, str] = {}
    removed: set[str] = set()
    odd: list[Finding] = []
    for key, value in _fields(comments):
        if key in ("age", "sex", "dx"):
            if said.setdefault(key, value) != value:
                odd.append(Finding("header-comment", path, f"two statements on {key}"))
        else:
            said.setdefault(key, value)
            if value.lower() not in _UNSAID:
                removed.add(key if key == "date" else "free text")
    lost = _missing(said.keys()) | {
        key
        for key, mention in _MENTIONS.items()
        if not said.get(key, "") and any(map(mention.search, comments))
    }
    if lost:
        odd.append(Finding("header-comment", path, f"missing: {', '.join(sorted(lost))}"))
    age, age_odd = facts.age(said.get("age", ""), path)
    sex, sex_odd = facts.sex(said.get("sex", ""), path)
    if sex_odd or _LEADING_ZERO.match(said.get("age", "")) or said.get("sex", "").isdigit():
        odd.append(Finding("header-comment", path))
    labels = _labels(said.get("dx", ""), path, odd)
    return Info(age, sex, labels, tuple(sorted(removed)), odd + age_odd + sex_odd)


def _fields(comments: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Yield keys, lower case, and values; a comment that is no field has the key ""."""
    for comment in comments:
        text = comment.strip()
        split = _ANGLED if text.startswith("<") else _SEX_BESIDE
        for part in split.split(text):
            match = _FIELD.match(part)
            key = match[1].strip().lower() if match else ""
            if part:
                yield _KEYS.get(key, key), part[match.end() :].strip() if match else part


def _missing(keys: Iterable[str]) -> set[str]:
    """Return what a publisher who writes these keys would also have written."""
    have = set(keys)
    want: set[str] = set()
    if "date" in have and have & {"age", "sex"}:
        want |= {"age", "sex"}  # ECG-ID, PTB
    if len(have & {"age", "sex", "dx"}) >= 2 and have & _CHALLENGE:
        want |= {"age", "sex", "dx"}  # Challenge 2020 and 2021
    if "" in have and have & {"age", "sex"}:
        want |= {"age", "sex"}  # a comment that is no field may be what is left of one
    return want - have


def _labels(value: str, path: Path, odd: list[Finding]) -> dict[str, float]:
    """Return statements that were made, each with likelihood 1."""
    if value.lower() in _UNSAID:
        return {}
    labels = {}
    for statement in map(str.strip, value.split(",")):
        if _ABBREVIATION.fullmatch(statement) or _is_snomed(statement):
            labels[statement] = 1.0
        else:
            odd.append(Finding("header-comment", path, "a diagnosis that is no SNOMED CT code"))
    return labels


_TIMES = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_SHIFTS = (
    "0123456789", "1576283094", "5803796142", "8916043527",
    "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


@lru_cache(maxsize=4096)
def _is_snomed(code: str) -> bool:
    """Whether a SNOMED CT concept's last digit is the Verhoeff check digit of the others.

    SNOMED CT release file specification, section 5.5; the two digits before it say "concept".
    """
    if not _SNOMED.fullmatch(code) or code[-3:-1] not in ("00", "10"):
        return False
    check = 0
    for place, digit in enumerate(reversed(code)):
        check = int(_TIMES[check][int(_SHIFTS[place % 8][int(digit)])])
    return check == 0
