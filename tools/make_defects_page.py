"""Write docs/defects.md, the catalogue of defects, from the catalogue itself."""

from pathlib import Path

from nerula.defects import CATALOGUE, Severity

PAGE = Path(__file__).parent.parent / "docs" / "defects.md"

HEAD = """# Defects

Everything that `nerula check` can find, worst first. `tools/make_defects_page.py` makes this page
from `nerula/defects.py`, and a test provokes each of them in a file with real ECG.

An **error** keeps a recording out of a store. A **warning** leaves it usable; what is affected is
marked invalid where that can be told. A **note** is a harmless quirk. `nerula check --strict`
exits with 2 where there is an error or a warning.
"""


def page() -> str:
    """Return the page as Markdown."""
    parts = [HEAD]
    for severity in (Severity.ERROR, Severity.WARNING, Severity.NOTE):
        defects = [one for one in CATALOGUE.values() if one.severity is severity]
        parts.append(f"\n## {severity.value.capitalize()}s ({len(defects)})\n")
        parts.append("| code | what it means | what to do |\n|---|---|---|")
        parts += [f"| `{one.code}` | {one.meaning} | {one.remedy} |" for one in defects]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
