"""Values that cannot be meant: refused by their option, whoever gives them, before any work."""

import math
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch

from nerula.bounds import Count, each, rising, within
from nerula.cli import main
from nerula.comparison import rows
from nerula.errors import UsageError
from nerula.method import Control
from nerula.methods import METHODS, build, find
from nerula.options import split
from nerula.search import search
from nerula.searching import space

WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("nerula", {"fraction": 2}, "--fraction 2 .* more than 0 and less than 1"),
    ("nerula", {"fraction": math.nan}, "--fraction nan"),
    ("nerula", {"patches": (30, 4)}, "--patches 30,4 .* two numbers, the smaller first"),
    ("nerula", {"patches": (5,)}, "--patches 5 .* two numbers"),
    ("nerula", {"patches": (0, 4)}, "--patches 0,4 .* 1 or more"),
    ("nerula", {"recon_weight": -1.0}, "--recon-weight -1 .* 0 or more"),
    ("nerula", {"align_weight": -1.0}, "--align-weight -1"),
    ("nerula", {"heads": 3}, "--heads 3 .* a divisor of --width 128"),
    ("nerula", {"heads": 128}, "--rotary .* --no-rotary"),
    ("nerula", {"kernel": 8}, "--kernel 8 .* an odd number"),
    ("nerula", {"decoder_width": 12}, "--decoder-width 12 .* a multiple of 8"),
    ("nerula", {"stem": ((32,),)}, r"--stem \[32\] .* pairs as in"),
    ("nerula", {"blocks": ((9, 0),)}, r"--blocks \[9,0\]"),
    ("nerula", {"width": 1.5}, "--width 1.5 .* in whole numbers"),
    ("nerula", {"views": "maskes"}, "Did you mean masks"),
    ("nerula", {"align_weight": 0.0, "reconstruction": False}, "nothing to learn"),
    ("nerula", {"align_weight": 0.0, "recon_weight": 0.0}, "nothing to learn"),
    ("byol", {"ema": 1.5}, "--ema 1.5 .* 0 to 1"),
    ("byol", {"widths": (8, 8)}, "--widths 8,8 .* 4 numbers"),
    ("simclr", {"temperature": 0.0}, "--temperature 0 .* more than 0"),
    ("cmsc", {"temperature": math.inf}, "--temperature inf"),
    ("timae", {"fraction": 1.0}, "--fraction 1 "),
    ("timae", {"heads": 5}, "--width 64 and of --decoder-width 32"),
    ("w2v_cmsc_rlm", {"groups": 3}, "--groups 3 .* --codes 64"),
    ("w2v_cmsc_rlm", {"kernel_groups": 7}, "--kernel-groups 7 .* --width 192"),
    ("w2v_cmsc_rlm", {"dropout": 1.0}, "--dropout 1 .* less than 1"),
    ("modal", {"segments": 3}, "--segments 3"),
    ("modal", {"decoder_heads": 5}, "--decoder-heads 5"),
    ("supervised", {"size": (0.0, 1.0)}, "--size 0,1 .* more than 0"),
    ("random_convolutions", {"kernels": 0}, "--kernels 0"),
    ("heart_rate", {"rate": 0.0}, "--rate 0"),
]


@pytest.mark.parametrize(("method", "wrong", "message"), WRONG)
def test_arguments_of_methods(method: str, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(method, **wrong)


@pytest.mark.parametrize("method", METHODS)
def test_defaults_and_presets_can_be_meant(method: str) -> None:
    kind = find(method)
    for preset in (None, *kind.presets):
        _, arguments = split(kind, preset, {})
        with torch.device("meta"):  # published sizes need not fit into memory
            kind(**arguments)


@pytest.mark.parametrize("method", METHODS)
def test_every_number_of_a_method_has_bounds(method: str) -> None:
    for name, value in split(find(method), None, {})[1].items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} nan"):
                build(method, **{name: math.nan})


class Own(Control):
    """Somebody's own method."""

    def __init__(self, *, leads: Count = 1, level: Annotated[float, within(0, 3)] = 1.0) -> None:
        super().__init__()
        self.level = level

    def embed(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Nothing."""
        return x.mean(-1)


def test_a_method_of_ones_own_is_checked_too() -> None:
    assert Own(level=3).level == 3
    with pytest.raises(UsageError, match=r"--level 4 cannot be meant\. It takes 0 to 3\."):
        Own(level=4)
    with pytest.raises(TypeError, match="unexpected keyword"):
        Own(height=1)


def test_nothing_is_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, run = tmp_path / "store", tmp_path / "run"
    with pytest.raises(SystemExit):
        main(["prepare", "sample", str(store), "--leads", "II", "--limit", "60"])
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "nerula", str(store), str(run), "--recon-weight", "-1"])
    assert ended.value.code == 1
    assert "--recon-weight -1 cannot be meant" in " ".join(capsys.readouterr().err.split())
    assert not run.exists()


def test_settings_of_a_comparison_and_ranges_of_a_search() -> None:
    row = rows.find("nerula")
    for written, message in (("nerula.fraction=2", "--fraction 2"), ("*.lr=-1", "--lr -1")):
        with pytest.raises(UsageError, match=message):
            rows.configured(row, rows.read_settings([written]), large=False)
    with pytest.raises(UsageError, match="--fraction 3"):
        space.of(find("nerula"), "nerula", ["fraction=0.2:3"])
    with pytest.raises(UsageError, match="--views maskes"):
        space.of(find("nerula"), "nerula", ["views=maskes|neighbours"])


def test_a_search_looks_at_the_loop_first(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--epochs -1"):
        search("nerula", tmp_path, epochs=-1)


def test_rules_say_what_they_take() -> None:
    assert within(0, 1, above=True).wanted == "more than 0 and 1 or less"
    assert within(0, 1, below=True).wanted == "0 or more and less than 1"
    assert within(1, whole=True).wanted == "1 or more, in whole numbers"
    assert each(within(0), 4).wanted == "4 numbers, each of them 0 or more"
    assert rising(within(1)).fits((2, 2), {})
    assert not within(0).fits(True, {})
