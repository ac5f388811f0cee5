"""Models: code in weights, classes that a config names, tensors that lie about their size."""

import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from nerula.brought import WEIGHTS
from tests.attacks.conftest import Outcome, Verb


class Strikes:
    """Unpickling it writes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the model that comes with the package."""
    return Path(shutil.copytree(WEIGHTS / "nerula-small", tmp_path / "model"))


def change(model: Path, **values: Any) -> None:
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def refused(verb: Verb, model: Path) -> Outcome:
    """`embed` refuses the model in a sentence."""
    return verb("embed", model, "sample", "out.npy", code=1)


def test_a_torch_checkpoint_is_not_unpickled(verb: Verb, model: Path, canary: Path) -> None:
    torch.save({"weights": Strikes(canary)}, model / "model.safetensors")
    assert "model.safetensors" in refused(verb, model).said
    (model / "model.safetensors").unlink()
    torch.save({"weights": Strikes(canary)}, model / "pytorch_model.bin")
    refused(verb, model)


@pytest.mark.parametrize("method", ["evil:Method", "os:system", "subprocess:Popen", "../evil"])
def test_a_config_imports_nothing(verb: Verb, model: Path, canary: Path, method: str) -> None:
    here = model.parent / "here"
    (here / "evil.py").write_text(f"open({str(canary)!r}, 'w')\nclass Method: ...\n")
    change(model, method=method)
    refused(verb, model)


@pytest.mark.parametrize(
    "arguments",
    [
        {"width": 10**12},
        {"unheard": 1},
        {"stem": [[10**9, 1]] * 100},
        {"blocks": [[1, 1]] * 10**6},
    ],
)
def test_arguments_cannot_ask_for_terabytes(
    verb: Verb, model: Path, arguments: dict[str, Any]
) -> None:
    own = json.loads((model / "config.json").read_text())["arguments"]
    change(model, arguments={**own, **arguments})
    refused(verb, model)


@pytest.mark.parametrize(
    "arguments", [{"heads": 0}, {"heads": -1}, {"unit": 1e308}, {"fraction": float("nan")}]
)
def test_numbers_without_sense_are_refused(
    verb: Verb, model: Path, arguments: dict[str, Any]
) -> None:
    own = json.loads((model / "config.json").read_text())["arguments"]
    change(model, arguments={**own, **arguments})
    assert "config.json" in refused(verb, model).said


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "", "9" * 100_000, "null"])
def test_a_config_may_be_any_text(verb: Verb, model: Path, text: str) -> None:
    (model / "config.json").write_text(text)
    assert "config.json" in refused(verb, model).said


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(verb: Verb, model: Path, name: str) -> None:
    (model / name).unlink()
    os.mkfifo(model / name)
    refused(verb, model)


def rewritten(model: Path, change: Any) -> None:
    """Rewrite the header of the tensors: an eight-byte length, JSON, bytes."""
    path = model / "model.safetensors"
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    body = change(header) or raw[8 + length :]
    written = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(written)) + written + body)


def first(header: dict[str, Any]) -> str:
    return next(name for name in header if name != "__metadata__")


def test_tensors_cannot_lie(verb: Verb, model: Path) -> None:
    def larger(header: dict[str, Any]) -> None:
        header[first(header)]["shape"] = [10**6, 10**6]

    def beyond(header: dict[str, Any]) -> None:
        header[first(header)]["data_offsets"] = [0, 10**15]

    def missing(header: dict[str, Any]) -> None:
        del header[first(header)]

    def renamed(header: dict[str, Any]) -> None:
        header["renamed"] = header.pop(first(header))

    def extra(header: dict[str, Any]) -> bytes:
        end = max(one["data_offsets"][1] for name, one in header.items() if name[0] != "_")
        header["extra"] = {"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]}
        raw = (model / "model.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", raw[:8])
        return raw[8 + length :] + b"\0\0\0\0"

    path = model / "model.safetensors"
    sound = path.read_bytes()
    for lie in (larger, beyond, missing, renamed, extra):
        path.write_bytes(sound)
        rewritten(model, lie)
        assert "model.safetensors" in refused(verb, model).said, lie.__name__
    for raw in (b"", struct.pack("<Q", 1 << 62) + sound[8:], sound[:-4], b"\xff" * 100):
        path.write_bytes(raw)
        refused(verb, model)


def test_a_model_folder_of_links_stays_where_it_is(verb: Verb, model: Path, canary: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").symlink_to(canary.parent / "secret.dat")
    refused(verb, model)


def test_a_probe_is_arrays_and_nothing_else(verb: Verb, model: Path, canary: Path) -> None:
    evil = model.parent / "evil.probe"
    torch.save(Strikes(canary), evil)
    verb("stream", model, "--probe", evil, "--rate", "100", code=1)
