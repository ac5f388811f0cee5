"""`nerula impute`: gaps are filled, everything else stays, and long gaps are doubted."""

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nerula import bundle, figures, plot, sample
from nerula.cli import main
from nerula.contract import Contract
from nerula.errors import UsageError
from nerula.filled import Gap, gaps, write
from nerula.impute import impute
from nerula.methods import find
from nerula.readers import open_source
from nerula.recording import Recording
from tests import reference
from tests.test_model import TRAINING, arguments, folder

__all__ = ["folder"]  # the fixture

HINTS = {"source_rate": 100.0, "source_unit": "mV", "source_leads": "II"}
SHORT, LONG = slice(300, 340), slice(600, 790)


@pytest.fixture
def x(tmp_path: Path) -> NDArray[np.float32]:
    """One recording with a short and a long gap, also as tmp_path/ecg.npy."""
    ecg = sample.load().x[11].copy()
    ecg[0, SHORT] = ecg[0, LONG] = np.nan
    np.save(tmp_path / "ecg.npy", ecg)
    return ecg


def test_csv_holds_time_signal_and_what_was_filled(
    folder: Path, x: NDArray[np.float32], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, picture = tmp_path / "out.csv", tmp_path / "out.png"
    assert impute(str(folder), tmp_path / "ecg.npy", out, picture=picture, **HINTS) == 0  # type: ignore[arg-type]
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["seconds", "II", "II filled"]
    assert [float(row["seconds"]) for row in rows[:3]] == [0.0, 0.01, 0.02]
    flags = np.array([row["II filled"] == "1" for row in rows])
    assert np.flatnonzero(flags).tolist() == [*range(300, 340), *range(600, 790)]
    values = np.array([float(row["II"]) for row in rows], np.float32)
    np.testing.assert_allclose(values[~flags], x[0, ~flags], rtol=1e-4, atol=1e-6)
    want = bundle.load(folder).impute(x[0], 100)
    np.testing.assert_allclose(values[flags], want[flags], rtol=1e-3, atol=1e-5)
    assert picture.read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "3.00 s  0.40 s" in said
    assert "6.00 s  1.90 s  unreliable" in said
    assert "guesses" in said
    assert "Next: nerula embed" in said


def test_npy_holds_leads_by_time(folder: Path, x: NDArray[np.float32], tmp_path: Path) -> None:
    impute(str(folder), tmp_path / "ecg.npy", tmp_path / "out.npy", **HINTS)  # type: ignore[arg-type]
    filled = np.load(tmp_path / "out.npy", allow_pickle=False)
    assert filled.shape == (1, 1000)
    assert filled.dtype == np.float32
    measured = np.isfinite(x)
    assert (filled[measured] == x[measured]).all()
    assert np.isfinite(filled).all()


def test_a_wfdb_record_holds_the_signal_and_marks_what_was_filled(
    folder: Path, x: NDArray[np.float32], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "whole.hea"
    impute(str(folder), tmp_path / "ecg.npy", out, **HINTS)  # type: ignore[arg-type]
    names = ["whole.dat", "whole.filled", "whole.hea"]
    assert sorted(path.name for path in out.parent.iterdir()) == names
    said = capsys.readouterr().out
    assert all(name in said for name in names)
    record = reference.read(out)
    assert (record.fs, record.sig_name, record.units) == (100, ["II"], ["mV"])
    want = bundle.load(folder).impute(x[0], 100)
    np.testing.assert_allclose(record.p_signal[:, 0], want, atol=0.00051)
    marks = reference.marks(out, "filled")
    assert marks.sample.tolist() == [300, 339, 600, 789]
    assert [note.rstrip("\0") for note in marks.aux_note] == ["(filled", "filled)"] * 2
    again = open_source(out)
    (entry,) = again.entries()
    np.testing.assert_allclose(again.read(entry).x[0], want, atol=0.00051)


def test_a_wfdb_record_of_a_lead_that_is_unknown_keeps_its_gaps(
    folder: Path, tmp_path: Path
) -> None:
    ecg = np.repeat(sample.load().x[11], 2, axis=0)
    ecg[:, SHORT] = np.nan
    np.save(tmp_path / "ecg.npy", ecg)
    out = tmp_path / "whole.hea"
    impute(str(folder), tmp_path / "ecg.npy", out, **HINTS | {"source_leads": "V5,II"})  # type: ignore[arg-type]
    record = reference.read(out)
    assert np.flatnonzero(np.isnan(record.p_signal[:, 0])).tolist() == [*range(300, 340)]
    assert np.isfinite(record.p_signal[:, 1]).all()
    marks = reference.marks(out, "filled")
    assert marks.chan.tolist() == [1, 1]


def test_what_is_whole_is_a_wfdb_record_without_marks(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "ecg.npy", sample.load().x[11])
    out = tmp_path / "whole.hea"
    impute(str(folder), tmp_path / "ecg.npy", out, **HINTS)  # type: ignore[arg-type]
    assert not out.with_suffix(".filled").exists()
    assert "marks" not in out.read_text()
    with pytest.raises(UsageError, match=r"a\.b cannot be the name of a WFDB record"):
        impute(str(folder), tmp_path / "ecg.npy", tmp_path / "a.b.hea", **HINTS)  # type: ignore[arg-type]


def test_what_was_measured_is_never_overwritten(folder: Path, tmp_path: Path) -> None:
    ecg, out = sample.load().x[11].copy(), tmp_path / "a.hea"
    ecg[0, SHORT] = np.nan
    np.save(tmp_path / "ecg.npy", ecg)
    impute(str(folder), tmp_path / "ecg.npy", out, **HINTS)  # type: ignore[arg-type]
    before = out.with_suffix(".dat").read_bytes()
    for file in (out, tmp_path / "a", tmp_path / "a.dat"):
        with pytest.raises(UsageError, match="is what was measured"):
            impute(str(folder), file, out)
    assert out.with_suffix(".dat").read_bytes() == before
    with pytest.raises(UsageError, match="is what was measured"):
        impute(str(folder), tmp_path / "ecg.npy", tmp_path / "ecg.npy", **HINTS)  # type: ignore[arg-type]


def test_a_record_of_a_folder_is_not_overwritten_either(folder: Path, tmp_path: Path) -> None:
    ecg, records = sample.load().x[11], tmp_path / "records"
    records.mkdir()
    for name in ("a", "b"):
        write(records / f"{name}.hea", Recording(name, ecg, 100.0, ("II",), ecg == ecg), ecg)
    before = (records / "a.dat").read_bytes()
    with pytest.raises(UsageError, match="is what was measured"):
        impute(str(folder), records, records / "a.hea", name="a")
    assert (records / "a.dat").read_bytes() == before
    (records / "a.hea").unlink()
    with pytest.raises(UsageError, match="belongs to something else"):
        impute(str(folder), records / "b.hea", records / "a.hea")


def test_marks_are_those_of_the_record_that_is_there(tmp_path: Path) -> None:
    ecg, out = sample.load().x[11], tmp_path / "a.hea"
    valid = np.ones_like(ecg, bool)
    valid[0, 500] = False  # the shortest gap
    write(out, Recording("a", ecg, 100.0, ("II",), valid), ecg)
    assert reference.marks(out, "filled").sample.tolist() == [500, 500]
    write(out, Recording("a", ecg, 100.0, ("II",), np.ones_like(ecg, bool)), ecg)
    assert not out.with_suffix(".filled").exists()


def test_large_signals_fit_into_a_record_and_unknown_leads_stay_empty(tmp_path: Path) -> None:
    x = np.full((2, 50), np.nan, np.float32)
    x[0] = np.linspace(-60, 90, 50)
    recording = Recording("a", np.nan_to_num(x), 100.0, ("II", "V1"), np.isfinite(x))
    out = tmp_path / "a.hea"
    write(out, recording, x)
    record = reference.read(out)
    np.testing.assert_allclose(record.p_signal[:, 0], x[0], atol=0.002)
    assert np.isnan(record.p_signal[:, 1]).all()


def test_flat_stretches_are_gaps_too(folder: Path, tmp_path: Path) -> None:
    """An electrode that fell off leaves a flat line, which nobody declares."""
    ecg = sample.load().x[11].copy()
    ecg[0, 400:620] = 0.1234
    np.save(tmp_path / "ecg.npy", ecg)
    impute(str(folder), tmp_path / "ecg.npy", tmp_path / "out.npy", **HINTS)  # type: ignore[arg-type]
    filled = np.load(tmp_path / "out.npy")[0]
    assert filled[410:610].std() > 0
    assert (filled[:390] == ecg[0, :390]).all()


def test_what_is_doubtful_is_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for times, doubtful in ((1, False), (20, True)):
        np.save(tmp_path / "ecg.npy", sample.load().x[11] * times)
        impute(str(folder), tmp_path / "ecg.npy", tmp_path / "out.npy", **HINTS)  # type: ignore[arg-type]
        assert ("doubtful: amplitude-absurd; nerula check" in capsys.readouterr().out) == doubtful


def test_only_leads_that_the_model_knows_are_filled(folder: Path, tmp_path: Path) -> None:
    ecg = sample.load().x[:2, 0].copy()
    ecg[:, SHORT] = np.nan
    np.save(tmp_path / "ecg.npy", ecg)
    hints = HINTS | {"source_leads": "V1,II"}
    impute(str(folder), tmp_path / "ecg.npy", tmp_path / "out.npy", **hints)  # type: ignore[arg-type]
    filled = np.load(tmp_path / "out.npy")
    assert np.isnan(filled[0, SHORT]).all()
    assert np.isfinite(filled[1]).all()
    impute(str(folder), tmp_path / "ecg.npy", tmp_path / "v1.npy", lead="v1", **hints)  # type: ignore[arg-type]
    assert np.isfinite(np.load(tmp_path / "v1.npy")).all()
    with pytest.raises(UsageError, match="no lead V6"):
        impute(str(folder), tmp_path / "ecg.npy", tmp_path / "v.npy", lead="V6", **hints)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--lead which"):
        impute(
            str(folder), tmp_path / "ecg.npy", tmp_path / "v.npy",
            **HINTS | {"source_leads": "V1,V2"},  # type: ignore[arg-type]
        )  # fmt: skip


def test_names_of_leads_may_hold_spaces(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "ecg.npy", sample.load().x[:2, 0])
    hints = HINTS | {"source_leads": "Lead II, Lead V1"}
    impute(str(folder), tmp_path / "ecg.npy", tmp_path / "out.csv", **hints)  # type: ignore[arg-type]
    assert (tmp_path / "out.csv").read_text().startswith("seconds,II,V1,")


def test_one_of_many_is_chosen_by_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"1200 recordings.*--name: 00002"):
        impute(str(folder), Path("sample"), tmp_path / "out.npy")
    impute(str(folder), Path("sample"), tmp_path / "out.npy", name="00006")
    assert (np.load(tmp_path / "out.npy") == sample.load().x[1]).all()
    with pytest.raises(UsageError, match=r"\.csv, \.npy, \.hea"):
        impute(str(folder), Path("sample"), tmp_path / "out.mat", name="00006")


def test_a_long_recording_is_drawn_around_its_longest_gap(folder: Path, tmp_path: Path) -> None:
    ecg = sample.load().x[:6, 0].reshape(1, -1).copy()
    ecg[0, 100:120] = ecg[0, 4000:4100] = np.nan
    np.save(tmp_path / "ecg.npy", ecg)
    picture = tmp_path / "out.svg"
    words = f"impute {folder} {tmp_path / 'ecg.npy'} {tmp_path / 'out.csv'} --picture {picture}"
    hints = "--source-rate 100 --source-unit mV --source-leads II"
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), *hints.split()])
    assert ended.value.code == 0
    assert "<svg" in picture.read_text()


def test_a_picture_that_cannot_be_drawn_is_refused_before_anything_is_written(
    folder: Path, x: NDArray[np.float32], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"out.xyz is no picture.*\.png, \.pdf, \.svg"):
        impute(
            str(folder), tmp_path / "ecg.npy", tmp_path / "out.csv",
            picture=tmp_path / "out.xyz", **HINTS,
        )  # fmt: skip
    assert not (tmp_path / "out.csv").exists()
    impute(
        str(folder), tmp_path / "ecg.npy", tmp_path / "out.csv",
        picture=tmp_path / "new" / "out.svg", **HINTS,
    )  # fmt: skip
    assert (tmp_path / "new" / "out.svg").exists()


def test_gaps_are_found_lead_by_lead() -> None:
    valid = np.ones((2, 50), bool)
    valid[0, :3] = valid[1, 10:12] = valid[1, 40:] = False
    found = gaps(Recording("a", np.zeros((2, 50), np.float32), 10.0, ("I", "II"), valid))
    assert found == [Gap("I", 0, 3), Gap("II", 10, 12), Gap("II", 40, 50)]


# --- models of several leads -------------------------------------------------------------------

LEADS = ("I", "II", "V3")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of three leads that takes any of them, as it is before training."""
    torch.manual_seed(0)
    tiny: dict[str, Any] = {
        "leads": 3, "width": 16, "depth": 1, "heads": 2, "decoder_width": 16, "decoder_depth": 1,
        "decoder_heads": 2,
    }  # fmt: skip
    chosen = arguments("modal", **tiny)
    path = tmp_path_factory.mktemp("several") / "model"
    bundle.save(
        path, find("modal")(**chosen), name="modal", arguments=chosen,
        contract=Contract(LEADS, 100.0), window=1000, training=TRAINING,
    )  # fmt: skip
    return path


def written(path: Path, leads: str, *rows: NDArray[np.float32]) -> Path:
    np.savez(path, x=np.stack(rows), rate="100", leads=leads.split(), unit="mV")
    return path


def test_all_leads_come_from_one_and_are_said_to_be_made_up(
    several: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ecg = sample.load().x[11, 0]
    file, out = written(tmp_path / "only.npz", "II", ecg), tmp_path / "out.csv"
    picture = tmp_path / "out.png"
    impute(str(several), file, out, all_leads=True, picture=picture)
    with out.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert list(rows[0]) == ["seconds", *LEADS, "I filled", "II filled", "V3 filled"]
    for lead in LEADS:
        assert {row[f"{lead} filled"] for row in rows} == {"0" if lead == "II" else "1"}
    x = np.array([[float(row[lead]) for row in rows] for lead in LEADS])
    np.testing.assert_allclose(x[1], ecg, rtol=1e-4, atol=1e-6)
    hidden = np.stack([ecg, ecg, ecg]), np.array([[lead == "II"] * 1000 for lead in LEADS])
    want = bundle.load(several).impute(hidden[0], 100, valid=hidden[1], leads=LEADS)
    np.testing.assert_allclose(x, want, rtol=1e-3, atol=1e-5)
    said = capsys.readouterr().out
    assert "Made up by the model, and no measurement: I V3\n" in said
    assert "Nothing is missing" not in said
    assert "guesses" in said
    assert picture.exists()
    impute(str(several), file, tmp_path / "out.npy", all_leads=True)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), want, rtol=1e-4, atol=1e-5)
    assert f"Rows of {tmp_path / 'out.npy'}: I II V3\n" in capsys.readouterr().out


def test_what_the_model_does_not_know_is_written_below_its_leads(
    several: Path, tmp_path: Path
) -> None:
    ecg = sample.load().x[:2, 0]
    file = written(tmp_path / "two.npz", "V6 II", *ecg)
    impute(str(several), file, tmp_path / "out.csv", all_leads=True)
    assert (tmp_path / "out.csv").read_text().startswith("seconds,I,II,V3,V6,I filled")
    filled = bundle.load(several).impute(ecg, 100, leads=["V6", "II"], all_leads=True)
    assert filled.shape == (4, 1000)
    assert (filled[[3, 1]] == ecg).all()
    assert np.isfinite(filled).all()


def test_without_the_option_what_is_lacking_is_said(
    several: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ecg = sample.load().x[11, 0]
    file = written(tmp_path / "only.npz", "II", ecg)
    impute(str(several), file, tmp_path / "out.npy")
    assert np.load(tmp_path / "out.npy").shape == (1, 1000)
    said = capsys.readouterr().out
    assert "The file lacks I V3: --all-leads would make them up.\n" in said
    with pytest.raises(UsageError, match=r"no lead V3\. It has II; --all-leads makes up"):
        impute(str(several), file, tmp_path / "out.npy", lead="V3")
    impute(str(several), file, tmp_path / "out.npy", lead="V3", all_leads=True)
    assert np.load(tmp_path / "out.npy").shape == (1, 1000)
    assert "no measurement: V3\n" in capsys.readouterr().out


def test_a_model_of_one_lead_makes_up_no_others(
    folder: Path, x: NDArray[np.float32], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="knows lead II alone"):
        impute(str(folder), tmp_path / "ecg.npy", tmp_path / "o.npy", all_leads=True, **HINTS)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="knows lead II alone"):
        bundle.load(folder).impute(x[0], 100, all_leads=True)
    assert not (tmp_path / "o.npy").exists()


def test_the_lead_that_is_asked_for_is_filled_from_all(several: Path, tmp_path: Path) -> None:
    ecg = sample.load().x[:3, 0].copy()
    ecg[2] = np.nan
    file = written(tmp_path / "three.npz", " ".join(LEADS), *ecg)
    impute(str(several), file, tmp_path / "all.npy")
    impute(str(several), file, tmp_path / "v3.npy", lead="V3")
    filled = np.load(tmp_path / "v3.npy")
    assert filled.shape == (1, 1000)
    assert np.isfinite(filled).all()
    assert (filled[0] == np.load(tmp_path / "all.npy")[2]).all()


def test_a_long_gap_is_unreliable_only_where_no_other_lead_was_measured(
    several: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The seconds from which it is said were measured on models of one lead."""
    ecg = sample.load().x[:3, 0].copy()
    ecg[0, 100:300] = np.nan  # II is there
    ecg[1:, 600:900] = np.nan
    ecg[0, 750:900] = np.nan  # for half of their gap, II and V3 have nothing
    file = written(tmp_path / "three.npz", " ".join(LEADS), *ecg)
    impute(str(several), file, tmp_path / "out.npy")
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "I 1.00 s 2.00 s guessed from the other leads" in said
    assert "II 6.00 s 3.00 s unreliable: too long to know more than the rhythm" in said
    written(tmp_path / "other.npz", "I V1", *ecg[[0, 1]])
    impute(str(several), tmp_path / "other.npz", tmp_path / "out.npy")
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "I 1.00 s 2.00 s unreliable: too long to know more than the rhythm" in said


# --- pictures ----------------------------------------------------------------------------------


def test_strips_hold_the_signal_and_what_it_is_filled_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(plot, "save", lambda figure, path: drawn.append(figure) or path)
    beat = sample.load().x[11, 0]
    high, there = beat * (4.1 / np.ptp(beat)), np.ones(1000, bool)
    unknown = np.full(1000, np.nan, np.float32)
    rows = [
        ("high", high, there, high),
        ("low", beat / np.ptp(beat), there, beat),
        ("not measured", np.zeros(1000, np.float32), ~there, 2 + high),
        ("not known", np.zeros(1000, np.float32), ~there, unknown),
    ]
    figures.filled(rows, 100.0, tmp_path / "out.png", "title")
    heights = []
    for axes in drawn[0].axes:
        low, top = axes.get_ylim()
        heights.append(round(top - low, 3))
        for line in axes.lines:
            values = line.get_ydata()[np.isfinite(line.get_ydata())]
            assert ((low < values) & (values < top)).all()
        millimetres = 25.4 * axes.get_position().height * drawn[0].get_figheight()
        assert millimetres == pytest.approx(10 * (top - low))  # true to scale
    assert heights == [4.5, 2.5, 4.5, 2.5]
    boxes = [axes.get_position() for axes in drawn[0].axes]
    assert all(one.y0 == pytest.approx(two.y1) for one, two in pairwise(boxes))
