"""Several processes with a share of each batch are one process with all of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed

from nerula import sample
from nerula import train as loop
from nerula.batches import Batches, Labelled
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

OPTIONS = Options(epochs=4, batch=8, window=1.28, folds="all", lr=0.01)
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
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, arguments) for name, arguments in SMALL.items()},
    "w2v alone, group": ("w2v_cmsc_rlm", SMALL["w2v_cmsc_rlm"] | {"cmsc": False, "norm": "group"}),
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

    AdamW divides it out: of a parameter that has none but rounding (a bias before BatchNorm, of
    an attention's keys) it makes steps of full length in any direction.
    """
    parameters = [one for one in method.parameters() if one.requires_grad]
    return torch.optim.SGD([{"params": parameters, "pace": 1.0}], lr=options.lr, momentum=0.9)


def trained(store: Path, variant: str, ranks: Ranks) -> dict[str, torch.Tensor]:
    """The losses of each step and the weights at the end."""
    name, arguments = VARIANTS[variant]
    torch.manual_seed(0)
    method = build(name, **arguments)
    data, rows = Store.open(store), np.arange(40)
    labelled = Labelled(rows, rows % 3 % 2) if method.needs.labels else None
    leads = ("II",) if method.needs.leads == 1 else ()
    share = (ranks.rank, ranks.world)
    batches = Batches(
        data, method.needs, replace(OPTIONS, seed=3), torch.device("cpu"),
        leads=leads, share=share, labelled=labelled,
    )  # fmt: skip
    losses: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_optimiser", descent)
        loop.train(
            method, batches, replace(OPTIONS, seed=3), ranks=ranks,
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
