"""What goes wrong, said so that a person can act on it."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from nerula.defects import CATALOGUE, Finding

FEW = 8
"""So many names are listed even where it is clear which one was meant."""


class NerulaError(Exception):
    """Anything a user can cause. The message says what is wrong, the remedy what to do."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class UsageError(NerulaError):
    """An option or argument that cannot be meant."""


def unknown(what: str, name: str, known: Iterable[str], more: str = "") -> UsageError:
    """Build the error for a name that is none of those that are known."""
    return UsageError(f"There is no {what} {name!r}.", nearest(name, known, more))


def nearest(name: str, known: Iterable[str], more: str = "") -> str:
    """Say which of the known names may be meant, and all of them unless they are many."""
    names = list(known)
    lowered = {one.lower(): one for one in reversed(names)}
    near = get_close_matches(name.lower(), lowered, 1)
    meant = f"Did you mean {lowered[near[0]]}?" if near else ""
    if near and not 1 < len(names) <= FEW:
        return meant
    return f"{meant} Choose from {', '.join(names)}{more}.".strip()


class MissingExtraError(NerulaError):
    """A format or feature that needs an optional package."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional package.", f"pip install 'nerula[{extra}]'")


class OutageError(NerulaError):
    """Nothing can be had now, whichever recording: it ends a run, and blames no file."""


class DefectError(NerulaError):
    """A recording that cannot be trusted: carries the finding that says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding), finding.defect.remedy)
        self.finding = finding

    def __reduce__(self) -> tuple[type["DefectError"], tuple[Finding]]:
        return type(self), (self.finding,)  # crosses process boundaries unchanged


def refuse(code: str, path: Path | None = None, detail: str = "", lead: str = "") -> DefectError:
    """Build the error for a defect: ``raise refuse("gain-zero", path, lead="II")``."""
    return DefectError(Finding(CATALOGUE[code].code, path, detail, lead))


def explain(error: Exception, path: Path) -> Finding:
    """Return as a finding what went wrong with one recording, our own mistakes included.

    What is wrong with none of them is raised again.
    """
    match error:
        case OutageError():
            raise error
        case DefectError():
            return error.finding
        case MissingExtraError():
            return Finding("format-unsupported", path, str(error))
        case NerulaError():
            return Finding("file-unreadable", path, str(error))
        case OSError() | MemoryError():
            return Finding("file-unreadable", path, str(error) or "not enough memory")
        case _:
            return Finding("reader-failed", path, f"{type(error).__name__}: {error}")
