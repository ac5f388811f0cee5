"""Whose recording it is, without saying who: what clinical files tell about a person, reduced."""

from collections.abc import Callable
from datetime import date
from hashlib import blake2b
from pathlib import Path

from nerula.defects import Finding
from nerula.readers import facts


def pseudonym(identifier: str) -> str | None:
    """Return the same 16 hex digits for the same identifier, or None where there is none."""
    bare = " ".join(identifier.split())
    return blake2b(bare.encode()).hexdigest()[:16] if bare else None


def day(
    text: str, read: Callable[[str], date | None], path: Path
) -> tuple[date | None, tuple[Finding, ...]]:
    """Return a day; that one is written but cannot be read is said."""
    found = read(text) if text else None
    unread = bool(text) and found is None
    return found, (Finding("header-comment", path, "a date"),) if unread else ()


def _years_between(birth: date | None, day: date | None) -> str:
    """Return how old someone is on a day, in whole years, or "" where either is not known."""
    if birth is None or day is None:
        return ""
    return str(day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day)))


def age(
    stated: str, birth: date | None, day: date | None, path: Path
) -> tuple[float | None, tuple[Finding, ...]]:
    """Return the age as it is stated, or from two dates; they may differ by a year."""
    computed = _years_between(birth, day)
    years, odd = facts.age(stated or computed, path)
    if not (stated and computed) or years is None or abs(float(computed) - years) <= 1:
        return years, tuple(odd)
    if years == facts.OLDEST and float(computed) >= years:
        return years, tuple(odd)
    detail = "the age is not that which the dates of birth and recording give"
    return years, (*odd, Finding("header-contradiction", path, detail))
