"""Several processes with a share of each batch are one process with all of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import distributed

from nerula import sample
from nerula import train as loop
from nerula.batches import Batches, Labelled, Windows
from nerula.contract import Contract
from nerula.encoders.resnet import PlaceBatchNorm
from nerula.method import Method
from nerula.methods import METHODS, build, find
from nerula.options import Options
from nerula.ranks import Ranks
from nerula.recording import Recording
from nerula.store import Store
from nerula.together import gathered
from nerula.writer import StoreWriter
from tools.torture import ended, in_a_child

OPTIONS = Options(epochs=4, batch=8, window=1.28, folds="all", seed=3)
STEPS = 20

SMALL: dict[str, dict[str, Any]] = {
    "nerula": {"width": 16, "heads": 2, "projector": 16, "decoder_width": 16, "ema": 0.9},
    "byol": {"encoder": "local", "hidden": 16, "projector": 16},
    "simclr": {"encoder": "local", "hidden": 16, "projector": 16},
    "cmsc": {"encoder": "local"},
    "timae": {"width": 16, "heads": 2, "decoder_width": 16, "depth": 1, "decoder_depth": 1},
    "supervised": {"widths": (8, 8, 8, 8), "norm": "position", "weights": (1.0, 3.0)},
    "modal": {
        "width": 16, "depth": 1, "heads": 2, "decoder_width": 16, "decoder_depth": 1,
        "decoder_heads": 2, "leads": 2,
    },
    "w2v_cmsc_rlm": {
        "channels": (16, 16, 16), "width": 32, "depth": 1, "heads": 2, "kernel_groups": 4,
        "entries": 8, "codes": 8, "negatives": 10, "leads": 2,
    },
}  # fmt: skip
"""Every method that learns, with networks that train in seconds and do not amplify rounding."""
NARROW = {"widths": (8, 8, 8, 8)}
BY_DEFAULT: dict[str, dict[str, Any]] = SMALL | {
    "byol": {"hidden": 16, "projector": 16, **NARROW},
    "simclr": {"hidden": 16, "projector": 16, **NARROW},
    "cmsc": NARROW,
    "supervised": {"weights": (1.0, 3.0), **NARROW},
}
"""The same with the networks that the methods have by default: ResNets with BatchNorm."""
ALONE = {"cmsc": False, "norm": "group"}


class Variant(NamedTuple):
    """A method, and how it is trained."""

    method: str
    arguments: dict[str, Any]
    exact: bool
    """In float64 by the loop's own AdamW; otherwise in float32 by descent with momentum."""


VARIANTS = {
    f"{name}, {'float64' if exact else 'float32'}": Variant(method, arguments, exact)
    for exact, known in ((False, SMALL), (True, BY_DEFAULT))
    for name, method, arguments in (
        *((name, name, arguments) for name, arguments in known.items()),
        ("w2v alone, group", "w2v_cmsc_rlm", known["w2v_cmsc_rlm"] | ALONE),
    )
}


def make_two_leads(path: Path) -> None:
    """Forty recordings of 5 s, two leads each, eight of each other's subject, with gaps."""
    x = sample.load().x[:80, 0]
    with StoreWriter(path, Contract(("I", "II"), 100.0)) as writer:
        for i in range(40):
            both = np.stack([x[2 * i], x[2 * i + 1]])
            valid = np.ones(both.shape, bool)
            valid[:, 20 * i : 20 * i + 60] = False
            valid[i % 2, 900:] = False
            writer.add(Recording(str(i), both, 100.0, ("I", "II"), valid, subject=str(i % 32)))


def descent(method: Method, options: Options) -> torch.optim.Optimizer:
    """Descent with momentum, which sees the size of a gradient.

    AdamW divides it out: of a parameter that has none but rounding (a bias before a normalisation,
    of an attention's keys) it makes steps of full length in any direction, while that is more than
    its epsilon, as in float32. In float64 it is less.
    """
    parameters = [one for one in method.parameters() if one.requires_grad]
    return torch.optim.SGD([{"params": parameters, "pace": 1.0}], lr=options.lr, momentum=0.9)


class Doubled(Batches):
    """The same batches in float64, whose rounding is far below AdamW's epsilon."""

    def windows(
        self,
        rows: NDArray[np.int64],
        start: NDArray[np.int64],
        lead: NDArray[np.int64] | None = None,
    ) -> Windows:
        found = super().windows(rows, start, lead)
        return found._replace(x=found.x.double())


def trained(store: Path, variant: str, ranks: Ranks) -> dict[str, torch.Tensor]:
    """The losses of each step and the weights at the end."""
    name, arguments, exact = VARIANTS[variant]
    torch.manual_seed(0)
    method = build(name, **arguments)
    # Not 0.01 for AdamW: there a ResNet of eight channels with BatchNorm is chaotic, each step
    # makes a difference ten times as large, however small it was.
    options = OPTIONS if exact else replace(OPTIONS, lr=0.01)
    data, rows = Store.open(store), np.arange(40)
    labelled = Labelled(rows, rows % 3 % 2) if method.needs.labels else None
    leads = ("II",) if method.needs.leads == 1 else ()
    share = (ranks.rank, ranks.world)
    batches = (Doubled if exact else Batches)(
        data, method.needs, options, torch.device("cpu"),
        leads=leads, share=share, labelled=labelled,
    )  # fmt: skip
    losses: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        if exact:
            method.double()
        else:
            patch.setattr(loop, "_optimiser", descent)
        loop.train(
            method, batches, options, ranks=ranks,
            show=lambda lines: losses.extend(line["loss"] for line in lines),
        )  # fmt: skip
    weights = {f"{variant}/{key}": one for key, one in method.state_dict().items()}
    return {f"{variant}/losses": torch.tensor(losses), **weights}


def normalised(ranks: Ranks) -> dict[str, torch.Tensor]:
    """A layer of BatchNorm, its statistics and its gradients."""
    torch.manual_seed(0)
    layer, x, aim = PlaceBatchNorm(6), 3 * torch.randn(8, 5, 6) + 2, torch.randn(8, 5, 6)
    mine = slice(ranks.rank * 8 // ranks.world, (ranks.rank + 1) * 8 // ranks.world)
    own = x[mine].requires_grad_()
    out = layer(own)
    (out - aim[mine]).square().mean().backward()
    assert own.grad is not None
    assert layer.weight.grad is not None
    weight = gathered(layer.weight.grad.unsqueeze(0)).mean(0)
    found = {"out": gathered(out.detach()), "x": gathered(own.grad) / ranks.world}
    found |= {"weight": weight, **dict(layer.named_buffers())}
    return {f"norm/{name}": one for name, one in found.items()}


def take_part(store: Path, rank: int, meet: Path, out: Path) -> int:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{meet}", rank=rank, world_size=2)
    found = normalised(Ranks(rank, 2))
    for variant in VARIANTS:
        found |= trained(store, variant, Ranks(rank, 2))
    save_file({name: one.contiguous() for name, one in found.items()}, out)
    distributed.destroy_process_group()
    return 0


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, torch.Tensor]]:
    """Of one process, and of both of two; all methods in one start."""
    folder = tmp_path_factory.mktemp("ranks")
    make_two_leads(folder / "store")
    words = folder / "store", folder / "meet"
    children = [
        in_a_child(lambda r=rank: take_part(words[0], r, words[1], folder / str(r)))  # type: ignore[misc]
        for rank in (0, 1)
    ]
    alone = normalised(Ranks())
    for variant in VARIANTS:
        alone |= trained(folder / "store", variant, Ranks())
    assert [ended(child) for child in children] == [0, 0]
    return [alone, *(load_file(folder / str(rank)) for rank in (0, 1))]


def test_every_method_that_learns_is_here() -> None:
    assert set(SMALL) == {name for name in METHODS if find(name).trains}


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_two_processes_with_half_the_batch_are_one(
    variant: str, found: list[dict[str, torch.Tensor]]
) -> None:
    alone, first, second = (
        {name: one for name, one in part.items() if name.startswith(f"{variant}/")}
        for part in found
    )
    losses = f"{variant}/losses"
    assert len(alone[losses]) == STEPS
    assert len(set(alone[losses].tolist())) == STEPS
    assert alone[losses].max() - alone[losses].min() > 1e-2
    assert (alone[losses] - first[losses]).abs().max() < 1e-5
    for name, one in alone.items():
        assert (one - first[name]).abs().max() < 1e-5, name
        assert torch.equal(first[name], second[name]), name


def test_batchnorm_has_the_statistics_of_the_whole_batch(
    found: list[dict[str, torch.Tensor]],
) -> None:
    alone, first, second = ({k: v for k, v in one.items() if k[:5] == "norm/"} for one in found)
    assert len(alone) == 6
    for name, one in alone.items():
        assert torch.allclose(first[name], one, atol=1e-6), name
        assert torch.equal(first[name], second[name]), name
