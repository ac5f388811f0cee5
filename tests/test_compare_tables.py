"""The tables of a comparison: figures computed by hand, the paper's, and what is said of them."""

import json
import re
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerula import methods
from nerula.augment import patch_masks
from nerula.bootstrap import Judged
from nerula.comparison import document, latex, markdown, published, rows, tables
from nerula.comparison.places import without_places
from nerula.comparison.plan import FINISHED, Cell, Plan
from nerula.comparison.standings import Standings
from nerula.comparison.tables import Column, Table
from nerula.errors import NerulaError
from nerula.leads import given
from nerula.metrics import Answers
from nerula.options import split
from nerula.results import FORMAT, Result
from nerula.tasks import find

PAPER = Path(__file__).parents[2] / "shared" / "papers" / "nerula.md"
ROOT = Path(__file__).parents[1]

# --- figures -----------------------------------------------------------------------------------

COLUMN = Column("sex", "svc", "accuracy")


def answered(
    truth: list[int],
    said: list[int],
    names: tuple[str, ...] = ("a", "b", "c", "d"),
    *,
    fitted: int = 9,
    probe: str = "svc",
    leads: tuple[str, ...] = (),
) -> Result:
    """A result about as many people, of a probe that was fitted on so many recordings."""
    predicted = np.array(said)
    score = np.eye(2)[predicted]
    count = len(truth)
    run = Judged(
        Answers(np.array(truth), score, predicted), np.arange(count), np.arange(count),
        np.full(2, np.nan),
    )  # fmt: skip
    document = {
        "format": FORMAT,
        "task": {"name": "sex", "kind": "classes"},
        "model": {"fingerprint": "0"},
        "data": {"kind": "sample", "split": " ".join(names[:count]), "store": "d"},
        "way": {"probe": probe, "labels": 1.0, "gap": 0.0, "filling": "masked"}
        | ({"leads": list(leads)} if leads else {}),
        "fits": [
            {"split": 0, "draw": 0, "train": fitted, "choose": 0}
            | {"shared_subjects": 0, "shared_signals": 0}
        ],
        "windows": {"leads": list(leads or ("II",))},
        "provenance": {"status": "checked"},
        "command": "nerula compare --out /home/me/out",
    }
    return Result(document, (run,), np.array(names[:count]))


def planned(folder: Path, results: dict[str, list[Result]]) -> Plan:
    """A finished comparison with these results, one per row and seed."""
    made: dict[str, Cell] = {}
    for name, several in results.items():
        for seed, result in enumerate(several):
            path = result.write(folder / "results" / name / f"seed-{seed}")
            way = result.document["way"]
            inputs = {"task": "sex", "labels": 1.0, "gaps": []}
            inputs |= {key: way[key] for key in ("probe", "leads") if key in way}
            files = [str(p.relative_to(folder)) for p in (path, path.with_suffix(".npz"))]
            cell = Cell(f"{name} {seed}", "probe", name, seed, inputs, status=FINISHED, made=files)
            made[cell.name] = cell
    table = Table("sex", "Table 4. Sex", (COLUMN,), tuple(results), "4")
    held = [vars(rows.ROWS[name]) for name in results]
    return Plan(folder, {"resamples": 200}, {}, held, [table], made)


TRUTH = [1, 0, 1, 0]


@pytest.fixture
def golden(tmp_path: Path) -> dict[str, Any]:
    """NERULA right on 4 and on 2 of 4; BYOL never; SimCLR, CLOCS as NERULA's first seed."""
    right, never = answered(TRUTH, TRUTH), answered(TRUTH, [0, 1, 0, 1])
    half = answered(TRUTH, [1, 0, 0, 1])
    plan = planned(
        tmp_path,
        {"nerula": [right, half], "byol": [never, never], "simclr": [right], "cmsc": [right]},
    )
    return document.of_table(plan.tables[0], Standings(plan))


def test_figures_are_those_computed_by_hand(golden: dict[str, Any]) -> None:
    cell = {row["name"]: row["cells"][0] for row in golden["rows"]}
    assert cell["nerula"]["value"] == 0.75  # the mean of 1 and 1/2
    assert cell["nerula"]["seeds"] == [0, 1]
    assert (cell["byol"]["value"], cell["byol"]["low"], cell["byol"]["high"]) == (0, 0, 0)
    assert (cell["simclr"]["low"], cell["simclr"]["high"]) == (1, 1)
    assert [cell[name]["paper"] for name in ("nerula", "byol", "simclr", "cmsc")] == [
        0.63, 0.61, 0.59, 0.63,
    ]  # fmt: skip
    # NERULA's second seed is right on a and b: with k of 4 draws on them it is right in k/4, so
    # its mean is 1/2 + k/8, and k is binomial (4, 1/2): 0 and 4 have 1/16 each, over 2.5 %.
    assert (cell["nerula"]["low"], cell["nerula"]["high"]) == (0.5, 1.0)
    assert cell["byol"]["nerula_ahead"] == {"value": 0.75, "low": 0.5, "high": 1.0}
    assert cell["simclr"]["nerula_ahead"] == {"value": -0.25, "low": -0.5, "high": 0.0}
    assert cell["nerula"]["nerula_ahead"] is None


def test_bold_is_only_who_is_ahead_beyond_doubt(golden: dict[str, Any], tmp_path: Path) -> None:
    assert not any(row["cells"][0]["best"] for row in golden["rows"])  # SimCLR and CLOCS are equal
    right, never = answered(TRUTH, TRUTH), answered(TRUTH, [0, 1, 0, 1])
    plan = planned(tmp_path / "b", {"byol": [never], "nerula": [right], "simclr": [never]})
    made = document.of_table(plan.tables[0], Standings(plan))
    assert [row["name"] for row in made["rows"] if row["cells"][0]["best"]] == ["nerula"]
    assert "**1.000** (1.000 to 1.000)<br>paper 0.63" in markdown.render(made)
    assert r"\textbf{1.000}" in latex.render(made)


def test_less_is_better_where_it_is(tmp_path: Path) -> None:
    plan = planned(
        tmp_path, {"nerula": [answered(TRUTH, TRUTH)], "byol": [answered(TRUTH, [1] * 4)]}
    )
    column = Column("sex", "svc", "brier")
    table = Table("sex", "Sex", (column,), ("nerula", "byol"))
    made = document.of_table(table, Standings(plan))
    ahead = {row["name"]: row["cells"][0]["nerula_ahead"] for row in made["rows"]}
    assert ahead["byol"]["value"] > 0  # NERULA's Brier score is lower, which is better


def test_sentences_say_where_the_paper_disagrees(golden: dict[str, Any]) -> None:
    ranking, outside, ahead = golden["sentences"]
    assert ranking == (
        "In SVC accuracy the paper puts NERULA and CLOCS first of the ways of pretraining (0.63); "
        "here it is SimCLR and "
        "CLOCS (1.000; NERULA 0.750 and CLOCS 1.000)."
    )
    assert outside == (
        "Of the paper's 4 figures 3 lie outside our intervals: ours are worse in 1 and better in "
        "2. The furthest is BYOL, SVC accuracy: 0.000 here, 0.61 there."
    )
    assert ahead == (
        "Against other ways of pretraining NERULA is ahead, with a paired interval above zero, "
        "in 1 of 3 cells."
    )
    said = markdown.render(golden)
    assert "Mean over 2 seeds" in said
    assert "4 recordings of 4 subjects are tested" in said


def test_rows_that_were_judged_on_other_recordings_are_refused(tmp_path: Path) -> None:
    few = answered([1, 0, 1], [1, 0, 1], names=("a", "b", "x"))
    plan = planned(tmp_path, {"nerula": [answered([1, 0, 1], [1, 0, 1])], "byol": [few]})
    standings = Standings(plan)
    standings.of(rows.ROWS["nerula"], COLUMN)
    with pytest.raises(NerulaError, match="byol was judged on other recordings"):
        standings.of(rows.ROWS["byol"], COLUMN)


def test_a_collapse_and_what_cannot_be_judged_are_said(tmp_path: Path) -> None:
    one_class = answered([1, 1, 1], [1, 1, 0])
    plan = planned(tmp_path, {"nerula": [one_class], "byol": [one_class]})
    name = "pretrain byol seed 0"
    plan.cells[name] = Cell(
        name, "pretrain", "byol", 0, {}, status=FINISHED,
        facts={"collapsed": True, "steps": 5, "recordings_seen": 50},
    )  # fmt: skip
    auroc = Column("sex", "svc", "auroc")
    table = Table("sex", "Sex", (COLUMN, auroc), ("nerula", "byol"))
    made = document.of_table(table, Standings(plan))
    assert [row["cells"][1] for row in made["rows"]] == [None, None]
    assert made["sentences"][-1] == "Collapsed while it was trained: pretrain byol seed 0."
    assert "| BYOL | 0.667 (0.000 to 1.000)<br>paper 0.61 | – |" in markdown.render(made)
    assert " & --" in latex.render(made)


def test_seeds_of_rows_may_differ_in_number_and_are_still_paired(golden: dict[str, Any]) -> None:
    cell = {row["name"]: row["cells"][0] for row in golden["rows"]}
    assert cell["simclr"]["seeds"] == [0]
    assert cell["simclr"]["nerula_ahead"]["value"] == pytest.approx(0.75 - 1)


# --- the paper ---------------------------------------------------------------------------------


def test_figures_are_those_of_the_paper() -> None:
    if not PAPER.is_file():
        pytest.skip(f"the paper's text is not at {PAPER}")
    text = PAPER.read_text(encoding="utf-8")
    names = {
        "1": ["BYOL CLOCS", "NEKULA"],
        "2": ["BYOL", "1.", "2.", "3."],
        "3": ["ResNet (Supervised)", "BYOL", "SimCLR", "Ti-MAE", "CLOCS", "NERULA"],
        **{number: ["BYOL", "SimCLR", "Ti-MAE", "CLOCS", "NERULA"] for number in "456"},
    }
    starts = {
        "1": "Augmentation used\t", "2": "\tMethod\tAccuracy\tF1 score", "3": "\tSVC\t\tRandom",
        "4": "Method\tSVC\tRandom Forest", "5": "Method\t$MAE", "6": "Method\tAccuracy\nBYOL",
    }  # fmt: skip
    for number, table in published.tables().items():
        body = text[text.index(starts[number]) :].split("\n\n")[0].splitlines()
        lines = [line for line in body if line.strip().startswith(tuple(names[number]))]
        read = [re.findall(r"(?<![\d.%+])\d+\.\d\d", line) for line in lines]
        if number == "1":  # two rows share a line there: BYOL and CLOCS, column by column
            both = read.pop(0)
            read = [both[0::2], both[1::2], *read]
        ours = [
            [f"{figure:.2f}" for figure in figures if figure is not None]
            for figures in table["rows"].values()
        ]
        if number in ("1", "2"):
            assert ours == read, number
        else:
            in_their_order = [
                ours[list(table["rows"]).index(name)]
                for name in ("supervised", "byol", "simclr", "timae", "cmsc", "nerula")
                if name in table["rows"]
            ]
            assert in_their_order == read, number


def test_the_papers_tables_have_rows_that_exist_and_columns_that_can_be_asked() -> None:
    wanted = {table.name: table for table in tables.of_paper()}
    assert list(wanted) == [
        "table-1", "table-1-list", "table-2", "table-2-list", "table-3", "table-3-list",
        "table-4", "table-5", "table-6",
    ]  # fmt: skip
    for table in wanted.values():
        for column in table.columns:
            task = find(column.task)
            assert column.probe in task.probes
            assert column.metric in task.metrics
        assert set(table.rows) <= set(rows.ROWS)
    assert "supervised" in wanted["table-3"].rows
    assert "supervised" not in wanted["table-6"].rows
    assert "nerula-challenge2017" in wanted["table-3-list"].rows
    assert "nerula-challenge2017" not in wanted["table-3"].rows
    for number in "3456":
        assert {"majority", "random_convolutions"} <= set(wanted[f"table-{number}"].rows)


def test_table_1_changes_nothing_but_the_views() -> None:
    own = [rows.ROWS[name] for name in published.tables()["1"]["rows"]]
    assert {row.method for row in own} == {"byol"}
    assert [dict(row.arguments) for row in own] == [
        {},
        {"views": "neighbours"},
        {"views": "masks"},
    ]


def test_neighbouring_rows_of_table_2_differ_in_nothing_but_the_step() -> None:
    def arguments(name: str) -> dict[str, Any]:
        row = rows.configured(rows.ROWS[name], [], large=False)
        loop, own = split(methods.find(row.method), None, row.arguments)
        return vars(loop) | own

    def changed(one: str, other: str) -> set[str]:
        before, after = arguments(one), arguments(other)
        return {name for name in before.keys() & after.keys() if before[name] != after[name]}

    for table in tables.of_paper():
        if table.number == "2":
            assert table.rows == (
                "byol", "byol-masks", "nerula-masks", "nerula-alignment", "nerula"
            )  # fmt: skip
    assert changed("byol", "byol-masks") == {"views"}
    assert changed("byol-masks", "nerula-masks") == {"encoder"}
    assert changed("nerula-masks", "nerula-alignment") == {"ema", "patches"}
    assert changed("nerula-alignment", "nerula") == {"reconstruction"}

    # what has no name in common: masks, heads and the weight of the only loss
    drawn = signature(patch_masks).parameters
    step, byol = arguments("nerula-masks"), arguments("byol-masks")
    assert step["latent_masking"]
    for name in ("fraction", "patches"):
        assert step[name] == drawn[name].default
    assert 2 * step["projector"] == byol["hidden"]
    assert (step["alignment"], step["align_weight"], step["reconstruction"]) == (
        "pooled",
        1,
        False,
    )


def test_the_paper_beside_a_table_of_ones_own() -> None:
    (table,) = tables.of_tasks(["nerula", "supervised"], ["sex"], probes=["svc", "forest"])
    assert [(c.probe, c.metric) for c in table.columns] == [
        ("svc", "auroc"), ("svc", "accuracy"), ("forest", "auroc"), ("forest", "accuracy"),
    ]  # fmt: skip
    assert [table.published("nerula", c) for c in table.columns] == [None, 0.63, None, 0.64]
    supervised = rows.ROWS["supervised"]
    asked = [table.asks(supervised, column) for column in table.columns]
    assert asked == [True, True, False, False]  # one answer, in the first column of each metric


def test_the_paper_beside_rows_that_take_nerula_apart() -> None:
    names = ["byol", "byol-masks", "nerula-masks", "nerula-alignment"]
    (table,) = tables.of_tasks(names, ["arrhythmia"], probes=["forest"])
    assert [(c.probe, c.metric) for c in table.columns] == [
        ("forest", "macro_f1"), ("forest", "accuracy"),
    ]  # fmt: skip
    found = [[table.published(name, column) for column in table.columns] for name in names]
    assert found == [[0.3, 0.56], [0.42, 0.6], [0.48, 0.64], [None, None]]


# --- words and files ---------------------------------------------------------------------------


def test_latex_is_balanced(golden: dict[str, Any]) -> None:
    text = latex.render(golden)
    bare = re.sub(r"\\[{}%&$#_\\]", "", re.sub(r"^%.*$", "", text, flags=re.MULTILINE))
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    begun = re.findall(r"\\begin\{(\w+)\}", text)
    ended = re.findall(r"\\end\{(\w+)\}", text)
    assert sorted(begun) == sorted(ended)
    for spec, body in re.findall(r"\\begin\{tabular\}\{(l?c+)\}(.*?)\\end\{tabular\}", text, re.S):
        inner = re.sub(r"\\shortstack\{.*?\}\}?(?= [&\\])", "cell", body)
        for line in inner.splitlines():
            if line.rstrip().endswith(r"\\"):
                assert line.count(" & ") + line.startswith("& ") == len(spec) - 1, line


def test_latex_escapes() -> None:
    assert latex.escaped("a_b 50 % & R² −1") == (r"a\_b 50 \% \& R\textsuperscript{2} $-$1")


def test_what_is_committed_becomes_the_readmes_results(
    golden: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tools import tables_in_readme

    monkeypatch.setattr(tables_in_readme, "FOLDER", tmp_path)
    committed = tmp_path / "compare"
    assert tables_in_readme.section() == "<!-- results -->\n<!-- end of results -->"
    made = tmp_path / "out" / "tables"
    plan = planned(tmp_path / "out", {"nerula": [answered(TRUTH, TRUTH)]})
    plan.cells["nerula 0"].problem = "/home/me/stores/ptbxl is damaged."
    plan.save()
    made.mkdir()
    (tmp_path / "out" / "models").mkdir()
    (made / "sex.json").write_text(json.dumps(golden))
    counted = [{"check": "leaks", "looked_at": 4, "of": "recordings", "broken": 0}]
    held = {"checks": counted, "recordings_seen": {"nerula": 9, "byol": 9}}
    (made / "checks.json").write_text(json.dumps(held))
    tables_in_readme.adopt(tmp_path / "out", "compare")
    tables_in_readme.adopt(committed, "compare")  # it is there already
    with pytest.raises(SystemExit, match="none of compare, compare-leads"):
        tables_in_readme.adopt(tmp_path / "out", "elsewhere")
    adopted = Plan.read(committed)
    assert adopted.cells["nerula 0"].problem == "ptbxl is damaged."
    assert adopted.there(adopted.cells["nerula 0"])
    (path,) = (committed / "results").rglob("*.json")
    assert Result.read(path).document["command"] == "nerula compare --out out"
    assert not (committed / "models").exists()
    section = tables_in_readme.section()
    assert markdown.render(golden) in section
    assert "| leaks | 4 recordings | 0 |" in section
    assert "9 by nerula and byol" in section
    assert tables_in_readme.BLOCK.fullmatch(section)
    tables_in_readme.adopt(tmp_path / "out", "compare-leads")
    both = tables_in_readme.section()
    assert both.count(markdown.render(golden)) == 2
    assert both.index("## Results\n") < both.index("## Results of several leads\n")


def test_the_readme_has_the_committed_tables() -> None:
    from tools import tables_in_readme

    assert list((tables_in_readme.FOLDER / "compare" / "tables").glob("*.json"))
    assert tables_in_readme.renewed() == (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_is_committed_names_no_folder_of_a_machine() -> None:
    from tools import tables_in_readme

    for path in tables_in_readme.FOLDER.glob("compare*/**/*.json"):
        held = json.loads(path.read_text(encoding="utf-8"))
        told = [held.get("command", ""), *held.get("sentences", [])]
        told += [cell["problem"] or "" for cell in held.get("cells", [])]
        for said in told:
            assert without_places(said) == said, path


def test_leads_are_asked_of_methods_that_rebuild_them() -> None:
    made = {table.name: table.rows for table in tables.of_tasks(
        ["nerula", "modal", "w2v_cmsc_rlm"], ["leads", "lead-alignment"])}  # fmt: skip
    assert made == {"leads": ("modal",), "lead-alignment": ("w2v_cmsc_rlm", "modal")}


def test_persons_and_leads_have_two_figures_each() -> None:
    of_leads, of_people = tables.of_tasks(
        ["modal"], ["leads", "identity-ptbxl"], probes=["cosine"]
    )
    (answers,) = {column.probe for column in of_people.columns}
    assert answers == "cosine"
    assert [column.heading for column in of_people.columns] == ["Cosine rank-1", "Cosine EER"]
    assert [(column.metric, column.lower) for column in of_leads.columns[:2]] == [
        ("lead_pearson", False), ("lead_r2", False)
    ]  # fmt: skip


def test_identity_is_fine_tuned_where_there_are_others_to_learn_from() -> None:
    """Of strangers in PTB-XL; ECG-ID has nobody else, and what lies between leads no network."""
    names = ["identity", "identity-ptbxl", "lead-alignment"]
    made = tables.of_tasks(["modal"], names, finetune=True)
    assert [any(column.probe == tables.FINETUNED for column in one.columns) for one in made] == [
        False, True, False
    ]  # fmt: skip


def test_columns_of_leads_stand_in_an_order_that_can_be_read() -> None:
    """Whatever was asked first: all leads before few, and a metric with its own."""
    names = ("w2v_cmsc_rlm",)
    asked = [[given("I")], [given("all:I")], [given("all"), given("all:I,II,V2")]]
    made = [
        tables.of_tasks(names, ("statements",), probes=("logistic",), leads=one)[0]
        for one in asked
    ]
    whole = made[0].joined(made[1]).joined(made[2])
    assert [column.heading for column in whole.columns] == [
        f"Logistic {metric}{leads}"
        for metric in ("AUROC", "F1")
        for leads in (
            "", ", tested with leads I II V2 alone", ", tested with lead I alone", ", lead I",
        )
    ]  # fmt: skip
