"""`nerula embed`: any source in, one row per recording out, nothing lost without a reason."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pyarrow import parquet

from nerula import bundle, sample, signal
from nerula.cli import main
from nerula.contract import Contract
from nerula.embed import embed
from nerula.errors import NerulaError, UsageError
from nerula.methods import build
from nerula.model import Model
from nerula.prepare import Options as Preparation
from nerula.prepare import make_store
from nerula.readers import open_source
from nerula.store import Store
from nerula.vectors import FACTS
from tests.test_model import folder
from tests.ward import Ward

__all__ = ["folder"]  # the fixture


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "store"
    make_store(sample.load(), path, Preparation(leads=("II",), limit=90))
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return bundle.load(folder)


@pytest.fixture(scope="module")
def direct(model: Model) -> NDArray[np.float32]:
    return model.embed(sample.load().x[:90, 0], 100)


def index(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def close(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return bool(np.abs(a - b).max() <= 2e-5 * np.abs(b).max())


def test_a_store_becomes_an_array_and_an_index(
    folder: Path, store: Path, direct: NDArray[np.float32], tmp_path: Path
) -> None:
    assert embed(str(folder), store, tmp_path / "deep" / "z.npy") == 0
    z = np.load(tmp_path / "deep" / "z.npy", allow_pickle=False)
    assert z.dtype == np.float32
    assert close(z, direct)
    lines = index(tmp_path / "deep" / "z.csv")
    assert tuple(lines[0]) == FACTS
    facts = sample.load().facts
    assert [line["subject"] for line in lines] == [one.subject for one in facts[:90]]
    assert [line["fold"] for line in lines] == [one.fold for one in facts[:90]]
    assert {line["windows"] for line in lines} == {"1"}
    assert not (tmp_path / "deep" / "z.npy.quarantine.csv").exists()


@pytest.mark.parametrize("ending", [".npz", ".parquet", ".csv"])
def test_every_ending_holds_the_same(
    folder: Path, store: Path, direct: NDArray[np.float32], tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"z{ending}"
    embed(str(folder), store, out)
    names = list(Store.open(store).column("name"))
    if ending == ".npz":
        with np.load(out, allow_pickle=False) as arrays:
            z, found = arrays["embeddings"], list(arrays["name"])
            assert arrays["age"].dtype == np.float64
    elif ending == ".parquet":
        table = parquet.read_table(out)
        z = np.array(table.column("embedding").to_pylist(), np.float32)
        found = table.column("name").to_pylist()
    else:
        lines = index(out)
        z = np.array([[float(line[f"z{i}"]) for i in range(32)] for line in lines], np.float32)
        found = [line["name"] for line in lines]
    assert close(z, direct)
    assert found == names


def test_files_of_other_rates_give_nearly_the_same_as_the_store(
    folder: Path, direct: NDArray[np.float32], tmp_path: Path
) -> None:
    for row in range(6):
        x = signal.resample(sample.load().x[row], 100.0, 500.0)
        np.save(tmp_path / f"{row}.npy", x)
    out = tmp_path / "out" / "z.npy"
    options = {"source_rate": 500.0, "source_unit": "mV", "source_leads": "II"}
    embed(str(folder), tmp_path, out, **options)  # type: ignore[arg-type]
    z = np.load(out)
    for here, there in zip(z, direct[:6], strict=True):
        assert here @ there / np.linalg.norm(here) / np.linalg.norm(there) > 0.999


def test_bad_files_are_refused_with_a_reason_and_the_others_are_not_disturbed(
    folder: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = Ward(40), Ward(40, trouble_every=8)
    for name, ward in (("good", good), ("bad", bad)):
        monkeypatch.setattr("nerula.readers.open_source", lambda *_, ward=ward: ward)
        embed(str(folder), Path("ward"), tmp_path / f"{name}.npy")
    names = [line["name"] for line in index(tmp_path / "bad.csv")]
    assert names[:2] == ["bed/0000", "bed/0001"]
    refused = index(tmp_path / "bad.npy.quarantine.csv")
    assert len(refused) >= 4
    assert all(line["code"] and line["remedy"] for line in refused)
    assert {line["name"] for line in refused}.isdisjoint(names)
    kept = [line["name"] for line in index(tmp_path / "good.csv")]
    rows = [names.index(name) for name in kept]
    here, there = np.load(tmp_path / "bad.npy")[rows], np.load(tmp_path / "good.npy")
    assert close(here, there)


def test_a_lead_of_another_name_is_taken_where_it_is_the_only_one_or_was_chosen(
    folder: Path, direct: NDArray[np.float32], tmp_path: Path
) -> None:
    ecg = sample.load().x
    np.save(tmp_path / "two.npy", np.concatenate([ecg[3], ecg[4]]))
    hints = {"source_rate": 100.0, "source_unit": "mV", "source_leads": "I,V1"}
    with pytest.raises(NerulaError, match=r"two.npy can.*\[lead-missing\]\. Say with --lead"):
        embed(str(folder), tmp_path / "two.npy", tmp_path / "z.npz", **hints)  # type: ignore[arg-type]
    embed(str(folder), tmp_path / "two.npy", tmp_path / "z.npz", lead="V1", **hints)  # type: ignore[arg-type]
    with np.load(tmp_path / "z.npz") as arrays:
        assert close(arrays["embeddings"][0], direct[4])
    embed(str(folder), tmp_path / "two.npy", tmp_path / "z.npz", lead="v1", **hints)  # type: ignore[arg-type]
    with np.load(tmp_path / "z.npz") as arrays:
        assert close(arrays["embeddings"][0], direct[4])


def test_no_other_lead_stands_in_for_the_one_that_was_asked_for(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(NerulaError, match=r"lead-missing.*Say with --lead"):
        embed(str(folder), "sample", tmp_path / "z.npy", lead="V5")
    assert not (tmp_path / "z.npy").exists()


def test_a_lead_that_was_asked_for_is_never_replaced_by_another(
    folder: Path, direct: NDArray[np.float32], tmp_path: Path
) -> None:
    ecg = sample.load().x
    path = tmp_path / "ecg.npz"
    np.savez(path, x=np.concatenate([ecg[3], ecg[4]]), rate="100", leads=["II", "V1"], unit="mV")
    for written in ("v1", "Lead V1", "MDC_ECG_LEAD_V1"):
        embed(str(folder), path, tmp_path / "z.npy", lead=written)
        assert close(np.load(tmp_path / "z.npy")[0], direct[4])
    with pytest.raises(NerulaError, match=r"lead V9.*it has II, V1"):
        embed(str(folder), path, tmp_path / "z.npy", lead="V9")
    embed(str(folder), path, tmp_path / "z.npy", lead="II,V1")
    assert close(np.load(tmp_path / "z.npy")[0], np.concatenate([direct[3], direct[4]]))


def test_a_signal_without_a_known_name_gets_one_for_a_model_of_several_leads(
    tmp_path: Path,
) -> None:
    chosen = {"leads": 2}
    bundle.save(
        tmp_path / "two", build("random_init", **chosen), arguments=chosen,
        contract=Contract(("I", "II"), 100.0), window=256, name="random_init",
        training={},
    )  # fmt: skip
    file = tmp_path / "one.csv"
    file.write_text("ecg\n" + "\n".join(f"{value:.3f}" for value in sample.load().x[3, 0]))
    hints: dict[str, Any] = {"source_rate": 100.0, "source_unit": "mV"}
    with pytest.raises(NerulaError, match="names that are known get them with --source-leads"):
        embed(str(tmp_path / "two"), file, tmp_path / "z.npy", **hints)
    assert embed(str(tmp_path / "two"), file, tmp_path / "z.npy", source_leads="I", **hints) == 0


def test_names_of_leads_may_hold_spaces(
    folder: Path, direct: NDArray[np.float32], tmp_path: Path
) -> None:
    ecg = sample.load().x
    np.save(tmp_path / "two.npy", np.concatenate([ecg[3], ecg[4]]))
    hints = {"source_rate": 100.0, "source_unit": "mV", "source_leads": "Lead II, Lead V1"}
    embed(str(folder), tmp_path / "two.npy", tmp_path / "z.npy", **hints)  # type: ignore[arg-type]
    assert close(np.load(tmp_path / "z.npy")[0], direct[3])


def test_a_store_of_another_rate_is_converted_and_of_another_band_refused(
    folder: Path, direct: NDArray[np.float32], tmp_path: Path
) -> None:
    fast, filtered = tmp_path / "fast", tmp_path / "filtered"
    make_store(sample.load(), fast, Preparation(leads=("II",), rate=250.0, limit=8))
    make_store(sample.load(), filtered, Preparation(leads=("II",), band=(1.0, 30.0), limit=8))
    embed(str(folder), fast, tmp_path / "z.npy")
    z = np.load(tmp_path / "z.npy")
    cosine = (z * direct[:8]).sum(1) / np.linalg.norm(z, axis=1)
    assert (cosine / np.linalg.norm(direct[:8], axis=1)).min() > 0.999
    with pytest.raises(UsageError, match="filtered"):
        embed(str(folder), filtered, tmp_path / "z.npy")


def test_the_command_says_what_it_wrote_and_what_comes_next(
    folder: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["embed", str(folder), str(store), str(tmp_path / "z.npy")])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert f"90 recordings, 32 values each: {tmp_path / 'z.npy'}" in out
    assert "Next: nerula" in out
    with pytest.raises(SystemExit) as ended:
        main(["embed", str(folder), str(store), str(tmp_path / "z.pkl")])
    assert ended.value.code == 1
    assert ".npy, .npz, .parquet, .csv" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(("millivolts", "doubtful"), [(1.0, False), (20.0, True)])
def test_what_is_doubtful_is_said(
    millivolts: float,
    doubtful: bool,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "ecg.npz"
    np.savez(path, x=sample.load().x[:2] * millivolts, rate="100", leads="II", unit="mV")
    embed(str(folder), path, tmp_path / "z.npy")
    said = f"doubtful: amplitude-absurd 2; nerula check {path} says more"
    assert (said in capsys.readouterr().out) == doubtful


def test_model_and_out_may_be_left_out(
    folder: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nerula.bundle.DEFAULT", str(folder))
    embed(str(folder), store, Path("all.npy"))
    embed(str(folder), store)
    embed(str(store), Path("source-and-out.npy"))
    embed(str(store))
    whole = Path("all.npy").read_bytes()
    for name in ("store.embeddings.npy", "source-and-out.npy"):
        assert Path(name).read_bytes() == whole
    with pytest.raises(UsageError, match="what to embed with it is missing"):
        embed(str(folder))
    with pytest.raises(NerulaError, match="nowhere"):
        embed("nowhere")


def test_why_nothing_was_embedded_is_said_with_its_remedy(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("\n".join(map(str, range(900))))
    with pytest.raises(NerulaError, match=r"a.csv can.*whole numbers; give --source-unit"):
        embed(str(folder), tmp_path / "a.csv", tmp_path / "z.npy", source_rate=100.0)
    with pytest.raises(NerulaError, match=r": 2 unit-unknown\. Name the unit"):
        embed(str(folder), tmp_path, tmp_path / "z.npy", source_rate=100.0)


def test_the_word_sample_is_a_source(folder: Path) -> None:
    assert open_source(Path("sample")).kind == "sample"
