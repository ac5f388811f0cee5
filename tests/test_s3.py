"""S3's own protocol, spoken by pyarrow's client to moto's server, through a proxy that cuts."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from moto import server
from pyarrow import fs

from nerula import addresses, transfer
from nerula.errors import NerulaError, OutageError
from nerula.prepare import prepare
from nerula.readers import open_source
from nerula.store import INDEX
from tests import layouts
from tests.test_addresses import content, own_folders

__all__ = ["own_folders"]

KEYS = "testing:testing-secret"


class Proxy:
    """Passes bytes on; of the next `cuts` signal files only the beginning."""

    def __init__(self, to: int) -> None:
        self.to, self.cuts = to, 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                ours, _ = self.listening.accept()
            except OSError:
                return
            theirs = socket.create_connection(("127.0.0.1", self.to))
            doomed = threading.Event()
            for one, other, asks in ((ours, theirs, True), (theirs, ours, False)):
                words = (one, other, asks, doomed)
                threading.Thread(target=self.relay, args=words, daemon=True).start()

    def relay(
        self, begin: socket.socket, end: socket.socket, asks: bool, doomed: threading.Event
    ) -> None:
        try:
            while piece := begin.recv(1 << 16):
                if asks and piece.startswith(b"GET ") and b".dat" in piece.split(b"\r\n")[0]:
                    if self.cuts:
                        self.cuts -= 1
                        doomed.set()
                elif not asks and doomed.is_set():
                    end.sendall(piece[: len(piece) // 2])
                    break
                end.sendall(piece)
        except OSError:
            pass
        finally:
            for one in (begin, end):  # the other thread wakes up, and closes its own
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            begin.close()


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    started = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    made = Proxy(started.get_host_and_port()[1])
    yield made
    made.listening.close()
    started.stop()


@pytest.fixture
def bucket(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function from a name in a new bucket to its address."""
    monkeypatch.setattr(addresses, "PAUSE", 0.01)
    proxy.cuts = 0
    endpoint = f"127.0.0.1:{proxy.port}"
    files = fs.S3FileSystem(
        access_key="testing", secret_key="testing-secret", endpoint_override=endpoint,
        scheme="http", region="us-east-1", allow_bucket_creation=True, allow_bucket_deletion=True,
    )  # fmt: skip
    files.create_dir("ecgs")
    yield (
        lambda name: (
            f"s3://{KEYS}@ecgs/{name}?endpoint_override={endpoint}&scheme=http&region=us-east-1"
        )
    )
    files.delete_dir("ecgs")


def put(address: str, folder: Path) -> str:
    place = addresses.Place(address)
    for path in folder.rglob("*"):
        if path.is_file():
            with place.writing(path.relative_to(folder).as_posix()) as file:
                file.write(path.read_bytes())
    return address


@pytest.mark.parametrize("jobs", [1, 2])
def test_from_a_bucket_to_a_bucket(bucket: Any, tmp_path: Path, jobs: int) -> None:
    folder = layouts.ptbxl(tmp_path / "ptbxl")
    prepare(folder, tmp_path / "near", jobs=1, leads="II")
    source, store = put(bucket("ptbxl"), folder), bucket("stores/ptbxl")
    prepare(source, tmp_path / "far", jobs=jobs, leads="II")
    assert content(tmp_path / "far") == content(tmp_path / "near")
    prepare(source, store, jobs=1, leads="II")
    assert content(transfer.needed_store(store)) == content(tmp_path / "near")
    assert open_source(bucket("ptbxl/records100")).kind == "ptbxl100"


def test_a_whole_bucket_may_be_a_source(bucket: Any, tmp_path: Path) -> None:
    folder = layouts.ecgid(tmp_path / "ecgid")
    prepare(folder, tmp_path / "near", jobs=1)
    prepare(put(bucket(""), folder), tmp_path / "far", jobs=1)
    assert content(tmp_path / "far") == content(tmp_path / "near")


@pytest.mark.slow  # the client waits before it tries again, and then we do
def test_cut_connections(
    bucket: Any, proxy: Proxy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = layouts.ptbxl(tmp_path / "ptbxl")
    prepare(folder, tmp_path / "near", jobs=1, leads="II")
    source = put(bucket("ptbxl"), folder)
    proxy.cuts = 5
    prepare(source, tmp_path / "far", jobs=1, leads="II")
    assert proxy.cuts == 0
    assert content(tmp_path / "far") == content(tmp_path / "near")
    proxy.cuts = 1_000_000
    with pytest.raises(OutageError, match=r"s3://ecgs/ptbxl/records100/.*after 5 tries") as raised:
        prepare(source, tmp_path / "never", jobs=1, leads="II")
    assert proxy.cuts < 1_000_000
    assert not (tmp_path / "never" / INDEX).exists()
    said = capfd.readouterr()
    assert "testing-secret" not in said.out + said.err + str(raised.value)


def test_keys_that_no_folder_can_have(bucket: Any, tmp_path: Path) -> None:
    source = put(bucket("ecgid"), layouts.ecgid(tmp_path / "ecgid"))
    place = addresses.Place(source)
    with place.writing("Person_01/rec_1.hea/below") as file:
        file.write(b"x")
    with pytest.raises(NerulaError, match="cannot be on this disk"):
        open_source(source)
