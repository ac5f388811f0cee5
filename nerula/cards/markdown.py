"""Markdown: tables and front matter, from plain values."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def pairs(rows: Mapping[str, Any]) -> str:
    """A table of names and values, without a head."""
    return table(("", ""), list(rows.items()))


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *([text(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by their joined names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name} ")
        else:
            found[f"{prefix}{name}"] = value
    return found


def text(value: Any) -> str:
    """One value in a table."""
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return shown.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def front_matter(values: Mapping[str, Any]) -> str:
    """What a hub reads, as YAML; every value is written as JSON, which is YAML too."""
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    return "\n".join(["---", *lines, "---"])
