"""Whose recording it is, without saying who: what clinical files tell about a person, reduced."""

from datetime import date
from hashlib import blake2b


def pseudonym(identifier: str) -> str | None:
    """Return the same 16 hex digits for the same identifier, or None where there is none."""
    bare = " ".join(identifier.split())
    return blake2b(bare.encode()).hexdigest()[:16] if bare else None


def years_between(birth: date | None, day: date | None) -> str:
    """Return how old someone is on a day, in whole years, or "" where either is not known."""
    if birth is None or day is None:
        return ""
    return str(day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day)))
