"""Cards: the README.md of a model folder, as the Hugging Face hub shows it."""

from collections.abc import Mapping
from typing import Any

from nerula.publishers import PUBLICATIONS
from nerula.schema import Config

LICENCE = "apache-2.0"
INTENDED = (
    "research on representations of the ECG, as input to models that are validated on their own "
    "task and population."
)
NOT_INTENDED = (
    "diagnosis, monitoring or any decision about a person. It has seen only the recordings named "
    "above; other devices, leads, ages and diseases than theirs need a validation of their own."
)


def card(config: Config) -> str:
    """Write the model card from what the config knows; nothing in it is typed by hand."""
    contract, training = config.contract, config.training
    leads = ", ".join(contract.leads)
    band = f", {contract.band[0]:g}-{contract.band[1]:g} Hz" if contract.band else ""
    rows = {
        "Method": config.method,
        "Signal": f"{leads} at {contract.rate:g} Hz in {contract.unit}{band}; "
        "any other rate and unit is converted",
        "Window": f"{config.window / contract.rate:g} s ({config.window} samples)",
        "Embedding": f"{config.dimensions} values",
        "Tensors": f"sha256 {config.tensors}",
        "Nerula": config.nerula,
    }
    sections = [
        f"---\nlicense: {LICENCE}\nlibrary_name: nerula\n"
        "tags: [ecg, self-supervised-learning, feature-extraction]\n---",
        f"# {config.method}: ECG embeddings for {leads}",
        "A model made by [Nerula](https://pypi.org/project/nerula/). "
        "**For research; not a medical device.**",
        _table(rows),
        "## Use",
        '```python\nimport nerula\n\nmodel = nerula.load("path/to/this/folder")\n'
        f'z = model.embed(x, rate=250, lead="{contract.leads[0]}", unit="mV")'
        f"  # {config.dimensions} values\n```",
        "What is NaN, or marked invalid, is hidden from the encoder and never filled with zeros.",
        "## Training",
        *_credits(training),
        _table(_flat(training)),
        "## Intended and not intended",
        f"Intended: {INTENDED} Not intended: {NOT_INTENDED}",
    ]
    return "\n\n".join(sections) + "\n"


def _credits(training: Mapping[str, Any]) -> list[str]:
    """Whose recordings these are, where a publisher is known."""
    seen = training.get("data", {})
    kinds = [part.get("kind") for part in seen.get("parts") or []] or [seen.get("kind")]
    known = [PUBLICATIONS[kind] for kind in kinds if kind in PUBLICATIONS]
    return [f"Data: {one.title} ({one.cite}). Licence: {one.licence}." for one in known]


def _table(rows: Mapping[str, Any]) -> str:
    lines = [f"| {name} | {_text(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name} ")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _text(value: Any) -> str:
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return shown.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
