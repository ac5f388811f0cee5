"""Addresses in place of paths: the same bytes, whatever the network does, and no secret told."""

import json
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nerula
from nerula import addresses, transfer
from nerula.addresses import Below, bare, is_address, shown
from nerula.check import check
from nerula.cli import main
from nerula.embed import embed
from nerula.embedding import _stored
from nerula.errors import DefectError, NerulaError, OutageError, UsageError
from nerula.merge import merge
from nerula.prepare import prepare
from nerula.pretrain import pretrain
from nerula.probe import opened
from nerula.readers import files, mirror, open_source
from nerula.store import INDEX
from nerula.tasks import find
from tests import layouts
from tests.flaky import Flaky

SECRET = "hunter2%2F+x"


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Mirrors and caches of a test of its own; of the mirrors nothing stays behind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(addresses, "PAUSE", 0.001)
    Flaky.cuts, Flaky.loud, Flaky.opened = 0, True, []
    yield
    Flaky.store.clear()


def remote(folder: Path, scheme: str) -> str:
    """Put a folder behind an address, under its own name."""
    if scheme == "file":
        return f"file://{folder}"
    address = f"{scheme}://{uuid4().hex}/{folder.name}"
    files, root = fsspec.url_to_fs(address)
    for path in folder.rglob("*"):
        if path.is_file():
            files.pipe(f"{root}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return address


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def tables(root: Path) -> Path:
    """Recordings in formats of which one file may hold several, and one that no ending names."""
    root.mkdir()
    signals = layouts.microvolts(6) / 1000
    np.savez(root / "three.npz", x=signals[:3, None], rate=100.0, leads=["II"])
    lines = [f"{i / 100},{x:.3f}" for i, x in enumerate(signals[3])]
    (root / "one.csv").write_text("\n".join(["time,II", *lines]) + "\n")
    layouts.write_record(root / "deep" / "wfdb", [layouts.microvolts(1)[0]], ["II"], 100)
    (root / "notes").write_text("not a recording")
    return root


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "ptbxl": layouts.ptbxl,
    "challenge2017": layouts.challenge2017,
    "challenge2020": layouts.challenge2020,
    "ecgid": layouts.ecgid,
    "ucihar": layouts.ucihar,
    "tables": tables,
}


# --- sources -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_a_store_has_the_same_bytes_as_from_a_folder(
    name: str, scheme: str, tmp_path: Path
) -> None:
    folder = LAYOUTS[name](tmp_path / name)
    prepare(folder, tmp_path / "near", jobs=1)
    prepare(remote(folder, scheme), tmp_path / "far", jobs=1)
    assert content(tmp_path / "far") == content(tmp_path / "near")


def test_workers_bring_their_own_files_and_leave_nothing(tmp_path: Path) -> None:
    folder = layouts.ptbxl(tmp_path / "ptbxl")
    prepare(folder, tmp_path / "near", jobs=1)
    prepare(remote(folder, "file"), tmp_path / "far", jobs=2)
    assert content(tmp_path / "far") == content(tmp_path / "near")
    with pytest.raises(UsageError, match="--jobs 1"):
        prepare(remote(folder, "memory"), tmp_path / "other", jobs=2)
    assert not list(tmp_path.glob("nerula-address-*/*"))


def test_another_process_has_a_mirror_of_its_own(tmp_path: Path) -> None:
    source = open_source(remote(layouts.challenge2017(tmp_path / "2017"), "file"))
    other = pickle.loads(pickle.dumps(source))
    for entry in source.entries():
        one, two = source.read(entry), other.read(entry)
        assert (one.x == two.x).all()
        assert (one.labels, one.path, one.findings) == (two.labels, two.path, two.findings)
        assert one.labels
    assert other.root == source.root


@pytest.mark.parametrize("part", ["records100", "records100/00000/00001_lr.hea",
                                  "records100/00000/00001_lr"])  # fmt: skip
def test_a_part_of_a_data_set_is_what_it_is_on_a_disk(part: str, tmp_path: Path) -> None:
    folder = layouts.ptbxl(tmp_path / "ptbxl")
    name = next((folder / "records100").rglob("*.hea"))
    part = part.replace("00000/00001_lr", f"{name.parent.name}/{name.stem}")
    near, far = open_source(folder / part), open_source(f"{remote(folder, 'memory')}/{part}")
    assert far.kind == near.kind
    for one, two in zip(near.entries(), far.entries(), strict=True):
        assert (one.name, one.row) == (two.name, two.row)
        here, there = near.read(one), far.read(two)
        assert (here.x == there.x).all()
        assert (here.name, here.labels, here.fold) == (there.name, there.labels, there.fold)


def test_check_says_the_same_and_names_the_address(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = layouts.ptbxl(tmp_path / "ptbxl")
    broken = sorted(folder.rglob("*.dat"))
    broken[0].unlink()
    broken[1].write_bytes(broken[1].read_bytes()[:-8])
    broken[2].write_bytes(b"")
    address = remote(folder, "memory")
    said = []
    for where in (folder, f"{address}/"):
        assert check(where, as_json=True, jobs=1) == 0
        said.append(capsys.readouterr().out)
    assert json.loads(said[1]) == json.loads(said[0].replace(str(folder), address))
    assert {"data-missing", "file-empty"} <= json.loads(said[0])["summary"]["codes"].keys()


def test_what_was_read_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = layouts.ptbxl(tmp_path / "ptbxl", 40)
    monkeypatch.setattr(mirror, "KEPT", 20_000)
    source = open_source(remote(folder, "memory"))
    most, here = 0, next(tmp_path.glob("nerula-address-*"))
    for entry in source.entries():
        source.read(entry)
        held = sum(path.stat().st_size for path in here.rglob("*.*"))
        most = max(most, held)
    whole = sum(path.stat().st_size for path in folder.rglob("*.*"))
    assert most < 25_000 < whole / 3
    assert len(list(source.entries())) == 40  # the names stay
    del source
    assert not here.exists()


def test_files_come_before_they_are_asked_for(tmp_path: Path) -> None:
    source = open_source(remote(layouts.ptbxl(tmp_path / "ptbxl"), "flaky"))
    entries = list(source.entries())
    Flaky.opened.clear()
    with source.ahead(entries):  # type: ignore[attr-defined]
        pass  # what has begun is ended
    with source.ahead(entries):  # type: ignore[attr-defined]
        recordings = [source.read(entry) for entry in entries]
    assert len(recordings) == len(entries)
    assert len(Flaky.opened) == len(set(Flaky.opened)) == 2 * len(entries)


def test_folders_of_killed_processes_go_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "nerula-address-left"
    (left / "top").mkdir(parents=True)
    address = remote(layouts.ecgid(tmp_path / "ecgid"), "file")
    held = open_source(address)
    assert left.exists()  # it may be one that is just being made
    monkeypatch.setattr(mirror, "_YOUNG", -1.0)
    other = open_source(address)
    assert not left.exists()
    for source in (held, other):  # neither was taken for one that was left
        assert source.read(next(source.entries())).x.size


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("loud", [True, False])
def test_a_connection_that_is_cut_is_tried_again(
    loud: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = layouts.ptbxl(tmp_path / "ptbxl")
    prepare(folder, tmp_path / "near", jobs=1)
    monkeypatch.setattr(Flaky, "loud", loud)
    monkeypatch.setattr(Flaky, "cuts", 4)
    prepare(remote(folder, "flaky"), tmp_path / "far", jobs=1)
    assert Flaky.cuts == 0
    assert content(tmp_path / "far") == content(tmp_path / "near")


def test_an_outage_ends_the_run_and_blames_no_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = layouts.ptbxl(tmp_path / "ptbxl")
    address = remote(folder, "flaky")
    monkeypatch.setattr(Flaky, "cuts", 10_000)
    words = ["prepare", address, str(tmp_path / "far"), "--jobs", "1", "--leads", "II"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"{address}/records100" in said
    assert "after 5 tries: the peer went away" in said
    assert not (tmp_path / "far" / INDEX).exists()
    monkeypatch.setattr(Flaky, "cuts", 0)
    main_ends(words)
    prepare(folder, tmp_path / "near", jobs=1, leads="II")
    assert content(tmp_path / "far") == content(tmp_path / "near")


def main_ends(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0


def test_an_object_that_went_away_is_a_missing_file(tmp_path: Path) -> None:
    folder = layouts.ptbxl(tmp_path / "ptbxl")
    address = remote(folder, "memory")
    source = open_source(address)
    entries = list(source.entries())
    files, root = fsspec.url_to_fs(address)
    gone = entries[3].path.with_suffix(".dat")
    files.rm(f"{root}/{gone.relative_to(source.root)}")
    with pytest.raises(DefectError, match="data-missing") as raised:
        source.read(entries[3])
    assert str(raised.value.finding.path) == f"{address}/{gone.relative_to(source.root)}"
    assert source.read(entries[4]).x.size


@given(
    name=st.lists(st.sampled_from(["..", ".", "", "a", "b.hea", "\\", "/", "/.."])).map("/".join)
)
def test_no_name_that_is_taken_leaves_the_folder(name: str) -> None:
    top = Path("/tmp/top")
    if not mirror._leaves(name):
        assert top in top.joinpath(name).resolve().parents


@pytest.mark.parametrize("key", ["../evil.hea", "a/../../evil.hea", "a//b.hea", "a\\b.hea", "./x"])
def test_a_name_that_leaves_the_folder_is_refused(key: str, tmp_path: Path) -> None:
    folder = layouts.ecgid(tmp_path / "data" / "ecgid")
    address = remote(folder, "flaky")
    _, root = fsspec.url_to_fs(address)
    Flaky.store[f"{root}/{key}"] = Flaky.store[next(iter(Flaky.store))]
    before = set(tmp_path.rglob("*.hea"))
    with pytest.raises(DefectError, match="path-outside"):
        open_source(address)
    new = [path for path in set(tmp_path.rglob("*")) - before if path.name in ("evil.hea", "x")]
    assert not new


def test_a_name_that_is_too_long_for_the_disk_is_refused(tmp_path: Path) -> None:
    address = remote(layouts.ecgid(tmp_path / "ecgid"), "flaky")
    _, root = fsspec.url_to_fs(address)
    Flaky.store[f"{root}/Person_01/{'x' * 300}.hea"] = next(iter(Flaky.store.values()))
    with pytest.raises(NerulaError, match="cannot be on this disk"):
        open_source(address)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DefectError, match=r"memory://nothing/here: .*file-missing"):
        open_source("memory://nothing/here")
    with pytest.raises(NerulaError, match="memory://nothing/here is not a finished store"):
        transfer.needed_store("memory://nothing/here")


def test_room_is_looked_for_before_a_file_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(remote(layouts.ecgid(tmp_path / "ecgid"), "memory"))
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutageError, match="room for 100") as raised:
        source.read(next(source.entries()))
    assert "TMPDIR" in raised.value.remedy


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (ConnectionError("reset"), addresses.TRIES),
        (FileNotFoundError("nothing"), 1),
        (UsageError("Wrong."), 1),
        (OSError("AWS Error ACCESS_DENIED"), 1),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, tries: int) -> None:
    done = []

    def fails() -> None:
        done.append(1)
        raise error

    outage = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
    with pytest.raises(OutageError if outage else type(error)):
        addresses.patiently(fails, "s3://bucket/folder")
    assert len(done) == tries


# --- secrets -------------------------------------------------------------------------------------

SAFE = st.text("abcdefghijklmnopqrstuvwxyz0123456789%+._-", min_size=8, max_size=20)


@given(user=SAFE, password=SAFE, token=SAFE)
def test_no_secret_is_shown(user: str, password: str, token: str) -> None:
    user, password, token = f"{user}Q", f"{password}W", f"{token}Y"
    query = f"session_token={token}&region=eu"
    address = f"s3://{user}:{password}@bucket/folder?{query}"
    for said in (shown(address), bare(address)):
        assert not [secret for secret in (user, password, token) if secret in said]
        assert "bucket/folder" in said
    assert shown(address) == "s3://***@bucket/folder?session_token=***&region=eu"
    assert shown("abfs://data@host/a?x") == "abfs://data@host/a?***"
    assert shown("s3://bucket/folder") == bare("s3://bucket/folder/") == "s3://bucket/folder"
    assert is_address(address)
    assert not is_address(Path("/a/b"))


def test_an_address_is_cut_before_its_last_name() -> None:
    split = mirror._split
    assert split("s3://b/x/a@b/?region=eu") == ("s3://b/x?region=eu", "a@b")
    assert split("s3://me:it@b?region=eu") == (None, "b")
    for nothing in ("s3://", "s3://b/.."):
        with pytest.raises(UsageError, match="names no folder"):
            split(nothing)


def test_paths_below_an_address_look_like_one() -> None:
    for address in ("s3://bucket/a", "file:///a/b", "memory://x/y"):
        assert str(Below(address) / "c.hea") == f"{address}/c.hea"
        assert pickle.loads(pickle.dumps(Below(address))) == Below(address)


@pytest.mark.parametrize("cuts", [0, 10_000])
def test_credentials_reach_no_terminal_and_no_file(
    cuts: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = layouts.ptbxl(tmp_path / "ptbxl")
    address = f"flaky://me:{SECRET}@far/ptbxl"
    _, root = fsspec.url_to_fs(address)
    for path in folder.rglob("*.*"):
        Flaky().pipe(f"{root}/{path.relative_to(folder)}", path.read_bytes())
    monkeypatch.setattr(Flaky, "cuts", cuts)
    for verb in ("check", "prepare"):
        out = [str(tmp_path / "store")] if verb == "prepare" else []
        with pytest.raises(SystemExit) as ended:
            main([verb, address, *out, "--jobs", "1", "--leads", "II,V1"])
        assert ended.value.code == (1 if cuts else 0)
    for wrong in (f"nowhere://me:{SECRET}@a/b", f"s3://b/x?access_key={SECRET}"):
        with pytest.raises(SystemExit):
            main(["check", wrong])
        with pytest.raises(SystemExit):
            main(["copy", wrong, str(tmp_path / "copied")])
    said = capfd.readouterr()
    assert "far" in said.out + said.err
    written = b"".join(path.read_bytes() for path in (tmp_path / "store").rglob("*.*"))
    for secret in (SECRET, "hunter2"):
        assert secret not in said.out + said.err
        assert secret.encode() not in written
    assert bool(written) == (cuts == 0)


def test_a_source_may_go_while_the_file_of_another_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[str] = []

    def bring(name: str) -> None:
        files.ARRIVALS.pop("/other/")  # as when nobody holds that source any more
        came.append(name)

    monkeypatch.setitem(files.ARRIVALS, "/ours/", bring)
    monkeypatch.setitem(files.ARRIVALS, "/other/", came.append)
    files.arrive("/ours/a.dat")
    assert came == ["a.dat"]


# --- stores --------------------------------------------------------------------------------------


def test_a_store_is_made_at_an_address_and_brought_back_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = layouts.ptbxl(tmp_path / "ptbxl")
    prepare(folder, tmp_path / "near", jobs=1, leads="II")
    address = f"memory://{uuid4().hex}/store"
    prepare(remote(folder, "memory"), address, jobs=1, leads="II")
    assert f"Next: nerula pretrain nerula {address} RUN" in capsys.readouterr().out
    assert not list((tmp_path / "cache" / "nerula" / "unfinished").iterdir())
    with pytest.raises(UsageError, match="holds a store already"):
        prepare(folder, address, jobs=1, leads="II")
    first = transfer.needed_store(address)
    assert f"{address} was brought: {first}" in capsys.readouterr().err
    quarantined = [(one / "quarantine.csv").read_text() for one in (first, tmp_path / "near")]
    assert quarantined[0] == quarantined[1]
    assert content(first) == content(tmp_path / "near")
    assert transfer.needed_store(address) == first
    assert f"{address} is in the cache already: {first}" in capsys.readouterr().err
    assert check(address, jobs=1) == 0


def test_a_store_that_could_not_be_sent_is_sent_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = layouts.ptbxl(tmp_path / "ptbxl")
    address = f"memory://{uuid4().hex}/store"

    def fails(*_: object) -> str:
        raise OutageError("The network is gone.")

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "send", fails)
        with pytest.raises(OutageError):
            prepare(folder, address, jobs=1, leads="II")
    for path in folder.rglob("*.dat"):
        path.unlink()  # they are not needed again
    prepare(folder, address, jobs=1, leads="II")
    assert transfer.needed_store(address).is_dir()


def test_shards_at_addresses_are_merged(tmp_path: Path) -> None:
    folder = layouts.ptbxl(tmp_path / "ptbxl")
    prepare(folder, tmp_path / "near", jobs=1, leads="II")
    shards: list[str | Path] = [f"memory://{uuid4().hex}/{number}" for number in (1, 2)]
    for number, shard in enumerate(shards, 1):
        prepare(folder, shard, jobs=1, leads="II", shard=f"{number}/2")
    merge(tmp_path / "merged", shards)
    assert content(tmp_path / "merged") == content(tmp_path / "near")


def test_a_store_that_changed_on_the_way_is_not_kept(tmp_path: Path) -> None:
    address = f"memory://{uuid4().hex}/store"
    prepare(layouts.ptbxl(tmp_path / "ptbxl"), address, jobs=1, leads="II")
    files, root = fsspec.url_to_fs(address)
    held = bytearray(files.cat(f"{root}/signals.npy"))
    held[-100] ^= 1
    files.pipe(f"{root}/signals.npy", bytes(held))
    with pytest.raises(NerulaError, match="not what was written"):
        transfer.needed_store(address)
    assert not [path for path in (tmp_path / "cache" / "nerula" / "stores").iterdir()
                if path.is_dir()]  # fmt: skip


def test_embeddings_are_the_same_from_and_to_addresses(tmp_path: Path) -> None:
    folder = layouts.ptbxl(tmp_path / "ptbxl", 3)
    prepare(folder, tmp_path / "store", jobs=1, leads="II")
    stored = f"memory://{uuid4().hex}/store"
    prepare(folder, stored, jobs=1, leads="II")
    outputs = f"memory://{uuid4().hex}"
    for near, far in ((folder, remote(folder, "memory")), (tmp_path / "store", stored)):
        embed("nerula-small", near, tmp_path / "near.npy")
        embed("nerula-small", far, f"{outputs}/far.npy")
        for ending in ("npy", "csv"):
            with fsspec.open(f"{outputs}/far.{ending}") as file:
                assert file.read() == (tmp_path / f"near.{ending}").read_bytes()


def test_a_worker_elsewhere_brings_the_store_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"memory://{uuid4().hex}/store"
    prepare(layouts.ptbxl(tmp_path / "ptbxl", 8), address, jobs=1, leads="II")
    here = _stored(address)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    there = pickle.loads(pickle.dumps(here))
    assert there.root.is_relative_to(tmp_path / "elsewhere")
    for entry in here.entries():
        assert (here.read(entry).x == there.read(entry).x).all()


def test_training_and_probing_take_the_store_of_an_address(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"memory://{uuid4().hex}/store"
    prepare(layouts.ptbxl(tmp_path / "ptbxl", 8), address, jobs=1, leads="II")
    assert pretrain("random_init", address, tmp_path / "run") == 0
    assert (tmp_path / "run" / "model").is_dir()
    store = opened(address, find("sex"), nerula.load("nerula-small").contract, tmp_path / "other")
    assert store.path == transfer.needed_store(address)
    assert not (tmp_path / "other").exists()
