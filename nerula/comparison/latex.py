"""LaTeX: a table's document with booktabs, to be \\input into a paper."""

from collections.abc import Sequence
from typing import Any

from nerula.comparison import words

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "²": r"\textsuperscript{2}", "–": "--", "−": "$-$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def render(document: dict[str, Any]) -> str:
    """The table and, below it, NERULA's lead; needs \\usepackage{booktabs}."""
    columns = document["columns"]
    body: list[str] = []
    kind = None
    for row in document["rows"]:
        body += [r"\midrule"] if kind not in (None, row["kind"]) else []
        kind = row["kind"]
        cells = [_cell(c, column) for c, column in zip(row["cells"], columns, strict=True)]
        body.append(" & ".join([escaped(row["title"]), *cells]) + r" \\")
    lines = [r"\begin{table}", r"\centering\small", f"\\caption{{{escaped(_caption(document))}}}"]
    lines += [f"\\label{{tab:nerula-{document['name']}}}", *_tabular(columns, body)]
    if paired := words.lead(document):
        lines += ["", r"\medskip", "NERULA's lead, paired (positive: NERULA is better)", ""]
        body = [" & ".join(map(escaped, (title, *cells))) + r" \\" for title, cells in paired]
        lines += _tabular(columns, body)
    lines += [r"\end{table}", *(f"% {said}" for said in document["sentences"])]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text with every character that LaTeX would take for a command written out."""
    return "".join(_SPECIAL.get(one, one) for one in text)


def _caption(document: dict[str, Any]) -> str:
    title = document["title"].partition(". ")[2] if document["number"] else document["title"]
    note = f" {document['note']}" if document["note"] else ""
    return f"{title}.{note} {words.reading(document)}"


def _tabular(columns: Sequence[dict[str, Any]], body: Sequence[str]) -> list[str]:
    names = [f"{one['heading']} {'↓' if one['lower'] else '↑'}" for one in columns]
    return [
        f"\\begin{{tabular}}{{l{'c' * len(columns)}}}",
        r"\toprule",
        " & ".join(["", *map(escaped, names)]) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _cell(cell: dict[str, Any] | None, column: dict[str, Any]) -> str:
    """The value over its interval over the paper's figure."""
    if cell is None:
        return "--"
    metric = column["metric"]
    value = escaped(words.figure(cell["value"], metric))
    stacked = [f"\\textbf{{{value}}}" if cell["best"] else value]
    low, high = words.figure(cell["low"], metric), words.figure(cell["high"], metric)
    stacked.append(f"\\scriptsize {escaped(low)} to {escaped(high)}")
    if cell["paper"] is not None:
        stacked.append(f"\\scriptsize paper {cell['paper']:.2f}")
    lines = r" \\ ".join(stacked)
    return f"\\shortstack{{{lines}}}"
