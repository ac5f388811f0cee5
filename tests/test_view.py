"""The viewer's server: what it shows is what the store holds, and strangers get nothing."""

import asyncio
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyarrow import parquet

import nerula
from benchmarks import viewing
from nerula import quality, sample, view
from nerula.cli import main
from nerula.contract import Contract
from nerula.errors import NerulaError, UsageError
from nerula.model import Model
from nerula.prepare import Options, make_store
from nerula.probes import Examples, Question, fit
from nerula.recording import Recording
from nerula.store import FORMAT, INDEX, SIGNALS, TABLE, VALIDITY, VERSION, Store
from nerula.viewer import shelf
from nerula.viewer.asking import Asking
from nerula.viewer.dropped import KEPT, plain_name
from nerula.viewer.guard import HEADERS, Guard
from nerula.viewer.library import COLUMNS, Library, Query
from nerula.viewer.server import PAGES
from nerula.viewer.shelf import Item, traced
from nerula.writer import SCHEMA
from tests.viewed import ANSWER, Live, serving
from tests.wfdb_records import millivolts, write_record

COUNT, LIMIT = 120, 1 << 20


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    place = tmp_path_factory.mktemp("store") / "sample"
    make_store(sample.load(), place, Options(leads=("II",), limit=COUNT), quiet=True)
    return Store.open(place)


@pytest.fixture(scope="module")
def model() -> Model:
    return nerula.load("nerula-small")


@pytest.fixture(scope="module")
def probe(model: Model, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _probe(model, store, tmp_path_factory.mktemp("probe") / "sex.safetensors")


@pytest.fixture(scope="module")
def live(store: Store, probe: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A viewer with a model and a probe."""
    with serving(store.path, tmp_path_factory.mktemp("private"), probe, limit=LIMIT) as served:
        yield served


def _probe(model: Model, store: Store, path: Path) -> Path:
    x = np.stack([store.read(i)[0][0] for i in range(60)])
    z = model.embed(x, store.contract.rate)
    male = (store.column("sex")[:60] == "male") * 1
    fitted = fit(
        "logistic", Question("classes", 2, "auroc"), Examples(z, male, np.arange(60)), None
    )
    return fitted.portable(("female", "male"), model.identity, {"task": "sex"}).save(path)


def floats(body: bytes) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """The head of a packed signal, and its values (leads, count)."""
    length = int.from_bytes(body[:4], "little")
    head = json.loads(body[4 : 4 + length])
    return head, np.frombuffer(body[4 + length :], "<f4").reshape(len(head["leads"]), -1)


# --- strangers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/app.js", "/api/about", "/nowhere", "/api/recordings/x"])
def test_every_answer_forbids_what_the_page_does_not_need(live: Live, path: str) -> None:
    status, headers, _ = live.ask(path)
    assert status in (200, 404, 422)
    assert {name: headers.get(name) for name in HEADERS} == HEADERS


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:{port}.evil.example"},
        {"Host": "[::1]:{port}"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/recordings"])
def test_other_names_and_other_sites_are_refused(
    live: Live, path: str, headers: dict[str, str]
) -> None:
    sent = {name: value.format(port=live.port) for name, value in headers.items()}
    status, given, body = live.ask(path, headers=sent)
    assert status == 403
    assert given["content-security-policy"].startswith("default-src 'none'")
    assert b"recordings" not in body


def test_what_changes_something_has_to_come_from_the_page(live: Live) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", live.port, ANSWER)) as connection:
        connection.request("POST", "/api/files?name=a.csv&size=1", b"1")  # no Origin
        assert connection.getresponse().status == 403
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
        assert live.ask("/api/files", method)[0] == 403


@given(st.text(max_size=40), st.integers(1, 65535))
def test_only_our_own_name_and_port_are_a_host(host: str, port: int) -> None:
    guard = Guard(None, port)  # type: ignore[arg-type]
    raw = host.encode("latin-1", "replace")
    ours = raw.decode("latin-1").lower() in {f"127.0.0.1:{port}", f"localhost:{port}"}
    ours |= port == 80 and host in ("127.0.0.1", "localhost")
    assert (guard.refusal("GET", [(b"Host", raw)]) == "") == ours
    assert guard.refusal("GET", [])
    mine = f"localhost:{port}".encode()
    assert not guard.refusal("GET", [(b"Host", mine)])
    assert guard.refusal("GET", [(b"Host", mine), (b"Host", mine)])


def test_nobody_but_this_machine_can_connect() -> None:
    with view._bound(0) as listening:
        host, port = listening.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(UsageError, match=rf"Port {port} cannot be used.*--port {port + 1}"):
            view._bound(port).__enter__()


@pytest.mark.parametrize(
    "path",
    ["/../view.py", "/%2e%2e/%2e%2e/view.py", "/page/index.html", "/api/../../etc/passwd",
     "/api/recordings/..%2f..%2fstore.json/signal", "//etc/passwd", "/api/files"],
)  # fmt: skip
def test_no_address_names_a_file(live: Live, path: str) -> None:
    status, _, body = live.ask(path)
    assert status in (404, 405, 422)
    assert len(body) < 300


def test_the_page_runs_only_its_own_files_and_knows_no_network() -> None:
    page = (PAGES / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*src=\"/)|<style|\son\w+=|\sstyle=|javascript:", page)
    for path in PAGES.iterdir():
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[^\s\"'`]+", text)) <= {"http://www.w3.org/2000/svg"}
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", text)


# --- browsing ----------------------------------------------------------------------------------


def test_what_is_known_of_the_store_and_the_model(live: Live, store: Store) -> None:
    said = live.json("/api/about")
    labels = [label for row in store.column("labels") for label in row]
    assert said["recordings"] == COUNT
    assert dict(said["groups"]["labels"])["NORM"] == labels.count("NORM")
    assert said["groups"]["labels"][0][1] == max(labels.count(label) for label in labels)
    assert dict(said["groups"]["sexes"])["male"] == (store.column("sex") == "male").sum()
    assert said["model"]["name"] == "nerula-small"
    assert said["model"]["probes"] == ["sex"]


QUERIES = st.builds(
    Query,
    words=st.sampled_from(["", "norm", "AF", "000", "afib  SR", "zzz", "(", "1"]),
    label=st.sampled_from(["", "NORM", "AFIB", "none such"]),
    sex=st.sampled_from(["", "male", "female"]),
    fold=st.sampled_from(["", "1", "10"]),
    youngest=st.none() | st.floats(0, 100),
    oldest=st.none() | st.floats(0, 100),
    order=st.sampled_from(["store", "name", "youngest", "oldest"]),
)


@pytest.fixture(scope="module")
def columns(store: Store) -> list[Any]:
    return [store.column(name) for name in COLUMNS]


@settings(deadline=None, max_examples=60)
@given(QUERIES, st.integers(0, 30), st.integers(0, 30))
def test_a_search_finds_what_a_plain_loop_finds(
    live: Live, columns: list[Any], query: Query, start: int, count: int
) -> None:
    found = [i for i, row in enumerate(zip(*columns, strict=True)) if _meant(query, *row)]
    ages = columns[2]
    match query.order:
        case "name":
            found.sort(key=lambda i: columns[0][i])
        case "youngest":
            found.sort(key=lambda i: (np.isnan(ages[i]), ages[i]))
        case "oldest":
            found.sort(key=lambda i: (np.isnan(ages[i]), -ages[i]))
    total, rows = live.viewer.library.page(query, start, count)
    assert total == len(found)
    assert [row["key"] for row in rows] == [str(i) for i in found[start : start + count]]


def _meant(
    query: Query, name: str, subject: str, age: float, sex: str, labels: list[str], fold: str
) -> bool:
    texts = [name.lower(), (subject or "").lower(), *(label.lower() for label in labels)]
    return (
        all(any(word.lower() in text for text in texts) for word in query.words.split())
        and query.label in ("", *labels)
        and query.sex in ("", sex)
        and query.fold in ("", fold)
        and (query.youngest is None or age >= np.float32(query.youngest))
        and (query.oldest is None or age <= np.float32(query.oldest))
    )


def test_a_page_of_the_list(live: Live, store: Store) -> None:
    said = live.json("/api/recordings?words=norm&start=5&count=7")
    normal = [i for i, labels in enumerate(store.column("labels")) if "NORM" in labels]
    assert said["total"] == len(normal)
    assert [one["key"] for one in said["recordings"]] == [str(i) for i in normal[5:12]]
    assert said["recordings"][0]["name"] == store.column("name")[normal[5]]
    assert live.ask("/api/recordings?youngest=old")[0] == 422
    assert live.ask("/api/recordings?order=random")[0] == 422
    assert live.ask("/api/recordings/120")[0] == 422


def test_a_signal_is_the_stores(live: Live, store: Store) -> None:
    head, y = floats(live.ask("/api/recordings/7/signal?start=1.5&stop=4")[2])
    x, _ = store.read(7)
    assert np.array_equal(y, x[:, 150:400])
    assert (head["start"], head["spacing"], head["exact"], head["leads"]) == (
        1.5,
        0.01,
        True,
        ["II"],
    )
    _, all_of_it = floats(live.ask("/api/recordings/7/signal?start=-1e308&stop=1e308")[2])
    assert np.array_equal(all_of_it, x)


def _item(x: NDArray[np.float32], valid: NDArray[np.bool_], rate: float = 100.0) -> Item:
    return Item(
        "0", "a", tuple(f"V{i + 1}" for i in range(len(x))), rate, x.shape[1], "mV", {},
        lambda first, count: (x[:, first : first + count], valid[:, first : first + count]),
    )  # fmt: skip


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 900), st.integers(1, 60), st.integers(1, 3))
def test_what_is_drawn_of_a_long_signal_reaches_every_extreme(
    seed: int, length: int, points: int, leads: int
) -> None:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(leads, length)).astype(np.float32)
    valid = draw.random((leads, length)) < draw.random()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelf, "_AT_ONCE", 64)
        trace = traced(_item(x, valid), 0, length, points)
    assert trace.y.shape[1] <= 2 * points
    size = 1 if trace.exact else round(2 * trace.spacing * 100)
    for row in range(leads):
        for at in range(0, length, size):
            seen = x[row, at : at + size][valid[row, at : at + size]]
            drawn = trace.y[
                row, at // size if trace.exact else slice(at // size * 2, at // size * 2 + 2)
            ]
            if len(seen):
                assert drawn.min() == seen.min()
                assert drawn.max() == seen.max()
            else:
                assert np.isnan(drawn).all()


def test_quality_is_what_check_says(live: Live, store: Store) -> None:
    x, valid = store.read(3)
    marked = quality.mark(Recording("3", x, 100.0, ("II",), valid))
    said = live.json("/api/recordings/3/quality")
    assert said["index"] == round(quality.index(marked.x, marked.valid, 100.0), 3)
    assert [one["code"] for one in said["findings"]] == [one.code for one in marked.findings]


# --- the model ---------------------------------------------------------------------------------


def test_a_gap_is_filled_as_the_model_fills_it_and_judged_by_what_was_hidden(
    live: Live, store: Store, model: Model
) -> None:
    said = live.json("/api/recordings/4/fill?gap=3.20-3.65&gap=7-7.3")["gaps"]
    assert [(one["start"], one["stop"]) for one in said] == [(3.2, 3.65), (7.0, 7.3)]
    x, _ = store.read(4)
    hidden = x[0].copy()
    hidden[320:365] = hidden[700:730] = np.nan
    filled = model.impute(hidden, 100.0)
    for one, inside in zip(said, (slice(320, 365), slice(700, 730)), strict=True):
        assert np.allclose(one["values"], filled[inside], atol=1e-3)
        assert one["rmse"] == pytest.approx(
            np.sqrt(np.mean((filled - x[0])[inside] ** 2)), abs=1e-3
        )
        ends = [inside.start - 1, inside.stop]
        line = np.interp(np.arange(inside.start, inside.stop), ends, x[0, ends])
        error = np.sqrt(np.mean((line - x[0, inside]) ** 2))
        assert one["line"] == pytest.approx(error, abs=1e-3)


def test_what_is_hidden_cannot_help_to_fill_it(live: Live) -> None:
    asking = _asked(live)
    x = sample.load().x[9]
    valid = np.ones(x.shape, np.bool_)
    other = x.copy()
    other[0, 410:470] = 5.0
    one, two = (asking.fill(_item(each, valid), [(4.1, 4.7)])[0] for each in (x, other))
    assert one["values"] == two["values"]
    assert two["rmse"] > one["rmse"] + 3


def test_leads_are_filled_one_by_one_or_together(live: Live) -> None:
    x = np.repeat(sample.load().x[9], 3, axis=0) * np.array([[1], [0.5], [2]], np.float32)
    item = _item(x, np.ones(x.shape, np.bool_))
    alone = _asked(live).fill(item, [(4.1, 4.7)], "V2")
    assert [one["lead"] for one in alone] == ["V2"]
    together = _asked(live).fill(item, [(4.1, 4.7)])
    assert [one["lead"] for one in together] == ["V1", "V2", "V3"]
    assert together[1] == alone[0]


def _asked(live: Live) -> Asking:
    assert live.viewer.asking is not None
    return live.viewer.asking


@pytest.mark.parametrize(
    "gap", ["2-2", "5-4", "x-3", "", "nan-2", "1-", "0-inf", "&".join(["gap=1-2"] * 70)[4:]]
)
def test_gaps_that_cannot_be_meant_are_refused(live: Live, gap: str) -> None:
    status, _, body = live.ask(f"/api/recordings/4/fill?gap={gap}")
    assert status == 422
    assert json.loads(body)["error"]


def test_neighbours_and_probabilities_are_those_of_python(
    live: Live, store: Store, model: Model, probe: Path
) -> None:
    live.finished()
    said = live.json("/api/recordings/11/answers")
    x, _ = store.read(11)
    found = model.similar(x[0], 100.0, store, k=9)
    others = [str(row) for row in found.rows if row != 11][:8]
    assert [one["key"] for one in said["neighbours"]["recordings"]] == others
    shares = nerula.probes.load(probe).probabilities(model.embed(x[0], 100.0))
    assert dict(said["probes"][0]["classes"]) == pytest.approx(
        dict(zip(("female", "male"), shares, strict=True)), abs=2e-3
    )
    part = live.json("/api/recordings/11/answers?start=2&stop=2.8")
    alone = model.similar(x[0, 200:280], 100.0, store, k=8)
    assert [one["key"] for one in part["neighbours"]["recordings"]] == [str(r) for r in alone.rows]
    assert live.ask("/api/recordings/11/answers?start=2&stop=2.1")[0] == 422


def test_the_map_has_every_recording_at_its_place(live: Live) -> None:
    assert live.finished()["state"] == "done"
    said = live.json("/api/map")
    assert [one["key"] for one in said["recordings"]] == [str(i) for i in range(COUNT)]
    for layout in ("principal", "neighbours"):
        places = np.array(said[layout]).reshape(-1, 2)
        assert len(places) == COUNT
        assert 0 <= places.min() < places.max() <= 1000
    assert 0 < said["explained"] < 1


def test_without_a_model_there_is_still_a_viewer(store: Store, tmp_path: Path) -> None:
    with view.assembled(store.path, tmp_path, "none") as viewer:
        assert viewer.asking is None
        with pytest.raises(UsageError, match="--model"):
            viewer._model()
    with (
        pytest.raises(UsageError, match="needs the model"),
        view.assembled(store.path, tmp_path, "none", (Path("a"),)),
    ):
        pass


# --- files of one's own ------------------------------------------------------------------------


def test_a_dropped_table_is_shown_as_it_is(live: Live) -> None:
    x = sample.load().x[2, 0]
    table = "\n".join(["time,II", *(f"{i / 100:.2f},{v:.4f}" for i, v in enumerate(x))])
    status, said = live.drop({"my own.csv": table.encode()})
    assert status == 200, said
    key = said["recordings"][0]["key"]
    facts = live.json(f"/api/recordings/{key}")
    assert (facts["name"], facts["leads"], facts["rate"], facts["stored"]) == (
        "my own",
        ["II"],
        100,
        False,
    )
    assert np.allclose(floats(live.ask(f"/api/recordings/{key}/signal")[2])[1][0], x, atol=1e-3)
    assert len(live.json(f"/api/recordings/{key}/fill?gap=2-2.4")["gaps"][0]["values"]) == 40
    assert live.json(f"/api/recordings/{key}/answers")["probes"]


def record(folder: Path) -> dict[str, bytes]:
    """A WFDB record's two files."""
    folder.mkdir(exist_ok=True)
    write_record(folder, ("I", "V2"))
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_record_of_two_files_is_dropped_together(live: Live, tmp_path: Path) -> None:
    files = record(tmp_path / "wfdb")
    status, said = live.drop(files)
    assert (status, said["total"]) == (200, 1), said
    key = said["recordings"][0]["key"]
    head, y = floats(live.ask(f"/api/recordings/{key}/signal?points=4000")[2])
    assert head["leads"] == ["I", "V2"]
    assert np.allclose(y, millivolts(("I", "V2"), 250)[:, : y.shape[1]], atol=0.01)
    status, said = live.drop({name: files[name] for name in files if name.endswith(".hea")})
    assert status == 422
    assert "rec.dat" in said["error"]
    assert str(live.private) not in json.dumps(said)


def test_a_file_that_does_not_say_its_rate_can_be_told(live: Live) -> None:
    table = "II\n" + "\n".join(f"{v:.1f}" for v in 1000 * sample.load().x[2, 0])
    status, said = live.drop({"a.csv": table.encode()})
    assert status == 422, said
    assert "If the file does not say" in said["remedy"]  # on this page there are no options
    assert "--source" not in said["error"] + said["remedy"]
    status, said = live.drop({"a.csv": table.encode()}, rate="100", unit="uV")
    assert status == 200, said


@pytest.mark.parametrize(
    ("name", "content"),
    [("mine.exe", b"MZ" + bytes(100)), ("mine.edf", b"0       " + bytes(300)),
     ("mine.csv", b"\0\1\2"),
     ("mine.npy", b"\x93NUMPY\x01\x00"), ("mine.mat", b"\x80\x04."), ("mine.dcm", bytes(200)),
     ("mine.xml", b"<AnnotatedECG>&e;</AnnotatedECG>")],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_a_sentence(
    live: Live, name: str, content: bytes
) -> None:
    status, said = live.drop({name: content})
    assert status == 422
    assert "mine." in said["error"]  # or the header that a .mat file lacks
    assert "Traceback" not in json.dumps(said)
    assert str(live.private) not in json.dumps(said)


def test_too_much_is_refused_before_it_is_sent(live: Live) -> None:
    with closing(socket.create_connection(("127.0.0.1", live.port), ANSWER)) as connection:
        own = f"127.0.0.1:{live.port}"
        size = LIMIT + 1
        connection.sendall(
            f"POST /api/files?name=a.csv&size={size} HTTP/1.1\r\nHost: {own}\r\n"
            f"Origin: http://{own}\r\nContent-Length: {size}\r\n\r\n".encode()
        )
        answer = connection.recv(4096)  # nothing of the body was sent
    assert b" 413 " in answer.split(b"\r\n")[0]
    assert live.drop({"a.csv": bytes(LIMIT + 1)})[0] == 413


def test_a_length_has_to_be_said_and_to_be_true(live: Live) -> None:
    chunks = {"Transfer-Encoding": "chunked"}
    assert (
        live.ask("/api/files?name=a.csv&size=1", "POST", b"1\r\n1\r\n0\r\n\r\n", chunks)[0] == 411
    )
    assert live.ask("/api/files?name=a.csv&size=2", "POST", b"123")[0] == 422
    assert live.ask("/api/files?name=a.csv&size=-1&name=b.csv&size=4", "POST", b"123")[0] == 422
    assert live.ask("/api/files?name=a.csv", "POST", b"123")[0] == 422
    assert live.ask("/api/files", "POST", b"")[0] == 422
    assert live.drop({"a.csv": b"1", "A.csv": b"2"})[0] == 422
    assert live.drop({f"{i}.csv": b"1" for i in range(80)})[0] == 422


def test_no_name_leaves_the_private_folder(live: Live) -> None:
    before = set(live.private.parent.rglob("*"))
    for name in (
        "../../evil.csv",
        "/tmp/evil.csv",
        "..",
        "a/../../evil.csv",
        "..\\evil.csv",
        ".ssh",
    ):
        live.drop({name: b"II\n1\n"})
    new = set(live.private.parent.rglob("*")) - before
    assert all(path.is_relative_to(live.private / "dropped") for path in new)
    assert not Path("/tmp/evil.csv").exists()
    assert (live.private / "dropped").stat().st_mode & 0o077 == 0


@given(st.text(max_size=300))
def test_a_plain_name_is_a_name_in_one_folder(name: str) -> None:
    try:
        plain = plain_name(name)
    except UsageError:
        return
    assert Path(plain).name == plain
    assert plain[0] != "." and plain.isprintable() and len(plain) < 180
    assert plain_name(plain) == plain


def test_only_the_latest_drops_are_kept(live: Live, tmp_path: Path) -> None:
    files = record(tmp_path / "wfdb")
    keys = [live.drop(files)[1]["recordings"][0]["key"] for _ in range(KEPT + 2)]
    assert live.ask(f"/api/recordings/{keys[0]}")[0] == 422
    assert live.ask(f"/api/recordings/{keys[-1]}")[0] == 200
    assert len(list((live.private / "dropped").iterdir())) <= KEPT


# --- the verb, and many at once ----------------------------------------------------------------


def test_two_hundred_clients_at_once_get_what_they_ask_for(live: Live) -> None:
    live.finished()
    found = asyncio.run(viewing.load(live.port, 200, 2.0, rows=COUNT))
    assert not found.errors
    assert len(found.waits) >= 200


def test_the_verb_says_where_and_ends_cleanly(store: Store) -> None:
    words = [sys.executable, "-m", "nerula.cli", "view", str(store.path), "--model", "none"]
    with subprocess.Popen([*words, "--no-open", "--port", "0"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        address = next(line for line in process.stdout if "http://127.0.0.1:" in line)
        port = int(re.findall(r":(\d+)", address)[0])
        with closing(http.client.HTTPConnection("127.0.0.1", port, ANSWER)) as connection:
            connection.request("GET", "/")
            assert b"Nerula" in connection.getresponse().read()
        process.send_signal(signal.SIGINT)
        said, wrong = process.communicate(timeout=30)
    assert process.returncode == 0, wrong
    assert "Next: nerula embed" in said
    assert "Traceback" not in wrong


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "not a finished store"),
        (["{store}", "--model", "nowhere"], "is no model"),
        (["{store}", "--probe", "nowhere.safetensors"], "cannot be read as a probe"),
        (["{store}", "--port", "70000"], "no port"),
        (["{store}", "--limit", "0"], "--limit"),
        (["{store}", "--host", "0.0.0.0"], "--host"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(
    store: Store, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["view", *(word.format(store=store.path) for word in words), "--no-open"])
    assert ended.value.code in (1, 2)
    told = capsys.readouterr()
    assert said in " ".join((told.out + told.err).split())


def test_names_and_labels_travel_as_they_are(live: Live) -> None:
    name = '<img src=x onerror="alert(1)">.csv'
    table = "time,II\n" + "\n".join(
        f"{i / 100},{v:.3f}" for i, v in enumerate(sample.load().x[2, 0])
    )
    status, said = live.drop({name: table.encode()})
    assert status == 200
    assert "<" not in said["recordings"][0]["name"]
    assert live.ask(f"/api/recordings/{quote(name)}")[0] == 422


def million(place: Path, count: int) -> None:
    """A store of very many recordings, each of eight samples."""
    draw = np.random.default_rng(0)
    kinds = np.array([["NORM", "SR"], ["AFIB"], ["PVC", "SR"], []], object)
    columns = {
        "name": [f"ward/{i:07}" for i in range(count)],
        "subject": [f"p{i // 2}" for i in range(count)],
        "age": draw.uniform(18, 95, count).astype(np.float32),
        "sex": np.array(["male", "female"])[draw.integers(0, 2, count)].tolist(),
        "labels": [kinds[k] for k in draw.integers(0, len(kinds), count)],
        "likelihoods": [[]] * count,
        "fold": [str(i % 10 + 1) for i in range(count)],
        "source": ["made"] * count,
        "source_rate": np.full(count, 100.0),
        "leads": [["II"]] * count,
        "length": np.full(count, 8),
        "valid": np.ones(count, np.float32),
        "digest": [""] * count,
        "findings": [[]] * count,
        "removed": [[]] * count,
        "offset": np.arange(count) * 8,
    }
    place.mkdir()
    table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in SCHEMA})
    table = table.append_column("offset", pa.array(columns["offset"], pa.int64()))
    parquet.write_table(table, place / TABLE)
    np.save(place / SIGNALS, draw.integers(-99, 99, 8 * count).astype(np.int16))
    np.save(place / VALIDITY, np.full(count, 255, np.uint8))
    files = {name: (place / name).stat().st_size for name in (TABLE, SIGNALS, VALIDITY)}
    facts = {"format": FORMAT, "version": VERSION, "recordings": count, "digest": "made"}
    contract = Contract(("II",), 100.0).as_json()
    text = json.dumps(facts | {"contract": contract, "files": files, "source": None})
    (place / INDEX).write_text(text, encoding="utf-8")


@pytest.mark.slow
def test_a_million_recordings_are_searched_while_one_types(tmp_path: Path) -> None:
    million(tmp_path / "store", 1_000_000)
    library = Library(Store.open(tmp_path / "store"))
    library.groups()
    for query, share in ((Query(words="afib"), 4), (Query(label="NORM", sex="female"), 8)):
        begun = time.process_time()
        total, rows = library.page(query, 100, 50)
        assert time.process_time() - begun < 1
        assert total == pytest.approx(1_000_000 / share, rel=0.05)
        assert len(rows) == 50
        begun = time.process_time()
        library.page(query, 50_000, 50)  # further on, nothing is searched again
        assert time.process_time() - begun < 0.1
    assert library.page(Query(words="p123456"), 0, 50)[0] == 2


def test_what_terminates_the_process_is_as_before_when_the_viewer_is_closed(
    tmp_path: Path,
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(NerulaError):
        view.view(tmp_path / "nothing", port=0, open_=False)
    assert signal.getsignal(signal.SIGTERM) == before
