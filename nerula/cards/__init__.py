"""Cards: what is written beside a model, as a hub shows it; nothing in it is typed by hand.

README.md is the model card, DATA.md says what was learned from, results.json holds the figures on
the card. Both cards follow from config.json and from these figures.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nerula.cards import effort, figures, people, tripod
from nerula.cards.markdown import flat, front_matter, pairs
from nerula.cards.people import data_card as data_card
from nerula.files import write_whole
from nerula.schema import CARD, DATA_CARD, Config

LICENCE = "apache-2.0"
INTENDED = (
    "research on representations of the ECG, as input to models that are validated on their own "
    "task and population."
)
NOT_INTENDED = (
    "diagnosis, monitoring or any decision about a person. It has seen only the recordings named "
    "above; other devices, leads, ages and diseases than theirs need a validation of their own."
)
_ELSEWHERE = ("data", "machine", "seconds", "steps", "command", "collapsed", "start")
"""Parts of the provenance that the card tells in words of its own."""


def write(folder: Path, config: Config, name: str | None = None) -> None:
    """Write both cards of a model's folder."""
    write_whole(folder / CARD, written(config, folder, name))
    write_whole(folder / DATA_CARD, data_card(config))


def add_results(folder: Path, results: Sequence[Path], name: str | None = None) -> None:
    """Put results of `nerula probe` or `nerula compare` on the card of the model in `folder`."""
    config = Config.read(folder)
    figures.add(folder, config, results)
    write(folder, config, name)


def written(config: Config, folder: Path, name: str | None = None) -> str:
    """The model card, with the figures that lie in the model's folder."""
    return card(config, figures.read(folder), name)


def card(config: Config, held: figures.Figures | None = None, name: str | None = None) -> str:
    """The model card; `name` is what `nerula.load` finds the model by."""
    held = held or []
    titled = name or config.method
    groups = any(group["metrics"] for one in held for group in one.get("subgroups", []))
    updated = len(people.stages(config)) > 1
    known = tripod.Known(people.known(config), bool(held), groups, updated)
    about = {
        "license": LICENCE,
        "library_name": "nerula",
        "pipeline_tag": "feature-extraction",
        "tags": ["ecg", "self-supervised-learning", "feature-extraction"],
    }
    if held:
        about["model-index"] = figures.index(held, titled)  # type: ignore[assignment]
    sections = [
        front_matter(about),
        f"# {titled}: ECG embeddings for {people.leads(config)}",
        "A model made by [Nerula](https://pypi.org/project/nerula/). "
        "**For research use; not a medical device.**",
        pairs(_facts(config)),
        "## Use",
        *_use(config, name or "path/to/this/folder"),
        "## Results",
        *figures.section(held),
        "## Data",
        *people.credits_of(config),
        *people.summaries(config),
        f"Who they are, and what is not known of them: [{DATA_CARD}]({DATA_CARD}).",
        "## Training",
        *_trainings(config),
        "## Intended and not intended",
        f"Intended: {INTENDED} Not intended: {NOT_INTENDED}",
        "## TRIPOD+AI: what is reported, and what is not",
        *tripod.section(known),
    ]
    return "\n\n".join(sections) + "\n"


def _use(config: Config, name: str) -> list[str]:
    """How it is loaded and called; one of several leads with some of them."""
    several = len(config.contract.leads) > 1
    some = ", ".join(f'"{lead}"' for lead in config.contract.leads[:2])
    given = f"leads=[{some}]" if several else f"lead={some}"
    call = f'z = model.embed(x, rate=250, {given}, unit="mV")'
    return [
        f'```python\nimport nerula\n\nmodel = nerula.load("{name}")\n'
        f"{call}  # {config.dimensions} values\n```",
        "What is NaN, or marked invalid, is hidden from the encoder and never filled with zeros."
        + (" So are leads that are not named." if several else ""),
    ]


def _facts(config: Config) -> dict[str, str]:
    contract = config.contract
    band = f", {contract.band[0]:g}-{contract.band[1]:g} Hz" if contract.band else ""
    return {
        "Method": config.method,
        "Signal": f"{people.leads(config)} at {contract.rate:g} Hz in {contract.unit}{band}; "
        "any other rate and unit is converted",
        "Window": f"{config.window / contract.rate:g} s ({config.window} samples)",
        "Embedding": f"{config.dimensions} values",
        "Tensors": f"sha256 {config.tensors}",
        "Nerula": config.nerula,
    }


def _trainings(config: Config) -> list[str]:
    """What was asked for, how long it took, how it ended; the latest first."""
    said = []
    for number, training in enumerate(people.stages(config)):
        if number:
            said.append("It began with the weights of a model that had been trained like this:")
        said += _training(training)
    return said or ["Not known."]


def _training(training: Mapping[str, Any]) -> list[str]:
    """One training."""
    said = []
    if training.get("collapsed"):
        said.append("**Collapsed**: the model tells recordings hardly apart.")
    if "command" in training:
        said.append(f"```sh\n{training['command']}\n```")
    if lines := effort.section(training):
        said.append(pairs({"Steps": f"{training.get('steps', 0):,}", **lines}))
    rest = {name: value for name, value in training.items() if name not in _ELSEWHERE}
    if rest:
        said.append(pairs(flat(rest)))
    return said
