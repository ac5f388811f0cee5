"""Models on a hub: pushed, pinned, fetched once, and refused where anything is not as it was."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nerula
from nerula import bundle, hub, sample
from nerula.cli import main
from nerula.contract import Contract
from nerula.errors import MissingExtraError, NerulaError, UsageError
from nerula.methods import find
from nerula.run import read_tensors, write_tensors
from tests.hub_stand_in import Hub, running
from tests.test_model import SMALL, TRAINING, arguments

library = pytest.importorskip("huggingface_hub")
NAME = "hf:someone/small"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # its own


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = arguments("nerula", **SMALL)
    path = tmp_path_factory.mktemp("model") / "small"
    bundle.save(
        path, find("nerula")(**chosen), name="nerula", arguments=chosen,
        contract=Contract(("II",), 100.0), window=1024, training=TRAINING,
    )  # fmt: skip
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with an empty cache on this side."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("HF_TOKEN", "hf_not_a_real_one")
    with running() as started:
        monkeypatch.setenv("HF_ENDPOINT", started.url)
        yield started


# --- there and back --------------------------------------------------------------------------


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


def test_a_model_is_pushed_and_comes_back(
    server: Hub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("push", str(folder), "someone/small") == 0
    said = capsys.readouterr().out
    assert server.private["someone/small"]
    assert f"Next: nerula embed {NAME} SOURCE" in said
    held = server.repos["someone/small"][-1]
    assert set(held) == {"config.json", "model.safetensors", "README.md", "DATA.md"}
    assert held["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert f'nerula.load("{NAME}")' in held["README.md"].decode()
    x, rate = nerula.ecg(4)
    assert (nerula.load(NAME).embed(x, rate) == nerula.load(folder).embed(x, rate)).all()
    assert run("push", str(folder), NAME, "--message", "again") == 0, "it may be there already"
    assert len(server.repos["someone/small"]) == 2


def test_what_cannot_be_used_is_not_pushed(server: Hub, folder: Path, tmp_path: Path) -> None:
    for name, held in content(folder).items():
        (tmp_path / name).write_bytes(held if name != "model.safetensors" else held[:-3])
    assert run("push", str(tmp_path), "someone/small") == 1
    assert run("push", str(folder), "someone/small@main") == 1
    assert run("push", str(folder), "nowhere") == 1
    assert not server.asked


def test_it_is_found_wherever_a_model_is_named(
    server: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.wfdb_records import write_record

    server.put("someone/small", content(folder))
    write_record(tmp_path, leads=("I", "II"))
    assert run("embed", NAME, str(tmp_path / "rec.hea"), str(tmp_path / "z.npy")) == 0
    assert np.load(tmp_path / "z.npy").shape == (1, 32)


def test_a_revision_is_pinned(server: Hub, folder: Path) -> None:
    first = server.put("someone/small", content(folder))
    broken = json.loads(content(folder)["config.json"]) | {"window": 500}
    server.put("someone/small", {"config.json": json.dumps(broken).encode()})
    assert nerula.load(f"{NAME}@{first}").window == 1024
    assert nerula.load(f"{NAME}@v0").window == 1024
    assert bundle.found(f"{NAME}@{first}").name == first
    assert bundle.found(NAME).name != first


def test_what_was_fetched_once_works_offline(server: Hub, folder: Path) -> None:
    server.put("someone/small", {**content(folder), "weights.bin": b"never fetched"})
    nerula.load(NAME)
    assert len(server.contents) == 4
    assert not [one for one in server.contents if "weights.bin" in one]
    nerula.load(NAME)
    assert len(server.contents) == 4, "the second time from the cache"
    server.answers[""] = 503
    assert nerula.load(NAME).window == 1024
    server.shutdown()
    server.server_close()
    assert nerula.load(NAME).window == 1024


# --- failures --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "answer", "message"),
    [
        ("someone", (404, "RepoNotFound"), "not on the hub, or not for you.*hf auth login"),
        ("someone", 401, "answered 401.*hf auth login"),
        ("someone", (403, "GatedRepo"), "whom its owner lets in"),
        ("someone", 403, "answered 403.*hf auth login"),
        ("/revision/", (404, "RevisionNotFound"), "no such revision"),
        ("resolve", 404, "answered 404"),
    ],
)
def test_an_answer_that_is_no_model_ends_in_a_sentence(
    server: Hub, folder: Path, pattern: str, answer: Any, message: str
) -> None:
    server.put("someone/small", content(folder))
    server.answers[pattern] = answer
    with pytest.raises(NerulaError, match=message):
        nerula.load(NAME)


def test_without_a_connection_and_a_copy_there_is_a_remedy(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(NerulaError, match="Connect once"):
        nerula.load(NAME)
    monkeypatch.setenv("HF_ENDPOINT", "")


def test_a_push_without_a_login_says_how(
    server: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(folder / "none"))
    assert run("push", str(folder), "someone/small") == 1
    assert "hf auth login" in capsys.readouterr().err


def flipped(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


def test_what_is_altered_on_the_way_is_fetched_again(server: Hub, folder: Path) -> None:
    server.put("someone/small", content(folder))
    times = iter([flipped])

    def once(data: bytes) -> bytes:
        return next(times, lambda same: same)(data)

    server.answers["GET .*model.safetensors"] = once
    assert nerula.load(NAME).window == 1024
    assert len([one for one in server.contents if "safetensors" in one]) == 2


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_what_is_altered_every_time_is_refused(server: Hub, folder: Path, name: str) -> None:
    server.put("someone/small", content(folder))
    server.answers[f"GET .*{name}"] = flipped
    with pytest.raises(NerulaError, match=f"{name} did not arrive as the hub has it"):
        nerula.load(NAME)
    server.answers.clear()
    assert nerula.load(NAME).window == 1024, "nothing of it stays in the cache"


def test_a_transfer_that_breaks_off_is_tried_again(
    server: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    server.put("someone/small", content(folder))
    server.answers["GET .*safetensors"] = lambda data: data[: len(data) // 2]
    with pytest.raises(NerulaError, match="Give the same again"):
        nerula.load(NAME)
    server.answers.clear()
    assert nerula.load(NAME).window == 1024


def test_a_transfer_that_never_ends_is_given_up(
    server: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put("someone/small", content(folder))
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    broken: Any = (500, "")
    server.answers["GET .*safetensors"] = broken
    with pytest.raises(NerulaError, match=r"could not be transferred|answered 500"):
        nerula.load(NAME)


Change = Callable[[dict[str, Any]], object]
TENSOR = "encoder.stem.0.mix.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(TENSOR), f"{TENSOR} is missing"),
        (lambda t: t.update({"encoder.Stem": t.pop(TENSOR)}), "encoder.Stem is unknown"),
        (lambda t: t[TENSOR].neg_(), f"that of {TENSOR}"),
    ],
)
def test_a_model_that_the_hub_itself_has_altered_is_refused_by_name(
    server: Hub, folder: Path, tmp_path: Path, change: Change, message: str
) -> None:
    tensors, _ = read_tensors(folder / "model.safetensors")
    change(tensors)
    write_tensors(tmp_path / "model.safetensors", tensors, {})
    other = {"model.safetensors": (tmp_path / "model.safetensors").read_bytes()}
    server.put("someone/small", content(folder) | other)
    with pytest.raises(NerulaError, match=message):
        nerula.load(NAME)


def test_what_is_no_model_is_said_to_be_none(server: Hub, folder: Path) -> None:
    server.put("someone/small", {"README.md": b"something else"})
    with pytest.raises(NerulaError, match=r"no model of Nerula: it has no config\.json"):
        nerula.load(NAME)


@pytest.mark.parametrize("name", ["hf:", "hf:small", "hf:a/b/c", "hf:../x", "hf:a/b@", "hf:a/b c"])
def test_names_that_cannot_be_meant(name: str) -> None:
    with pytest.raises(UsageError, match="hf:USER/NAME"):
        nerula.load(name)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"nerula\[hub\]"):
        nerula.load(NAME)


def test_without_links_strict_loading_remains(tmp_path: Path) -> None:
    (tmp_path / ("a" * 40)).write_bytes(b"x")
    assert not hub._altered(tmp_path)
    assert len(sample.load()) == 1200
