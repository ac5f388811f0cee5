"""The report: what it says is what the results say, and a browser shows it as it is meant."""

import base64
import json
import re
import shutil
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerula import bundle, plane, sample
from nerula.contract import Contract
from nerula.errors import UsageError
from nerula.methods import build
from nerula.prepare import Options, make_store
from nerula.report import charts, headlines, page, pictures, report, training
from nerula.report.answers import grouped
from nerula.results import Result
from nerula.store import Store
from nerula.typed import typed
from tests.reported import EVIL, EVIL_LABEL


@pytest.fixture(scope="module")
def place(reported: Path) -> Path:
    return reported


@pytest.fixture(scope="module")
def written(place: Path) -> Path:
    return place / "report.html"


@pytest.fixture(scope="module")
def html(written: Path) -> str:
    return written.read_text(encoding="utf-8")


def embedded(html: str) -> dict[str, Any]:
    """The data that the page draws from."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found
    held: dict[str, Any] = json.loads(found.group(1))
    return held


# --- what is in it ---------------------------------------------------------------------------


class Balanced(HTMLParser):
    """Complains of a tag that is not closed, or closed in another's place."""

    VOID = frozenset({"meta", "br", "input", "img", "link", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"


def test_html_is_well_formed_and_ids_are_unique(html: str) -> None:
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    assert {"main", "nav", "h1", "figure", "figcaption", "table", "svg", "canvas"} <= parser.seen


def test_nothing_in_it_comes_from_elsewhere(html: str) -> None:
    outside = re.findall(r"""(?:src|href|url\()\s*=?\s*["']?((?:https?:)?//[^"')\s]+)""", html)
    assert outside == []
    assert "default-src 'none'" in html
    links = re.findall(r'href="([^"]*)"', html)
    assert all(link.startswith("#") and f'id="{link[1:]}"' in html for link in links)


def test_text_from_data_never_becomes_markup(html: str) -> None:
    assert EVIL not in html
    assert EVIL_LABEL not in html
    assert "<h1>A &amp; &lt;b&gt;</h1>" in html
    held = embedded(html)["recordings"]
    assert EVIL in held["names"]
    assert EVIL_LABEL in held["labelNames"]


def test_every_section_is_there_and_says_what_results_say(html: str, place: Path) -> None:
    for section in ("short", "results", "map", "gaps", "training", "checks", "cards", "repeat"):
        assert f'<section id="{section}">' in html
    for path in (place / "probed" / "results").rglob("*.json"):
        held = Result.read(path).document
        main = held["metrics"][held["task"]["main"]]
        if held["way"]["labels"] == 1 and not held["way"]["gap"]:
            said = f"{charts.fixed(main['value'])} ({charts.fixed(main['low'])} to "
            assert said in html, path.name
        assert held["command"].replace("&", "&amp;")[:20] in html
    assert "wagner" in html.lower()  # whose recordings these are
    assert "never trained on" in html


def test_every_chart_has_a_title_a_description_and_a_caption(html: str) -> None:
    charted = re.findall(r"<figure><h4>.*?</figure>", html, re.S)
    assert len(charted) > 8
    for one in charted:
        assert "<figcaption>" in one
        if '<svg class="chart"' in one:
            assert re.search(r"<title>[^<]{5,}</title><desc>", one)


def test_signals_survive_the_packing(html: str, place: Path) -> None:
    held, store = embedded(html)["recordings"], Store.open(place / "store")
    steps = np.frombuffer(zlib.decompress(base64.b64decode(held["signals"])), np.int8)
    flat = np.cumsum(steps, dtype=np.int8)
    ends = np.cumsum(held["lengths"])
    assert ends[-1] == len(flat)
    for row in (0, 7, 239):
        counts = flat[ends[row] - held["lengths"][row] : ends[row]]
        x, _ = store.read(row)
        assert np.abs(counts * held["scales"][row] - x[0]).max() <= held["scales"][row] * 0.501
        assert held["names"][row] == store.column("name")[row]


def test_missing_samples_stay_missing() -> None:
    x = np.array([0.5, -1.0, 1.0, 0.2], np.float32)
    valid = np.array([True, False, True, True])
    store = _one_recording(x, valid)
    steps = np.frombuffer(zlib.decompress(base64.b64decode(store["signals"])), np.int8)
    assert np.cumsum(steps, dtype=np.int8).tolist() == [64, page.MISSING, 127, 25]


def _one_recording(x: Any, valid: Any) -> dict[str, Any]:
    shown = pictures.Shown(
        source="files", total=1, lead="II", rate=100.0, row=np.array([0]), name=["a"],
        subject=[None], age=[None], sex=[None], fold=[None], labels=[[]], x=[x], valid=[valid],
    )  # fmt: skip
    return page._recordings(shown)


def test_filled_gaps_are_those_of_the_model_and_errors_are_measured(html: str) -> None:
    filling = embedded(html)["fillings"][0]
    assert len(filling["strips"]) == pictures.STRIPS
    for strip in filling["strips"]:
        hidden = [value is not None for value in strip["filled"]]
        assert 0.1 < np.mean(hidden) < 0.2
        assert len(strip["x"]) == len(hidden)
    said = re.search(r"<strong>(\d+) µV</strong>; straight lines make (\d+) µV", html)
    assert said and all(10 < int(one) < 1000 for one in said.groups())


def test_the_whole_sample_stays_below_three_megabytes(tmp_path: Path) -> None:
    make_store(sample.load(), tmp_path / "store", Options(leads=("II",)))
    store = Store.open(tmp_path / "store")
    shown = pictures.shown(store, 2000)
    xy = np.random.default_rng(0).normal(size=(len(store), 2))
    drawn = pictures.Map("nerula", xy, 0.3, xy, [None] * len(store))
    made = page.render(page.Content("t", "c", recordings=shown, maps=[drawn]))
    assert 500_000 < len(made.encode()) < 2_000_000


def test_without_recordings_nobody_is_in_it(place: Path) -> None:
    out = place / "nobody.html"
    report(place, out=out, recordings=0)
    text = out.read_text(encoding="utf-8")
    assert "recordings" not in embedded(text)
    assert not embedded(text)["fillings"]
    assert not any(embedded(text)["examples"].values())
    assert 'data-example="' not in text
    assert '<section id="results">' in text
    assert '<section id="map">' not in text


def test_what_each_lead_is_worth_is_shown(html: str) -> None:
    (examples,) = filter(None, embedded(html)["examples"].values())
    assert [one["source"] for one in examples] == ["I"]
    assert html.count("data-example=") == 4
    table = html[html.index("of each lead that was rebuilt") :]
    assert table.count('<th scope="col" class="n">') >= 3
    assert '<table class="matrix">' in html


def test_a_model_alone_is_shown_on_the_bundled_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plane, "NEIGHBOURS", 5.0)
    arguments = {"kernels": 50}
    bundle.save(
        tmp_path / "model", build("random_convolutions", **arguments), arguments=arguments,
        name="random_convolutions", contract=Contract(("II",), 100.0), window=1024, training={},
    )  # fmt: skip
    report(tmp_path / "model", out=tmp_path / "r.html", recordings=120)
    assert "nerula pretrain" not in capsys.readouterr().out  # on a store that is gone by then
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "120 of 1,200 recordings are shown" in text
    assert '<section id="gaps">' not in text  # it cannot fill any
    assert len(embedded(text)["maps"][0]["principal"]) == 240


def test_a_model_that_comes_along_is_known_by_its_name(tmp_path: Path) -> None:
    report(Path("nerula-small"), out=tmp_path / "r.html", recordings=40)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "40 of 1,200 recordings are shown" in text
    assert '<section id="gaps">' in text


def test_a_model_that_tells_nothing_apart_has_no_map(tmp_path: Path) -> None:
    bundle.save(
        tmp_path / "model", build("majority"), arguments={}, name="majority",
        contract=Contract(("II",), 100.0), window=1024, training={},
    )  # fmt: skip
    report(tmp_path / "model", out=tmp_path / "r.html", recordings=20)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert '<section id="map">' not in text
    assert '<section id="cards">' in text


# --- what it is made from --------------------------------------------------------------------


def test_unknown_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere does not exist"):
        report(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty that a report could show"):
        report(tmp_path / "empty")
    with pytest.raises(UsageError, match="Of what"):
        report()


def test_a_damaged_result_is_left_out_by_name(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "probed" / "results", tmp_path / "results")
    damaged = next((tmp_path / "results" / "age").glob("*.npz"))
    damaged.write_bytes(b"PK no archive")
    report(tmp_path, out=tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert f"Left out: {damaged.with_suffix('.json')}" in text
    assert "Age in years" not in text
    assert ">Sex <" in text


def test_what_cannot_be_compared_is_said_at_the_top_and_not_called_checked(
    place: Path, tmp_path: Path
) -> None:
    shutil.copytree(place / "probed" / "results" / "age", tmp_path / "age")
    (path,) = (tmp_path / "age").glob("*.json")
    held = json.loads(path.read_text(encoding="utf-8"))
    held["provenance"] = {"status": "unknown", "detail": "files of one's own"}
    path.write_text(json.dumps(held), encoding="utf-8")
    report(tmp_path, out=tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "What nerula was trained on cannot be compared by name" in text
    assert "Nobody knows" not in text
    assert '<span class="unsure">? unknown</span>' in text


def test_many_operating_points_are_folded(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "probed" / "results" / "statements", tmp_path / "statements")
    (path,) = (tmp_path / "statements").glob("*.json")
    held = json.loads(path.read_text(encoding="utf-8"))
    share = {"value": 0.5, "low": 0.4, "high": 0.6}
    for count in (6, 7):
        held["operating_points"] = [
            {"class": name, "aimed_specificity": 0.9, "threshold": [0.5],
             "sensitivity": share, "specificity": share}
            for name in held["task"]["answers"][:count]
        ]  # fmt: skip
        path.write_text(json.dumps(held), encoding="utf-8")
        report(tmp_path, out=tmp_path / "r.html")
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert "<li>AFIB (atrial fibrillation): sensitivity 0.500 (0.400 to 0.600)" in text
        assert ("<summary>Sensitivity at 90 % specificity" in text) is (count > 6)
        parser = Balanced()
        parser.feed(text)
        assert parser.open == []


def test_gaps_of_other_recordings_are_not_joined_to_whole_ones(place: Path) -> None:
    """Gaps were once measured on the first of several splits only."""
    folder = place / "probed" / "results" / "sex"
    results = [Result.read(path) for path in sorted(folder.glob("*logistic*.json"))]
    (asked,) = grouped(results)
    assert ": 0 %: " in asked.gaps[0].drawn
    assert "instead of" in headlines.missing(asked)
    for one in results:
        if not one.document["way"]["gap"]:
            fits = one.document["fits"]
            fits.append(fits[0] | {"split": 1})
    (asked,) = grouped(results)
    assert ": 0 %: " not in asked.gaps[0].drawn
    assert ": 10 %: " in asked.gaps[0].drawn
    assert "instead of" not in headlines.missing(asked)


def test_headlines_tell_better_than_guessing_from_chance(place: Path) -> None:
    paths = sorted((place / "probed" / "results" / "sex").glob("*logistic.json"))
    result = Result.read(paths[0])
    held = result.document["metrics"]["auroc"]
    for low, high, better in ((0.6, 0.8, True), (0.45, 0.8, False)):
        held |= {"value": 0.7, "low": low, "high": high, "chance": 0.5}
        said = headlines.headline(grouped([result])[0])
        assert said.sound is better
        assert ("No better than guessing" in said.verdict) is not better
    age = Result.read(next((place / "probed" / "results" / "age").glob("*ridge.json")))
    age.document["metrics"]["mae"] |= {"value": 10.0, "low": 9.0, "high": 11.0, "chance": 12.0}
    assert headlines.headline(grouped([age])[0]).sound  # less is better


def test_results_with_other_leads_stand_by_themselves(place: Path) -> None:
    path = next((place / "probed" / "results" / "sex").glob("*logistic.json"))
    some = [Result.read(path) for _ in range(3)]
    some[1].document["way"]["leads"] = ["V2"]
    some[2].document["way"]["leads"] = ["I", "II"]
    titles = [asked.title for asked in grouped(some)]
    assert titles == ["Sex", "Sex, from lead V2", "Sex, from leads I II"]


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("/venv/bin/nerula", "nerula probe 'my model' sex"),
        ("/lib/nerula/__main__.py", "nerula probe 'my model' sex"),
        ("/lib/nerula/cli.py", "nerula probe 'my model' sex"),
        ("mine.py", "mine.py probe 'my model' sex"),
    ],
)
def test_commands_can_be_typed_again(
    first: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [first, "probe", "my model", "sex"])
    assert typed() == said


def test_a_run_that_is_being_written_is_read_so_far(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    metrics = tmp_path / "run" / "metrics.jsonl"
    rows = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
    metrics.write_text("".join(rows[:3]) + rows[3][:20], encoding="utf-8")
    state = tmp_path / "run" / "run.json"
    changed = json.loads(state.read_text(encoding="utf-8")) | {"status": "training"}
    state.write_text(json.dumps(changed), encoding="utf-8")
    trained = training.read(tmp_path / "run")
    assert trained
    assert trained.summary.startswith(f"3 of {len(rows)} steps")
    assert "Not finished: training." in trained.summary


def test_tables_of_a_comparison_stand_beside_the_papers(tmp_path: Path) -> None:
    cell = {"value": 0.712, "low": 0.6, "high": 0.8, "n": 55, "subjects": 51, "seeds": [0, 1],
            "paper": 0.63, "best": True, "nerula_ahead": None}  # fmt: skip
    behind = {**cell, "value": 0.5, "paper": None, "best": False,
              "nerula_ahead": {"value": 0.212, "low": 0.1, "high": 0.3}}  # fmt: skip
    table = {
        "format": "nerula-table-1", "title": f"Sex {EVIL}", "note": "", "failed": [],
        "columns": [{"heading": "SVC accuracy", "metric": "accuracy", "lower": False}],
        "rows": [{"name": "nerula", "title": "NERULA", "kind": "pretrained", "cells": [cell]},
                 {"name": "byol", "title": "BYOL", "kind": "pretrained", "cells": [behind]}],
        "sentences": ["NERULA is first."],
    }  # fmt: skip
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "sex.json").write_text(json.dumps(table), encoding="utf-8")
    checks = {"checks": [{"check": "subjects on two sides", "looked_at": 3, "of": "splits",
                          "broken": 1}], "recordings_seen": {"nerula": 960}}  # fmt: skip
    (tmp_path / "tables" / "checks.json").write_text(json.dumps(checks), encoding="utf-8")
    held = {"rows": [{"name": "nerula", "title": "NERULA"}], "cells": []}
    (tmp_path / "comparison.json").write_text(json.dumps(held), encoding="utf-8")
    report(tmp_path, out=tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<span class=best>0.712</span><small>0.600 to 0.800</small><small>paper 0.63" in text
    assert "NERULA is first." in text
    assert "0.212 (0.100 to 0.300)" in text
    assert "✗ 1" in text
    assert EVIL not in text


def test_colours_can_be_told_from_their_background() -> None:
    """WCAG AA: 4.5 for text, 3 for marks, in light and in dark."""
    light = (page.FOLDER / "page.css").read_text(encoding="utf-8").partition("/*DARK*/")[0]
    dark = (page.FOLDER / "page.html").read_text(encoding="utf-8").partition("{% endmacro %}")[0]
    for theme in (light, dark):
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", theme))
        for back in ("page", "card"):
            for text in ("ink", "soft", "accent", "good"):
                assert _contrast(colours[text], colours[back]) >= 4.5, (text, back)
            for mark in ("c1", "c2", "c3", "c4", "c5", "c6"):
                assert _contrast(colours[mark], colours[back]) >= 3, (mark, back)
        assert _contrast(colours["trace"], colours["paper"]) >= 10
        assert _contrast(colours["c1"], colours["paper"]) >= 3


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
