"""Figures on a card: results of `nerula probe` and `nerula compare`, kept beside the model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nerula.cards.markdown import table
from nerula.errors import NerulaError, UsageError
from nerula.files import write_whole
from nerula.schema import RESULTS, Config

FORMAT = "nerula-card-results-1"
_RESULT = "nerula-result-1"
_KEPT = ("task", "data", "way", "provenance", "metrics", "subgroups", "nerula", "command")
"""What of a result a card needs."""

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
    content = {"format": FORMAT, "results": figures}
    write_whole(folder / RESULTS, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return figures


def section(figures: Figures) -> list[str]:
    """What a person reads: each question's main metric with its interval, then by group."""
    if not figures:
        return ["Not measured yet. `nerula probe` asks; `nerula card MODEL RESULTS` adds it here."]
    rows, groups = [], []
    for one in figures:
        task, way = one["task"], _way(one["way"])
        main = one["metrics"][task["main"]]
        asked = f"{task['title']}, {_data(one)}"
        rows.append((asked, way, _spoken(task["main"]), _interval(main), _number(main["chance"]),
                     f"{main['n']:,}"))  # fmt: skip
        for group in one.get("subgroups", []):
            held = (group["metrics"] or {}).get(task["main"])
            shown = "too few to judge" if held is None else _interval(held)
            groups.append((asked, way, group["group"], f"{group['n']:,}", shown))
    head = ("question", "probe", "metric", "value, 95 % interval", "chance", "n")
    said = [table(head, rows), _protocols(figures)]
    if groups:
        said += ["By sex and age:", table(("question", "probe", "group", "n", "value"), groups)]
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
    return ", ".join(words)


def _data(one: Mapping[str, Any]) -> str:
    return str(one["data"]["kind"])


def _spoken(metric: str) -> str:
    return metric.replace("_", " ")


def _interval(held: Mapping[str, Any]) -> str:
    return f"{_number(held['value'])}, {_number(held['low'])} to {_number(held['high'])}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NerulaError(f"{path} cannot be read: {error}.") from error
    if not isinstance(document, dict):
        raise NerulaError(f"{path} does not hold an object.")
    return document
