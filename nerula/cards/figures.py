"""Figures on a card: results of `nerula probe` and `nerula compare`, kept beside the model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nerula.cards.markdown import table
from nerula.errors import NerulaError, UsageError
from nerula.files import load_json, write_whole
from nerula.schema import RESULTS, Config

FORMAT = "nerula-card-results-1"
_RESULT = "nerula-result-1"
_KEPT = ("task", "data", "way", "provenance", "metrics", "subgroups", "nerula")
"""What of a result a card needs."""
_CALLED = {
    "sample": "the bundled 1,200 of PTB-XL",
    "ptbxl100": "PTB-XL",
    "ptbxl500": "PTB-XL",
    "challenge2017": "Challenge 2017",
    "ucihar": "UCI HAR",
    "ecgid": "ECG-ID",
}
"""What a person calls a source."""

Figures = list[dict[str, Any]]


def read(folder: Path) -> Figures:
    """The figures that lie beside a model; none, where there are none."""
    path = folder / RESULTS
    if not path.exists():
        return []
    document = _json(path)
    if document.get("format") != FORMAT or not isinstance(document.get("results"), list):
        raise NerulaError(f"{path} holds no figures of this version ({FORMAT}).")
    return list(document["results"])


def add(folder: Path, config: Config, paths: Sequence[Path]) -> Figures:
    """Put result documents beside a model, in place of older ones of the same question."""
    held = {_key(one): one for one in read(folder)}
    for path in paths:
        document = _json(path)
        if document.get("format") != _RESULT:
            raise NerulaError(f"{path} is no result of nerula probe or compare.")
        if document["model"]["tensors"] != config.tensors:
            raise UsageError(
                f"{path} is about another model.",
                f"Its tensors are {document['model']['tensors'][:16]}, not {config.tensors[:16]}.",
            )
        one = {name: document[name] for name in _KEPT if name in document}
        held[_key(one)] = one
    figures = [held[key] for key in sorted(held)]
    lines = ",\n".join(json.dumps(one, allow_nan=False) for one in figures)
    content = f'{{"format": {json.dumps(FORMAT)}, "results": [\n{lines}\n]}}\n'
    write_whole(folder / RESULTS, content)
    return figures


def section(figures: Figures) -> list[str]:
    """What a person reads: each question's main metric with its interval, then by group."""
    if not figures:
        return ["Not measured yet. `nerula probe` asks; `nerula card MODEL RESULTS` adds it here."]
    rows = []
    for one in figures:
        task, main = one["task"], one["metrics"][one["task"]["main"]]
        asked = _question(one)
        rows.append((asked, _way(one["way"]), _spoken(task["main"]), _interval(main),
                     _number(main["chance"]), f"{main['n']:,}"))  # fmt: skip
    head = ("question", "probe", "metric", "value, 95 % interval", "chance", "n")
    return [table(head, rows), _protocols(figures), *_groups(figures)]


def _groups(figures: Figures) -> list[str]:
    """A table for each question: groups in rows, probes in columns."""
    questions: dict[str, Figures] = {}
    for one in figures:
        main = _spoken(one["task"]["main"])
        questions.setdefault(f"{_question(one)}: {main}", []).append(one)
    said = []
    for question, held in questions.items():
        metric = held[0]["task"]["main"]
        groups: dict[tuple[str, str], list[str]] = {}
        for one in held:
            for group in one.get("subgroups", []):
                value = (group["metrics"] or {}).get(metric)
                shown = "too few to judge" if value is None else _interval(value)
                groups.setdefault((group["group"], f"{group['n']:,}"), []).append(shown)
        if groups:
            rows = [(*group, *values) for group, values in groups.items()]
            said += [f"{question} by sex and age.",
                     table(("group", "n", *(_way(one["way"]) for one in held)), rows)]  # fmt: skip
    return said


def index(figures: Figures, name: str) -> list[dict[str, Any]]:
    """The same for a hub's `model-index`."""
    results = [
        {
            "task": {"type": "feature-extraction", "name": f"{one['task']['title']}, "
                     f"{_way(one['way'])} on the embedding"},
            "dataset": {"type": one["data"]["kind"], "name": _data(one),
                        "config": f"{one['data']['tested']} recordings tested"},
            "metrics": [
                {"type": metric, "name": f"{_spoken(metric)} ({_interval(held)})",
                 "value": round(held["value"], 4)}
                for metric, held in one["metrics"].items() if held["value"] is not None
            ],
        }
        for one in figures
    ]  # fmt: skip
    return [{"name": name, "results": results}]


def _protocols(figures: Figures) -> str:
    said = {
        f"- {one['task']['title']}: {one['task']['protocol']} Pretraining "
        f"{one['provenance']['status']}: {one['provenance']['detail']}."
        for one in figures
    }
    return "\n".join(sorted(said))


def _key(one: Mapping[str, Any]) -> str:
    way = one["way"]
    return json.dumps([one["task"]["name"], one["data"]["kind"], way], sort_keys=True)


def _way(way: Mapping[str, Any]) -> str:
    words = [str(way["probe"])]
    if way["labels"] < 1:
        words.append(f"{100 * way['labels']:g} % of labels")
    if way["gap"]:
        words.append(f"{100 * way['gap']:g} % missing, {way['filling']}")
    for key, what in (("leads", "given"), ("tested", "tested with")):
        if key in way:
            words.append(f"{what} {' '.join(way[key])}")
    return ", ".join(words)


def _data(one: Mapping[str, Any]) -> str:
    kind = str(one["data"]["kind"])
    return _CALLED.get(kind, kind)


def _spoken(metric: str) -> str:
    return metric.replace("_", " ")


def _question(one: Mapping[str, Any]) -> str:
    """What was asked, and of which data, where the title does not say."""
    title, data = str(one["task"]["title"]), _data(one)
    return title if data in title else f"{title}, {data}"


def _interval(held: Mapping[str, Any]) -> str:
    if held["value"] is None:  # such as the AUROC among women of who is a woman
        return _number(None)
    return f"{_number(held['value'])}, {_number(held['low'])} to {_number(held['high'])}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


def _json(path: Path) -> dict[str, Any]:
    try:
        document = load_json(path)
    except (OSError, ValueError) as error:
        raise NerulaError(f"{path} cannot be read: {error}.") from error
    if not isinstance(document, dict):
        raise NerulaError(f"{path} does not hold an object.")
    return document
