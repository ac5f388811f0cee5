"""Recipe: what a device has to do before and after the graph, as JSON."""

import json
from typing import Any

from nerula import signal
from nerula.model import Model
from nerula.portable import Probe

FORMAT = "nerula-onnx-1"
KEY = "nerula"
"""Of the file's metadata: the recipe as text."""
INPUT, EMBEDDING = "signal", "embedding"


def answer(probe: Probe) -> str:
    """What a probe's output is called."""
    return "values" if probe.kind == "values" else "probabilities"


def recipe(model: Model, dimensions: int, probe: Probe | None, weights: str) -> dict[str, Any]:
    """Everything that is not in the graph; `weights` says how its numbers are kept."""
    contract = model.contract
    outputs: dict[str, Any] = {
        EMBEDDING: {
            "shape": ["batch", dimensions],
            "nothing measured": "zeros",
        }
    }
    if probe is not None:
        named = "unit" if probe.kind == "values" else "classes"
        outputs[answer(probe)] = {
            "shape": ["batch", len(probe.answers)],
            named: probe.answers[0] if probe.kind == "values" else list(probe.classes),
            "of": "one window; of a longer recording, average the embeddings first",
            "about": dict(probe.about),
        }
    return {
        "format": FORMAT,
        "model": {
            "method": model.identity["method"],
            "tensors": model.identity["tensors"],
            "weights": weights,
        },
        "input": {
            "name": INPUT,
            "shape": ["batch", len(contract.leads), "time"],
            "leads": list(contract.leads),
            "rate": contract.rate,
            "unit": contract.unit,
            "any set of leads": model.method.any_leads,
            "missing": "NaN, for single samples, leads or whole windows",
        },
        "outputs": outputs,
        "in the graph": [
            "what is NaN or infinite is hidden from every layer",
            "each lead's mean over its measured samples is taken out, and it is scaled, as the "
            "model was trained",
        ],
        "before the graph": before(model),
        "windows": {
            "samples": model.window,
            "seconds": model.seconds,
            "step": model.window,
            "last": "filled up with NaN",
            "longer input": "embedded in one piece, every sample weighing the same; the model's "
            "own way with a long recording is to cut it into these windows",
        },
        "average": "sum(w * z) / sum(w) over the windows, w the share of a window's samples that "
        "any lead has",
        "intended use": "research; not a medical device",
    }


def before(model: Model) -> list[dict[str, Any]]:
    """The steps from a recording of any rate and unit to the graph's input, in their order."""
    contract = model.contract
    steps: list[dict[str, Any]] = [
        {"step": "unit", "to": contract.unit},
        {
            "step": "mark",
            "what": "lead-off, flat and clipped stretches become NaN where the device knows them",
        },
        {"step": "bridge", "what": "straight lines over NaN, ends held, before the next step"},
        {
            "step": "resample",
            "to": contract.rate,
            "unless": "the rate is that already",
            "edges": "reflected: x[1] x[0] | x[0] x[1] ...",
            "how": "real Fourier transform, times gain(f), cut to the new length, back, times "
            "new length / old length",
            "gain": "1 for f <= (cutoff - 6 width) n, 0 for f >= n, between them "
            "erfc((f / n - cutoff) / (width sqrt 2)) / 2; n half of the lower rate",
            "cutoff": signal.CUTOFF,
            "width": signal.WIDTH,
        },
        {
            "step": "hide again",
            "what": "NaN where an input sample closer than one period of the lower rate was NaN",
        },
    ]
    if contract.band is not None:
        low, high = contract.band
        steps[3] |= {
            "unless": "never",
            "band": {
                "low": low,
                "high": high,
                "order": signal.ORDER,
                "how": "gain(f) is also multiplied by the squared magnitude of a Butterworth "
                "band-pass at the recording's rate (forward and backward)",
            },
        }
    return steps


def as_text(values: dict[str, Any]) -> str:
    """The JSON that stands beside the file."""
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
