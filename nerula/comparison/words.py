"""Words: what a table says, and where it and the paper disagree, in plain sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from nerula.leads import spoken
from nerula.readers.names import STANDARD


def about(document: dict[str, Any]) -> list[str]:
    """The sentences under a table."""
    said = [_ranking(document), _figures(document), _ahead(document, "pretrained")]
    said += [_ahead(document, "control"), _ahead(document, "supervised")]
    said += [_more_data(document), _given(document), _fitted(document), _missing(document)]
    return [one for one in said if one]


def reading(document: dict[str, Any]) -> str:
    """How the table is to be read: who was tested, how often, what is bold."""
    cells = [cell for row in document["rows"] for cell in row["cells"] if cell]
    if not cells:
        return "Nothing is finished yet."
    most = max(cells, key=lambda cell: len(cell["seeds"]))["seeds"]
    several = ""
    if len(most) > 1:
        several = (
            f" Mean over {len(most)} seeds where the row has any; the intervals cover who is "
            "tested, not the seeds."
        )
    bold = " Bold: ahead of the next row with a paired interval above zero."
    return (
        f"{cells[0]['n']:,} recordings of {cells[0]['subjects']:,} subjects are tested; 95 % "
        f"bootstrap intervals over subjects.{several}{bold if _any_best(cells) else ''}"
    )


def budget(seen: dict[str, int]) -> str:
    """How many recordings each training saw."""
    if not seen:
        return "Nothing was trained without labels."
    each = [f"{count:,} by {_listed(names)}" for count, names in _alike(seen)]
    return f"Recordings seen in pretraining, each time counted: {'; '.join(each)}."


def lead(document: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Each row's title, and NERULA's lead over it in each column; empty without NERULA."""
    return [
        (
            row["title"],
            [
                signed(one, column["metric"])
                for column, one in zip(document["columns"], _leads(row), strict=True)
            ],
        )
        for row in document["rows"]
        if any(_leads(row))
    ]


def _any_best(cells: Sequence[dict[str, Any]]) -> bool:
    return any(cell["best"] for cell in cells)


def figure(value: float | None, metric: str) -> str:
    """A figure as tables show it: three digits after the point, years with two."""
    if value is None:
        return "–"
    digits = 2 if metric in ("mae", "rmse") else 3
    size = f"{abs(value):.{digits}f}"
    return f"−{size}" if value < 0 and float(size) else size


def _ranking(document: dict[str, Any]) -> str:
    """Whom the paper puts first of its ways of pretraining, and who is first here."""
    same: dict[str, list[str]] = {}
    other = []
    for place, column in enumerate(document["columns"]):
        both = {
            row["title"]: row["cells"][place]
            for row in document["rows"]
            if row["kind"] == "pretrained"
            and row["cells"][place]
            and row["cells"][place]["paper"] is not None
        }
        if len(both) < 2:
            continue
        heading = _spoken(column["heading"])
        theirs = _first({title: cell["paper"] for title, cell in both.items()}, column)
        ours = _first({title: cell["value"] for title, cell in both.items()}, column)
        if set(ours) <= set(theirs):
            same.setdefault(_listed(ours), []).append(heading)
            continue
        metric = column["metric"]
        left = [f"{name} {figure(both[name]['value'], metric)}" for name in theirs]
        other.append(
            f"In {heading} the paper puts {_listed(theirs)} first of the ways of pretraining "
            f"({both[theirs[0]]['paper']:.2f}); here it is {_listed(ours)} "
            f"({figure(both[ours[0]]['value'], metric)}; {_listed(left)})."
        )
    agreed = [
        f"In {_listed(headings)} {title} is first of the ways of pretraining, as in the paper."
        for title, headings in same.items()
    ]
    return " ".join(agreed + other)


def _figures(document: dict[str, Any]) -> str:
    """How many of the paper's figures lie outside our intervals, and which is furthest."""
    known = [
        (row["title"], column, cell)
        for row in document["rows"]
        for column, cell in zip(document["columns"], row["cells"], strict=True)
        if cell and cell["paper"] is not None and cell["low"] is not None
    ]
    if not known:
        return ""
    outside = [
        (title, column, cell)
        for title, column, cell in known
        if not _rounds_into(cell["paper"], cell["low"], cell["high"])
    ]
    if not outside:
        what = f"All {len(known)} figures" if len(known) > 1 else "The one figure"
        verb = "lie" if len(known) > 1 else "lies"
        return f"{what} of the paper {verb} within our intervals."
    if len(known) == 1:
        ((title, column, cell),) = known
        ours = figure(cell["value"], column["metric"])
        return (
            f"The one figure of the paper lies outside our interval: {title}, "
            f"{_spoken(column['heading'])}, {ours} here, {cell['paper']:.2f} there."
        )
    worse = sum((cell["value"] < cell["paper"]) != column["lower"] for _, column, cell in outside)
    title, column, cell = max(outside, key=lambda one: abs(one[2]["value"] - one[2]["paper"]))
    metric = column["metric"]
    return (
        f"Of the paper's {len(known)} figures {len(outside)} lie outside our intervals: ours "
        f"are worse in {worse} and better in {len(outside) - worse}. The furthest is {title}, "
        f"{_spoken(column['heading'])}: {figure(cell['value'], metric)} here, "
        f"{cell['paper']:.2f} there."
    )


def _ahead(document: dict[str, Any], kind: str) -> str:
    """How often NERULA is ahead of the other rows of a kind, and how often behind."""
    pairs = [
        (row["title"], one)
        for row in document["rows"]
        if row["kind"] == kind
        for one in _leads(row)
        if one and one["low"] is not None
    ]
    if not pairs:
        return ""
    over = sum(one["low"] > 0 for _, one in pairs)
    under = [title for title, one in pairs if one["high"] < 0]
    titles = list(dict.fromkeys(title for title, _ in pairs))
    what = {
        "pretrained": "other ways of pretraining",
        "control": "untrained or hand-made rows",
        "supervised": f"the one answer of {_listed(titles)},",
    }[kind]
    said = f"Against {what} NERULA is ahead, with a paired interval above zero, in {over} of "
    said += f"{len(pairs)} {'cell' if len(pairs) == 1 else 'cells'}"
    if under:
        whom = "" if kind == "supervised" else f" ({_listed(list(dict.fromkeys(under)))})"
        said += f" and behind in {len(under)}{whom}"
    return f"{said}."


def _leads(row: dict[str, Any]) -> list[dict[str, Any] | None]:
    """NERULA's lead over a row in each column; one answer may stand beside several probes."""
    own: list[dict[str, Any] | None] = row.get("nerula_ahead") or [
        cell and cell["nerula_ahead"] for cell in row["cells"]
    ]
    return own


def _more_data(document: dict[str, Any]) -> str:
    """NERULA's lead over a row that is no competitor: it has seen more."""
    return " ".join(
        f"NERULA's lead over {row['title']}: {'; '.join(said)}."
        for row in document["rows"]
        if row["kind"] == "more data"
        if (
            said := [
                f"{_spoken(column['heading'])} {signed(one, column['metric'])}"
                for column, one in zip(document["columns"], _leads(row), strict=True)
                if one
            ]
        )
    )


def _given(document: dict[str, Any]) -> str:
    """Who was given which leads in columns that name none, where rows differ in it."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in document["rows"]:
        for column, cell in zip(document["columns"], row["cells"], strict=True):
            if cell and not (column["leads"] or column["tested"]):
                groups.setdefault(tuple(cell["leads"]), []).append(row["title"])
                break
    if len(groups) < 2:
        return ""
    said = [
        f"{'all twelve' if set(leads) == set(STANDARD) else spoken(leads)} for {_listed(names)}"
        for leads, names in sorted(groups.items(), key=lambda group: len(group[0]))
    ]
    return f"Where no lead is named: {'; '.join(said)}."


def _fitted(document: dict[str, Any]) -> str:
    """Who was fitted on how many labelled recordings, where rows differ in it."""
    groups: dict[str, dict[str, int]] = {}
    for place, column in enumerate(document["columns"]):
        if column["gap"]:
            continue  # its probe is that of the column without one
        about = column["heading"].partition(", ")[2]
        groups.setdefault(about, {}).update(
            {row["title"]: row["cells"][place]["fitted"] for row in document["rows"]
             if row["cells"][place]}
        )  # fmt: skip
    said = []
    for about, counts in groups.items():
        if len(set(counts.values())) < 2:
            continue
        each = [
            f"{count:,}{'' if place else ' recordings'}: {_listed(names)}"
            for place, (count, names) in enumerate(_alike(counts))
        ]
        said.append(f"Fitted on {'; on '.join(each)}{f' ({about})' if about else ''}.")
    return " ".join(said)


def _alike(counts: Mapping[str, int]) -> list[tuple[int, list[str]]]:
    """Each number, from the least on, and whose it is."""
    found: dict[int, list[str]] = {}
    for name, count in counts.items():
        found.setdefault(count, []).append(name)
    return sorted(found.items())


def _missing(document: dict[str, Any]) -> str:
    """What has no figure, or one that means little."""
    said = [f"Failed: {one['cell']} ({one['problem']})." for one in document["failed"]]
    if document["collapsed"]:
        said.insert(0, f"Collapsed while it was trained: {_listed(document['collapsed'])}.")
    return " ".join(said)


def _first(values: dict[str, float], column: dict[str, Any]) -> list[str]:
    """All titles with the best value."""
    best = min(values.values()) if column["lower"] else max(values.values())
    return [title for title, value in values.items() if value == best]


def _rounds_into(paper: float, low: float, high: float) -> bool:
    """The paper has two digits after the point."""
    return low - 0.005 <= paper <= high + 0.005


def signed(ahead: dict[str, Any] | None, metric: str) -> str:
    """A difference with its interval."""
    if ahead is None:
        return "–"
    value, low, high = (figure(ahead[name], metric) for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _spoken(heading: str) -> str:
    """A heading inside a sentence: "Forest F1" is "forest F1", "SVC F1" stays."""
    return heading if heading[:2].isupper() else heading[0].lower() + heading[1:]


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
