"""What tables and comments say about a subject, in their many spellings: age and sex."""

import re
from pathlib import Path

from nerula.defects import Finding

_NUMBER = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,6})?")
_NOT_KNOWN = frozenset(("", "nan", "unknown", "none", "null", "n/a", "na", "?", "-1", "-1.0"))
_SEX = {
    "0": "male", "0.0": "male", "m": "male", "male": "male",
    "1": "female", "1.0": "female", "f": "female", "female": "female",
}  # fmt: skip

OLDEST = 90.0
"""Ages over 89 are kept as this one; together with other facts they could name a person."""


def age(text: str, path: Path | None) -> tuple[float | None, list[Finding]]:
    """Return an age in years, None where it is not known, and what is odd about it."""
    bare = text.strip().lower()
    if bare in _NOT_KNOWN:
        return None, []
    years = float(bare) if _NUMBER.fullmatch(bare) else -1.0
    if 0 <= years <= 89:
        return years, []
    if 89 < years <= 120 or years == 300:  # 300 is how PTB-XL writes "over 89"
        return OLDEST, [Finding("age-over-89", path)]
    return None, [Finding("age-absurd", path, repr(text[:20]))]


def sex(text: str, path: Path | None) -> tuple[str | None, list[Finding]]:
    """Return "female", "male" or None, and what is odd about it; 0 is male, 1 female."""
    bare = text.strip().lower()
    if bare in _SEX:
        return _SEX[bare], []
    return None, [] if bare in _NOT_KNOWN else [Finding("sex-unknown", path, repr(text[:20]))]
