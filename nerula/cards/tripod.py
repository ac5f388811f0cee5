"""What of TRIPOD+AI a card reports, item by item, and what it does not.

Collins et al. 2024, https://doi.org/10.1136/bmj-2023-078378: 27 items for studies that develop or
evaluate a clinical prediction model. An encoder predicts nothing by itself, so some items wait for
the study that uses it; the words here are ours, the numbers are theirs.
"""

from typing import NamedTuple

from nerula.cards.markdown import table

SOURCE = "Collins et al. 2024, https://doi.org/10.1136/bmj-2023-078378"


class Known(NamedTuple):
    """On what it depends which items are reported."""

    people: bool
    """Whether it is written down who was learned from: subjects, sex, age."""
    figures: bool
    """Whether results stand on it."""
    groups: bool
    """Whether these are given by sex and age."""
    updated: bool = False
    """Whether a trained model was trained further."""


def section(known: Known) -> list[str]:
    """The map, as one table, and a count."""
    rows = [(number, asks, answer or "not reported") for number, asks, answer in _items(known)]
    told = sum(answer is not None for _, _, answer in _items(known))
    return [
        f"{told} of {len(rows)} items are answered here or where it is said; an answer may be "
        f"that an item does not apply. Item numbers: {SOURCE}.",
        table(("item", "asks for", "where"), rows),
    ]


def _items(known: Known) -> list[tuple[str, str, str | None]]:
    """Number, what it asks for, and where that stands; None where nowhere."""
    figures = "Results" if known.figures else None
    outcome = "of each question: docs/tasks.md" if known.figures else "does not apply: no outcome"
    return [
        ("1", "what is developed, for whom", "title; it predicts no outcome by itself"),
        ("2", "a summary", "the first table"),
        ("3a", "clinical context and reasons", None),
        ("3b", "purpose, users, population", "Intended and not intended"),
        ("3c", "known inequalities in health", None),
        ("4", "aims", "Intended and not intended"),
        ("5a", "sources of data, and why these", "Data; why these: not reported"),
        ("5b", "dates", None),
        ("6a", "setting and places", "the publisher's description, cited under Data"),
        ("6b", "who was eligible", "Data: which recordings; of people: the publisher's"),
        ("6c", "treatments", None),
        ("7", "preparation of the data", "Signal; DATA.md"),
        ("8a", "outcome and its time", outcome),
        ("8b", "who judged the outcome", None),
        ("8c", "blinding of those who judged", None),
        ("9a", "choice of predictors", "the signal alone; no age, no sex"),
        ("9b", "definition of predictors", "Signal"),
        ("9c", "who measured predictors", "does not apply: devices"),
        ("10", "sample size and reasons", "all that was eligible; no calculation"),
        ("11", "missing data", "hidden from the encoder, never filled: Use"),
        ("12a", "how data were divided", "Data: folds; DATA.md"),
        ("12b", "handling of predictors", "Signal"),
        ("12c", "type of model and its building", "config.json, Training"),
        ("12d", "differences between places", None),
        ("12e", "measures of performance", figures),
        ("12f", "updating", "Training: what it began with" if known.updated
         else "does not apply: none"),
        ("12g", "how predictions were computed", "Results: the probe of each row" if figures
         else None),
        ("13", "imbalance of classes", "of each question: docs/tasks.md" if figures else None),
        ("14", "fairness", "Results by sex and age; nothing was corrected" if known.groups
         else None),
        ("15", "what comes out", "the first table: an embedding, no decision"),
        ("16", "training against evaluation", "Results: shared subjects are refused" if figures
         else None),
        ("17", "ethical approval", "the publisher's; none of its own"),
        ("18a", "funding", None),
        ("18b", "conflicts of interest", None),
        ("18c", "protocol", "of each question: docs/tasks.md" if figures else None),
        ("18d", "registration", None),
        ("18e", "access to data", "Data: publisher and licence"),
        ("18f", "access to code", "Nerula, Apache-2.0; the command under Training"),
        ("19", "involvement of patients and public", None),
        ("20a", "flow of participants", "DATA.md: found and left out" if known.people else None),
        ("20b", "their characteristics", "DATA.md: sex, age, statements" if known.people
         else None),
        ("20c", "development against evaluation", None),
        ("21", "numbers in each analysis", "Data; Results: n" if figures else "Data"),
        ("22", "the full model", "model.safetensors and config.json"),
        ("23a", "performance with intervals", "Results, also by sex and age" if known.groups
         else figures),
        ("23b", "differences between places", None),
        ("24", "results of updating", None if known.updated else "does not apply: none"),
        ("25", "interpretation", None),
        ("26", "limitations", "Intended and not intended"),
        ("27a", "poor or missing input in use", "Use: what is invalid is hidden"),
        ("27b", "what users must do and know", "Intended and not intended"),
        ("27c", "next steps", "a validation on the own task and population"),
    ]  # fmt: skip
