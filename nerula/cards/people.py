"""Whose recordings these are: the data card, and the part of the model card that shortens it."""

from collections.abc import Mapping
from typing import Any

from nerula.cards.markdown import front_matter, pairs, table
from nerula.publishers import PUBLICATIONS, Publication
from nerula.schema import CARD, Config

SAMPLE = "sample"
"""The kind of the recordings that come with the package, which are PTB-XL's."""
LIMITS = (
    "What the recordings hold, their reports say; nobody looked at them again for this. Ages over "
    "89 are kept as 90. Whatever is not listed here (ethnicity, devices, places, treatments) is "
    "not known, and groups that are rare above may fare worse."
)


def stages(config: Config) -> list[Mapping[str, Any]]:
    """The training of a model, and before it those of the models that it went on from."""
    found: list[Mapping[str, Any]] = []
    training: Mapping[str, Any] = config.training
    while training:
        found.append(training)
        training = training.get("start", {}).get("training", {})
    return found


def stores(config: Config) -> list[Mapping[str, Any]]:
    """What each stage has learned from, where it is not what a later one learned from too."""
    found: list[Mapping[str, Any]] = []
    for training in stages(config):
        data = training.get("data", {})
        if not any(_same(data, other) for other in found):
            found.append(data)
    return found or [{}]


def _same(data: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(data.get(name) == other.get(name) for name in ("kind", "folds", "recordings"))


def leads(config: Config) -> str:
    """The leads of a model; of one that has learned from any of several, these."""
    seen = config.training.get("data", {}).get("leads")
    return f"any one of {', '.join(seen)}" if seen else ", ".join(config.contract.leads)


def known(config: Config) -> bool:
    """Whether it is written down who was learned from."""
    return all("subjects" in data for data in stores(config))


def summaries(config: Config) -> list[str]:
    """The few lines of data that both cards have, for each stage that had others."""
    first, *earlier = (pairs(summary(data)) for data in stores(config))
    return [first, *(part for one in earlier for part in ("Before that, from:", one))]


def data_card(config: Config) -> str:
    """DATA.md: what a model has learned from."""
    contract, (first, *earlier) = config.contract, stores(config)
    band = f"{contract.band[0]:g} to {contract.band[1]:g} Hz" if contract.band else "no filter"
    sections = [
        front_matter({"tags": ["ecg"], "annotations_creators": ["no-annotation"]}),
        f"# What {config.method} has learned from",
        "\n".join(credits_of(config)) or "The publisher is not known: files of one's own.",
        "## Recordings",
        *summaries(config),
        "## Prepared as",
        pairs(
            {
                "Leads": leads(config),
                "Rate": f"{contract.rate:g} Hz",
                "Band": f"{band} beside that of resampling",
                "Unit": f"{contract.unit}, in steps of {contract.scale:g}",
                "Missing": "NaN, lead-off, flat and clipped stretches are marked and hidden",
            }
        ),
        "## Who",
        *_groups(first),
        *(part for data in earlier for part in ("Before that:", *_groups(data))),
        "## Limits",
        LIMITS,
        f"The model is described in [{CARD}]({CARD}).",
    ]
    return "\n\n".join(sections) + "\n"


def summary(data: Mapping[str, Any]) -> dict[str, str]:
    """The few lines of data that both cards have."""
    found = {"Recordings": _count(data.get("recordings"))}
    if "subjects" in data:
        found["Subjects"] = _subjects(data)
        found["Hours of signal"] = f"{data['hours']:,.1f}, {100 * data['measured']:.2f} % measured"
        found["Left out"] = _count(data["left out"]) + " of the store: other folds, or too short"
    if folds := data.get("folds"):
        found["Folds"] = ", ".join(f"{fold} ({int(count):,})" for fold, count in folds.items())
    if "store" in data:
        found["Digest of the store"] = str(data["store"])
    return found


def _subjects(data: Mapping[str, Any]) -> str:
    """How many people, as far as recordings say whose they are."""
    nobody = int(data["without subject"])
    if not data["subjects"]:
        return "not known: no recording says whose it is"
    named = f"{data['subjects']:,} in {int(data['recordings']) - nobody:,} recordings"
    return named + (f"; {nobody:,} recordings do not say whose they are" if nobody else "")


def credits_of(config: Config) -> list[str]:
    """Whose recordings these are, where a publisher is known."""
    kinds = [part.get("kind") for seen in stores(config) for part in seen.get("parts") or [seen]]
    published = {kind: PUBLICATIONS.get("ptbxl" if kind == SAMPLE else kind) for kind in kinds}
    return [_credit(one, kind == SAMPLE) for kind, one in published.items() if one]


def _credit(one: Publication, part: bool) -> str:
    of = "the sample that comes with Nerula, a part of " if part else ""
    return f"Data: {of}{one.title} ({one.cite}). Licence: {one.licence}."


def _groups(data: Mapping[str, Any]) -> list[str]:
    if "subjects" not in data:
        return ["Not written down when this was trained."]
    total = max(int(data["recordings"]), 1)

    def shares(held: Mapping[str, int]) -> list[tuple[str, str, str]]:
        return [(name, f"{n:,}", f"{100 * n / total:.1f} %") for name, n in held.items()]

    said = [
        table(("sex", "recordings", "share"), shares(data["sex"])),
        table(("age", "recordings", "share"), shares(data["age"])),
    ]
    if data.get("statements"):
        said += [
            "The most frequent statements of the reports; one recording may have several:",
            table(("statement", "recordings", "share"), shares(data["statements"])),
        ]
    return said


def _count(number: Any) -> str:
    return "not known" if number is None else f"{int(number):,}"
