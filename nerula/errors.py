"""What goes wrong, said so that a person can act on it."""

from pathlib import Path

from nerula.defects import CATALOGUE, Finding


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
