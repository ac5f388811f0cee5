"""`nerula fetch` against a real server on this machine that misbehaves as networks do."""

import errno
import hashlib
import io
import math
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nerula import archive, download, publishers
from nerula.cli import main
from nerula.download import Server
from nerula.errors import NerulaError, UsageError
from nerula.fetch import LEDGER, fetch
from nerula.readers import open_source
from tests import layouts


@dataclass
class Mirror:
    """What the server has, how it misbehaves, and what it was asked for."""

    root: Path
    url: str = ""
    asked: list[tuple[str, int]] = field(default_factory=list)
    """Names and the place that each answer begins at."""
    ranges: bool = True
    faults: dict[str, list[str]] = field(default_factory=dict)
    """For a name, what goes wrong in its next answers."""
    redirect: str = ""
    holds_after: float = math.inf
    """So many answers are given; whoever asks for more waits until `released`."""
    released: threading.Event = field(default_factory=threading.Event)

    def counts(self) -> Counter[str]:
        return Counter(name for name, _ in self.asked)


class Handler(BaseHTTPRequestHandler):
    """GET with ranges, as a web server answers it, and the faults that were ordered."""

    mirror: Mirror

    def do_GET(self) -> None:
        mirror = self.mirror
        if len(mirror.asked) >= mirror.holds_after:
            mirror.released.wait(60)
        name = self.path.lstrip("/").replace("%20", " ")
        fault = (mirror.faults.get(name) or [""]).pop(0)
        path = mirror.root / name
        if mirror.redirect and name == "RECORDS":
            self.send_response(302)
            self.send_header("Location", mirror.redirect)
            self.end_headers()
            return
        if fault.isdecimal() or not path.is_file():
            self.send_response(int(fault or 404))
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()
            mirror.asked.append((name, 0))
            return
        data = path.read_bytes()
        start = self._start(len(data))
        if start is None:
            return
        mirror.asked.append((name, start))
        body = data[start:]
        if fault == "corrupt":
            body = bytes([body[0] ^ 1]) + body[1:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if fault != "lengthless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)

    def _start(self, size: int) -> int | None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not match or not self.mirror.ranges:
            return 0
        if int(match[1]) < size:
            return int(match[1])
        self.send_response(416)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def write_sums(root: Path) -> None:
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix != ".txt")
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(root).as_posix()}"
        for path in files
    ]
    (root / "SHA256SUMS.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """ECG-ID in the publisher's layout, on a server of this machine."""
    root = layouts.ecgid(tmp_path / "published")
    (root / "RECORDS").write_text("Person_01/rec_1\nPerson_01/rec_2\nPerson_90/rec_1\n")
    (root / "biometric.shtml").write_text("not wanted")
    write_sums(root)
    mirror = Mirror(root)
    handler = type("OneMirror", (Handler,), {"mirror": mirror})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    mirror.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "PAUSE", 0.001)
    yield mirror
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "fetched"


DATA = "Person_01/rec_1.dat"
FILES = {
    "RECORDS",
    *(f"Person_{i}.{end}" for i in ("01/rec_1", "01/rec_2", "90/rec_1") for end in ("hea", "dat")),
}


def files_in(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def is_whole(folder: Path, mirror: Mirror) -> bool:
    """Everything that is wanted is there as published, and nothing else."""
    same = all((folder / n).read_bytes() == (mirror.root / n).read_bytes() for n in FILES)
    return same and files_in(folder) == FILES | {"SHA256SUMS.txt"}


# --- when all goes well ------------------------------------------------------------------------


def test_a_data_set_is_fetched_and_read(mirror: Mirror, folder: Path) -> None:
    assert fetch("ecgid", folder, base_url=mirror.url) == 0
    assert is_whole(folder, mirror)
    assert mirror.counts() == dict.fromkeys(FILES | {"SHA256SUMS.txt"}, 1)
    source = open_source(folder)
    assert [source.read(entry).subject for entry in source.entries()][-1] == "Person_90"


def test_running_it_again_asks_for_nothing(mirror: Mirror, folder: Path) -> None:
    fetch("ecgid", folder, base_url=mirror.url)
    mirror.asked.clear()
    fetch("ecgid", folder, base_url=mirror.url)
    fetch("ecgid", folder, base_url=mirror.url, verify=True)
    assert mirror.asked == []


def test_what_was_damaged_or_deleted_is_fetched_again(mirror: Mirror, folder: Path) -> None:
    fetch("ecgid", folder, base_url=mirror.url)
    mirror.asked.clear()
    (folder / "RECORDS").unlink()
    (folder / DATA).write_bytes(b"damaged")
    fetch("ecgid", folder, base_url=mirror.url)
    assert is_whole(folder, mirror)
    assert mirror.counts() == {"RECORDS": 1, DATA: 1}


def test_damage_that_keeps_size_and_time_is_found_when_asked(mirror: Mirror, folder: Path) -> None:
    fetch("ecgid", folder, base_url=mirror.url)
    path = folder / DATA
    state = path.stat()
    path.write_bytes(b"\0" * state.st_size)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    mirror.asked.clear()
    fetch("ecgid", folder, base_url=mirror.url)
    assert mirror.asked == []
    fetch("ecgid", folder, base_url=mirror.url, verify=True)
    assert mirror.counts() == {DATA: 1}
    assert is_whole(folder, mirror)


def test_files_that_were_there_before_are_taken_over(mirror: Mirror, folder: Path) -> None:
    shutil.copytree(mirror.root / "Person_01", folder / "Person_01")
    fetch("ecgid", folder, base_url=mirror.url)
    assert is_whole(folder, mirror)
    assert not any(name.startswith("Person_01") for name in mirror.counts())


def test_a_part_of_a_data_set(mirror: Mirror, folder: Path) -> None:
    shutil.rmtree(mirror.root)
    layouts.ptbxl(mirror.root, 3, rates=(100, 500))
    write_sums(mirror.root)
    fetch("ptbxl100", folder, base_url=mirror.url)
    assert not (folder / "records500").exists()
    assert len(list(open_source(folder).entries())) == 3
    fetch("ptbxl", folder, base_url=mirror.url)
    assert len(list(open_source(folder, "ptbxl500").entries())) == 3
    assert set(mirror.counts().values()) == {1}


def test_it_says_licence_size_and_what_comes_next(
    mirror: Mirror, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch("ecgid", folder, base_url=mirror.url)
    said = " ".join(capsys.readouterr().out.split())
    assert "Licence: ODC-By 1.0" in said
    assert "Lugovaya 2005" in said
    assert "7 files" in said
    assert "all verified" in said
    assert "Next: nerula check" in said


# --- networks ----------------------------------------------------------------------------------


def test_a_cut_connection_is_continued_where_it_broke(mirror: Mirror, folder: Path) -> None:
    mirror.faults[DATA] = ["cut", "cut", "cut"]
    fetch("ecgid", folder, base_url=mirror.url)
    assert is_whole(folder, mirror)
    size = (mirror.root / DATA).stat().st_size
    halves = [start for name, start in mirror.asked if name == DATA]
    assert halves == [0, size // 2, size * 3 // 4, size * 7 // 8]


def test_a_server_that_knows_no_ranges_begins_again(mirror: Mirror, folder: Path) -> None:
    mirror.ranges = False
    mirror.faults[DATA] = ["cut", "cut"]
    fetch("ecgid", folder, base_url=mirror.url)
    assert is_whole(folder, mirror)
    assert [start for name, start in mirror.asked if name == DATA] == [0, 0, 0]


def test_a_connection_that_is_always_cut_ends_in_a_sentence(mirror: Mirror, folder: Path) -> None:
    mirror.ranges = False
    mirror.faults[DATA] = ["cut"] * 100
    with pytest.raises(NerulaError, match=r"does not answer.*same command: it continues"):
        fetch("ecgid", folder, base_url=mirror.url, jobs=1)
    assert mirror.counts()[DATA] <= 2 * download.TRIES
    mirror.faults.clear()
    fetch("ecgid", folder, base_url=mirror.url)
    assert is_whole(folder, mirror)


@pytest.mark.parametrize("status", ["503", "429", "500", "408"])
def test_a_busy_server_is_asked_again(status: str, mirror: Mirror, folder: Path) -> None:
    mirror.faults = {DATA: [status, status], "SHA256SUMS.txt": [status]}
    fetch("ecgid", folder, base_url=mirror.url)
    assert is_whole(folder, mirror)
    assert mirror.counts()[DATA] == 3


def test_an_answer_without_a_length(mirror: Mirror, folder: Path) -> None:
    mirror.faults[DATA] = ["lengthless"]
    fetch("ecgid", folder, base_url=mirror.url)
    assert is_whole(folder, mirror)


def test_no_network_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE", 0.001)
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(NerulaError, match=r"127\.0\.0\.1 cannot be reached .*network"):
        fetch("ecgid", folder, base_url="http://127.0.0.1:9")


def test_the_command_line_shows_no_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(download, "PAUSE", 0.001)
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(SystemExit) as exited:
        main(["fetch", "ecgid", str(folder), "--base-url", "http://127.0.0.1:9"])
    assert exited.value.code == 1
    assert "nerula: 127.0.0.1 cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("elsewhere", ["file:///etc/passwd", "ftp://127.0.0.1/RECORDS"])
def test_redirects_to_other_schemes_are_refused(
    elsewhere: str, mirror: Mirror, folder: Path
) -> None:
    mirror.redirect = elsewhere
    with pytest.raises(NerulaError, match="RECORDS"):
        fetch("ecgid", folder, base_url=mirror.url)
    assert files_in(folder) == (FILES - {"RECORDS"}) | {"SHA256SUMS.txt"}


def test_redirects_to_the_same_scheme_are_followed(mirror: Mirror, folder: Path) -> None:
    (mirror.root / "moved").write_bytes((mirror.root / "RECORDS").read_bytes())
    mirror.redirect = f"{mirror.url}/moved"
    fetch("ecgid", folder, base_url=mirror.url)
    assert is_whole(folder, mirror)


# --- publishers --------------------------------------------------------------------------------


def test_a_wrong_file_is_fetched_again(mirror: Mirror, folder: Path) -> None:
    mirror.faults[DATA] = ["corrupt"]
    fetch("ecgid", folder, base_url=mirror.url)
    assert is_whole(folder, mirror)
    assert mirror.counts()[DATA] == 2


def test_a_file_that_stays_wrong_is_named_deleted_and_costs_no_other(
    mirror: Mirror, folder: Path
) -> None:
    published = (mirror.root / DATA).read_bytes()
    (mirror.root / DATA).write_bytes(published[::-1])
    with pytest.raises(NerulaError, match=r"1 of 7 files.*\n.*rec_1\.dat is not what.*deleted"):
        fetch("ecgid", folder, base_url=mirror.url)
    assert files_in(folder) == (FILES - {DATA}) | {"SHA256SUMS.txt"}
    (mirror.root / DATA).write_bytes(published)
    mirror.asked.clear()
    fetch("ecgid", folder, base_url=mirror.url)
    assert mirror.counts() == {DATA: 1}
    assert is_whole(folder, mirror)


def test_missing_files_are_named_and_cost_no_others(mirror: Mirror, folder: Path) -> None:
    for name in (DATA, "RECORDS"):
        (mirror.root / name).unlink()
    with pytest.raises(NerulaError, match=r"2 of 7 files") as raised:
        fetch("ecgid", folder, base_url=mirror.url)
    assert "RECORDS: the server says 404" in str(raised.value)
    assert files_in(folder) == (FILES - {DATA, "RECORDS"}) | {"SHA256SUMS.txt"}


@pytest.mark.parametrize(
    "name",
    [
        "Person_01/../../evil.dat",
        "/tmp/evil",
        "Person_01/rec_1.dat/../../../evil",
        "..",
        "a\\..\\evil",
        "~/evil",
        "Person_01/ /evil",
    ],
)
def test_names_never_leave_the_folder(
    name: str, mirror: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = replace(publishers.PUBLICATIONS["ecgid"], wanted=".*")
    monkeypatch.setitem(publishers.PUBLICATIONS, "ecgid", everything)
    sums = mirror.root / "SHA256SUMS.txt"
    sums.write_text(sums.read_text() + f"{'0' * 64}  {name}\n")
    with pytest.raises(NerulaError, match="path-outside"):
        fetch("ecgid", folder, base_url=mirror.url)
    assert files_in(folder) == set()


def test_links_in_the_folder_are_not_followed_out(mirror: Mirror, folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    folder.mkdir()
    (folder / "Person_01").symlink_to(outside)
    (folder / "RECORDS").symlink_to(outside / "records")
    with pytest.raises(NerulaError, match=r"5 of 7 files.*\n.*path-outside"):
        fetch("ecgid", folder, base_url=mirror.url)
    assert not any(outside.iterdir())


def test_a_web_page_in_place_of_the_list(mirror: Mirror, folder: Path) -> None:
    sums = mirror.root / "SHA256SUMS.txt"
    good = sums.read_text()
    sums.write_text("<html>Please log in</html>")
    with pytest.raises(NerulaError, match="format-malformed"):
        fetch("ecgid", folder, base_url=mirror.url)
    sums.write_text(good)
    fetch("ecgid", folder, base_url=mirror.url)
    assert is_whole(folder, mirror)


def test_two_data_sets_do_not_share_a_folder(mirror: Mirror, folder: Path) -> None:
    fetch("ecgid", folder, base_url=mirror.url)
    with pytest.raises(NerulaError, match="folder of its own"):
        fetch("ptbxl", folder, base_url=mirror.url)


@pytest.mark.parametrize("url", ["ftp://x/", "file:///etc/", "physionet.org", "https://"])
def test_what_is_no_web_address_is_refused(url: str, folder: Path) -> None:
    with pytest.raises(UsageError, match="not a web address"):
        fetch("ecgid", folder, base_url=url)


# --- this machine ------------------------------------------------------------------------------


def test_a_full_disk_is_one_sentence(
    mirror: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NerulaError, match=r"disk of .* is full.*it continues"):
        fetch("ecgid", folder, base_url=mirror.url)
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "*")
    fetch("ecgid", folder, base_url=mirror.url)
    assert is_whole(folder, mirror)


def test_too_little_room_is_said_before_anything_comes(
    mirror: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(folder.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=20_000))
    with pytest.raises(UsageError, match=r"has room for 0\.0 MB"):
        fetch("ecgid", folder, base_url=mirror.url)
    assert mirror.counts() == {"SHA256SUMS.txt": 1}


def test_two_runs_keep_apart(mirror: Mirror, folder: Path) -> None:
    from filelock import FileLock

    folder.mkdir()
    with FileLock(folder / ".nerula-fetch.lock"), pytest.raises(UsageError, match="Another run"):
        fetch("ecgid", folder, base_url=mirror.url)


def test_a_torn_ledger_only_costs_a_look(mirror: Mirror, folder: Path) -> None:
    fetch("ecgid", folder, base_url=mirror.url)
    ledger = folder / LEDGER
    ledger.write_bytes(ledger.read_bytes()[:-20] + b"\xff")
    mirror.asked.clear()
    fetch("ecgid", folder, base_url=mirror.url)
    fetch("ecgid", folder, base_url=mirror.url)
    assert mirror.asked == []


def test_the_part_of_a_crashed_run_is_trusted_only_with_its_checksum(
    mirror: Mirror, folder: Path
) -> None:
    whole = (mirror.root / DATA).read_bytes()
    parts = {DATA: whole, "Person_01/rec_2.dat": b"\0" * 1000, "Person_90/rec_1.dat": whole * 2}
    for name, content in parts.items():
        path = folder / f"{name}.part"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    fetch("ecgid", folder, base_url=mirror.url)
    assert is_whole(folder, mirror)
    assert mirror.counts()[DATA] == 0  # nothing was left to come: 416
    assert [start for n, start in mirror.asked if n == "Person_01/rec_2.dat"] == [1000, 0]


@pytest.mark.parametrize("seed", range(3))
def test_killed_and_started_again(seed: int, mirror: Mirror, folder: Path) -> None:
    mirror.holds_after = 2 * seed + 2
    command = ["fetch", "ecgid", str(folder), "--base-url", mirror.url, "--jobs", "1"]
    run = subprocess.Popen(
        [sys.executable, "-m", "nerula.cli", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(mirror.asked) < mirror.holds_after:
        time.sleep(0.005)
        assert run.poll() is None
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not is_whole_yet(folder)
    mirror.holds_after = math.inf
    mirror.released.set()
    fetch("ecgid", folder, base_url=mirror.url)
    assert is_whole(folder, mirror)


def is_whole_yet(folder: Path) -> bool:
    return files_in(folder) >= FILES


# --- archives ----------------------------------------------------------------------------------


@pytest.fixture
def zipped(mirror: Mirror) -> Mirror:
    """Challenge 2017 as PhysioNet has it: an archive and the labels."""
    shutil.rmtree(mirror.root)
    layouts.challenge2017(mirror.root)
    with zipfile.ZipFile(mirror.root / "training2017.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted((mirror.root / "training2017").iterdir()):
            packed.write(path, f"training2017/{path.name}")
    shutil.rmtree(mirror.root / "training2017")
    write_sums(mirror.root)
    return mirror


def test_an_archive_is_unpacked_and_its_files_are_kept(zipped: Mirror, folder: Path) -> None:
    fetch("challenge2017", folder, base_url=zipped.url)
    source = open_source(folder)
    assert len([source.read(entry) for entry in source.entries()]) == 8
    (folder / "training2017/A00001.hea").unlink()
    (folder / "training2017/A00002.mat").write_bytes(b"short")
    same = folder / "training2017/A00003.mat"
    content = same.read_bytes()
    same.write_bytes(content[::-1])
    zipped.asked.clear()
    fetch("challenge2017", folder, base_url=zipped.url)
    assert same.read_bytes() != content
    fetch("challenge2017", folder, base_url=zipped.url, verify=True)
    assert same.read_bytes() == content
    assert zipped.asked == []
    assert len([source.read(entry) for entry in source.entries()]) == 8


def test_an_archive_in_an_archive(
    mirror: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = layouts.ucihar(folder.parent)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as packed:
        for path in sorted(root.rglob("*.txt")):
            packed.write(path, path.relative_to(root.parent).as_posix())
        packed.writestr("__MACOSX/._x", b"")
    name = "human+activity+recognition+using+smartphones.zip"
    with zipfile.ZipFile(mirror.root / name, "w") as packed:
        packed.writestr("UCI HAR Dataset.zip", inner.getvalue())
        packed.writestr("UCI HAR Dataset.names", b"text")
    sums = {name: hashlib.sha256((mirror.root / name).read_bytes()).hexdigest()}
    har = replace(publishers.PUBLICATIONS["ucihar"], checksums=sums, unpacked=0)
    monkeypatch.setitem(publishers.PUBLICATIONS, "ucihar", har)
    fetch("ucihar", folder, base_url=mirror.url)
    assert len(list(open_source(folder).entries())) == 8
    assert not (folder / "__MACOSX").exists()


def archive_of(path: Path, names: dict[str, bytes], attribute: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in names.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = attribute << 16
            packed.writestr(member, content)
    return path


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "a/./evil", "..\\evil"])
def test_no_member_of_an_archive_leaves_the_folder(name: str, tmp_path: Path) -> None:
    packed = archive_of(tmp_path / "a.zip", {"good": b"1", name: b"2"})
    with pytest.raises(NerulaError, match="path-outside"):
        list(archive.unpack(packed, tmp_path / "to", ".*"))
    assert not (tmp_path / "to").exists()


def test_no_links_in_archives(tmp_path: Path) -> None:
    packed = archive_of(tmp_path / "a.zip", {"link": b"/etc/passwd"}, stat.S_IFLNK | 0o777)
    with pytest.raises(NerulaError, match="path-outside"):
        list(archive.unpack(packed, tmp_path, ".*"))


def test_no_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_LIMIT", 1000)
    packed = archive_of(tmp_path / "a.zip", {"zeros": b"\0" * 1001})
    with pytest.raises(NerulaError, match="size-absurd"):
        list(archive.unpack(packed, tmp_path, ".*"))


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-30], lambda d: d[:40] + b"#" + d[41:], lambda d: b"no archive"]
)
def test_a_damaged_archive_is_said(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    packed = archive_of(tmp_path / "a.zip", {"some": bytes(range(256))})
    packed.write_bytes(damage(packed.read_bytes()))
    with pytest.raises(NerulaError, match="is damaged"):
        list(archive.unpack(packed, tmp_path, ".*"))
    assert not (tmp_path / "some").exists()


def test_an_archive_of_something_else_is_said(tmp_path: Path) -> None:
    packed = archive_of(tmp_path / "a.zip", {"some": b"1"})
    with pytest.raises(NerulaError, match="nothing that was expected"):
        list(archive.unpack(packed, tmp_path, "other"))


# --- what is published -------------------------------------------------------------------------


@pytest.mark.parametrize("name", publishers.PUBLICATIONS)
def test_publications_are_secure_and_complete(name: str) -> None:
    publication = publishers.PUBLICATIONS[name]
    assert publication.address.startswith("https://")
    assert publication.address.endswith("/")
    assert "creativecommons.org" in publication.licence or "opendata" in publication.licence
    assert "https://doi.org/10." in publication.cite
    re.compile(publication.wanted)


@pytest.mark.parametrize(
    ("dataset", "wanted", "unwanted"),
    [
        (
            "ptbxl100",
            ["ptbxl_database.csv", "records100/00000/00001_lr.dat"],
            ["records500/00000/00001_hr.dat", "example_physionet.py"],
        ),
        (
            "challenge2017",
            ["training2017.zip"],
            ["training/A00/A00001.mat", "validation/A00001.hea"],
        ),
        ("challenge2021", ["training/ningbo/g1/JS10647.hea"], ["index.html"]),
        ("ecgid", ["Person_90/rec_2.atr"], [".old/biometric.shtml", "Person_1/x.dat"]),
    ],
)
def test_what_is_wanted(dataset: str, wanted: list[str], unwanted: list[str]) -> None:
    publication = publishers.PUBLICATIONS[dataset]
    assert all(map(publication.is_wanted, wanted))
    assert not any(map(publication.is_wanted, unwanted))


def test_a_certificate_that_is_wrong_is_not_asked_for_again(tmp_path: Path) -> None:
    import ssl
    from urllib.error import URLError

    server = Server("https://example.org/", advance=lambda size: None)
    error = URLError(ssl.SSLCertVerificationError("certificate has expired"))
    with pytest.raises(NerulaError, match=r"example\.org .*certificate has expired"):
        server._judge(error, "name", tmp_path / "name.part", tries=1)
