"""Rows side by side: what was tested, what was fitted on, and what one answer stands beside."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from nerula import methods
from nerula.comparison import checks, document, rows, words
from nerula.comparison.plan import Plan
from nerula.comparison.publish import publish
from nerula.comparison.standings import Standings
from nerula.comparison.tables import Column, Table
from nerula.errors import NerulaError
from nerula.options import split
from nerula.readers.names import STANDARD
from tests.test_compare_tables import COLUMN, TRUTH, answered, planned

ONE = Column("sex", "svc", "accuracy", leads=("V2",))
QUIET = Console(quiet=True)


def of_leads(folder: Path, byol: tuple[str, ...]) -> Plan:
    """NERULA asked with all its leads and, without the recording that lacks it, with V2."""
    whole = {name: [answered(TRUTH, TRUTH)] for name in ("nerula", "byol")}
    plan = planned(folder, whole)
    three = {"nerula": ("a", "b", "c"), "byol": byol}
    lacking = {
        name: [answered(TRUTH[:3], TRUTH[:3], names, leads=("V2",))]
        for name, names in three.items()
    }
    for cell in planned(folder, lacking).cells.values():
        plan.cells[f"{cell.name} V2"] = replace(cell, name=f"{cell.name} V2")
    names = ("nerula", "byol")
    plan.tables = [Table("V2", "V2", (ONE,), names), Table("sex", "Sex", (COLUMN,), names)]
    return plan


def broken(plan: Plan, name: str) -> int:
    """How often a check is broken."""
    (one,) = [c for c in checks.after(plan, checks.answered(plan)) if name in c["check"]]
    return int(one["broken"])


def test_people_in_gallery_and_queries_are_no_leak(tmp_path: Path) -> None:
    plan = planned(tmp_path, {"nerula": [answered(TRUTH, TRUTH)]})
    ((cell, told),) = checks.answered(plan)
    told["fits"][0]["shared_subjects"] = 4
    for kind, count in (("classes", 4), ("identity", 0)):
        told["task"]["kind"] = kind
        found = {one["check"]: one["broken"] for one in checks.after(plan, [(cell, told)])}
        assert found["subjects and signals on two sides, in all fits"] == count


def test_leads_that_some_recordings_lack_are_tested_apart(tmp_path: Path) -> None:
    plan = of_leads(tmp_path, ("a", "b", "c"))
    assert broken(plan, "judged on different") == 0
    publish(plan, QUIET)
    tested = [
        json.loads((tmp_path / "tables" / f"{name}.json").read_text())["rows"][0]["cells"][0]["n"]
        for name in ("sex", "V2")
    ]
    assert tested == [4, 3]


def test_a_table_that_cannot_be_made_keeps_no_other_from_being_published(tmp_path: Path) -> None:
    plan = of_leads(tmp_path, ("a", "b", "x"))
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "V2.json").write_text("an earlier one")
    with pytest.raises(NerulaError, match="V2: Rows were judged on different recordings: sex V2"):
        publish(plan, QUIET)
    assert broken(plan, "judged on different") == 1
    made = {path.name for path in (tmp_path / "tables").iterdir()}
    assert made == {"sex.json", "sex.md", "sex.tex", "checks.json"}
    assert "### Sex" in (tmp_path / "tables.md").read_text()


def test_what_rows_were_fitted_on_is_counted_and_said(tmp_path: Path) -> None:
    def plan(name: str, fitted: dict[str, int]) -> Plan:
        results = {row: [answered(TRUTH, TRUTH, fitted=n)] for row, n in fitted.items()}
        return planned(tmp_path / name, results)

    alike = plan("alike", {"nerula": 1900, "modal": 1900, "byol": 1900})
    assert broken(alike, "fitted on different") == 0
    made = document.of_table(alike.tables[0], Standings(alike))
    assert made["rows"][0]["cells"][0]["fitted"] == 1900
    assert not [said for said in made["sentences"] if "Fitted" in said]

    unlike = plan("unlike", {"nerula": 1900, "modal": 1200, "byol": 1900})
    assert broken(unlike, "fitted on different") == 1
    assert broken(unlike, "judged on different") == 0
    made = document.of_table(unlike.tables[0], Standings(unlike))
    said = "Fitted on 1,200 recordings: Modally reduced; on 1,900: NERULA and BYOL."
    assert said in made["sentences"]
    publish(unlike, QUIET)  # it is no error


def test_rows_that_are_given_other_leads_where_none_is_named_are_told_apart(
    tmp_path: Path,
) -> None:
    def given(leads: dict[str, list[str]]) -> str:
        results = {}
        for row, own in leads.items():
            one = answered(TRUTH, TRUTH)
            results[row] = [replace(one, document=one.document | {"windows": {"leads": own}})]
        plan = planned(tmp_path / " ".join(map(str, map(len, leads.values()))), results)
        sentences = document.of_table(plan.tables[0], Standings(plan))["sentences"]
        return " ".join(said for said in sentences if "named" in said)

    assert not given({"nerula": ["II"], "modal": ["II"]})
    said = given({"nerula": ["II"], "modal": list(STANDARD), "byol": ["II"]})
    assert said == (
        "Where no lead is named: lead II for NERULA and BYOL; all twelve for Modally reduced."
    )


def test_a_network_trained_on_labels_is_counted_beside_the_probes(tmp_path: Path) -> None:
    trained = answered(TRUTH, TRUTH, fitted=1200, probe="finetuned")
    other = {"nerula": [answered(TRUTH, TRUTH, fitted=1900)], "supervised": [trained]}
    assert broken(planned(tmp_path, other), "fitted on different") == 1


def test_the_one_answer_of_a_supervised_network_stands_beside_every_probe(tmp_path: Path) -> None:
    """Right on half. NERULA: the SVC always, the forest never, the logistic on the same half."""
    truth, half, names = TRUTH * 3, [1, 0, 0, 1] * 3, tuple("abcdefghijkl")
    said = {"svc": truth, "forest": [1 - one for one in truth], "logistic": half}
    trained = answered(truth, half, names, probe="finetuned")
    plan = planned(tmp_path, {"supervised": [trained], "nerula": []})
    for probe, predicted in said.items():
        one = answered(truth, predicted, names, probe=probe)
        (cell,) = planned(tmp_path / probe, {"nerula": [one]}).cells.values()
        plan.cells[probe] = replace(cell, made=[f"{probe}/{path}" for path in cell.made])
    columns = tuple(Column("sex", probe, "accuracy") for probe in said)
    brier = tuple(Column("sex", probe, "brier") for probe in ("svc", "forest"))
    table = Table("sex", "Sex", columns + brier, ("supervised", "nerula"))
    made = document.of_table(table, Standings(plan))
    (row,) = [one for one in made["rows"] if one["kind"] == "supervised"]
    assert [bool(cell) for cell in row["cells"]] == [True, False, False, True, False]
    assert [one["value"] for one in row["nerula_ahead"][:3]] == [0.5, -0.5, 0]
    assert [np.sign(one["value"]) for one in row["nerula_ahead"][3:]] == [1, -1]  # less is better
    ((title, shown),) = words.lead(made)
    assert title == "ResNet, supervised"
    assert "–" not in shown
    (sentence,) = [one for one in made["sentences"] if "ResNet" in one]
    assert sentence == (
        "Against the one answer of ResNet, supervised, NERULA is ahead, with a paired interval "
        "above zero, in 2 of 5 cells and behind in 2."
    )


def test_all_rows_are_read_out_alike_unless_it_is_said_otherwise() -> None:
    def pooling(name: str, *settings: str) -> Any:
        row = rows.configured(rows.ROWS[name], rows.read_settings(settings), large=False)
        _, arguments = split(methods.find(row.method), None, row.arguments)
        return arguments.get("pooling")

    assert {name: pooling(name) for name, row in rows.ROWS.items() if not row.many} == {
        name: None if name in ("random_convolutions", "heart_rate", "majority") else "stats"
        for name, row in rows.ROWS.items()
        if not row.many
    }
    assert pooling("w2v") == "steps"  # of several leads: its own
    for name in ("nerula", "byol", "supervised"):
        assert pooling(name, "*.pooling=mean") == "mean"
    assert pooling("nerula", "*.pooling=mean", "nerula.pooling=moments") == "moments"
    assert not rows.configured(rows.find("tests.own_pooling:Own"), [], large=False).arguments
