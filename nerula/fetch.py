"""`nerula fetch`: a data set from its publisher, every file verified, continued at any time."""

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from nerula.errors import DefectError, NerulaError, UsageError, refuse

if TYPE_CHECKING:
    from rich.progress import Progress

    from nerula.download import Server
    from nerula.publishers import Publication

SUMS, LEDGER = "SHA256SUMS.txt", ".nerula-fetch.jsonl"
_SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_SUMS_LIMIT = 256 << 20
_SHOWN = 5

Dataset = Literal[
    "ptbxl", "ptbxl100", "ptbxl500", "challenge2017", "challenge2020", "challenge2021",
    "ucihar", "ecgid",
]  # fmt: skip


def fetch(
    dataset: Dataset,
    folder: Path,
    *,
    jobs: int = 8,
    base_url: str | None = None,
    verify: bool = False,
) -> int:
    """Download a data set from its publisher.

    Every file is checked against the publisher's checksums. Interrupted at any time, the same
    command continues; once all is there, it only looks whether all is still there.

    Parameters
    ----------
    dataset
        Which one. `ptbxl100` and `ptbxl500` are PTB-XL at one rate.
    folder
        Where to put it, in the publisher's layout.
    jobs
        Files to download at a time.
    base_url
        A mirror with the same layout, instead of the publisher.
    verify
        Compute the checksums of files again that were verified before.
    """
    from rich.console import Console
    from rich.markup import escape

    from nerula.publishers import PUBLICATIONS

    publication = PUBLICATIONS[dataset]
    base = _base(base_url or publication.address)
    console = Console()
    for line in (
        publication.title,
        f"Licence: {publication.licence}",
        f"Cite: {publication.cite}",
    ):
        console.print(escape(line), highlight=False)
    with _alone(folder), _progress() as bar:
        files, size = _fetch_all(publication, base, folder, jobs=jobs, verify=verify, bar=bar)
    console.print(f"{files:,} files, {_bytes(size)}, all verified.", highlight=False)
    console.print(f"Next: nerula check {escape(str(folder))}", highlight=False, soft_wrap=True)
    return 0


def _base(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"{url!r} is not a web address.", "It must begin with https:// or http://."
        )
    return url.rstrip("/") + "/"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second run out of the folder."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".nerula-fetch.lock", timeout=0):
            yield
    except Timeout as error:
        raise UsageError(f"Another run is fetching into {folder}.", "Wait for its end.") from error


def _fetch_all(
    publication: "Publication",
    base: str,
    folder: Path,
    *,
    jobs: int,
    verify: bool,
    bar: "Progress",
) -> tuple[int, int]:
    """Download what is missing, unpack archives; return how many files there are, and bytes."""
    from nerula.archive import unpack
    from nerula.download import Server

    task = bar.add_task("list of files", total=None)
    server = Server(base, advance=lambda size: bar.advance(task, size))
    ledger = _Ledger(folder / LEDGER, publication.address)
    wanted = _wanted(publication, server, folder)
    missing = {n: s for n, s in wanted.items() if verify or not ledger.has(folder / n, n, s)}
    expected = sum(publication.size(name) for name in missing)
    bar.console.print(
        f"{len(wanted):,} files, {len(missing):,} to fetch or verify: about {_bytes(expected)}",
        highlight=False,
    )
    _check_room(publication, folder, missing)
    bar.reset(task, description="fetching", total=expected)
    _fetch_files(server, folder, missing, ledger, jobs)
    bar.update(task, total=bar.tasks[0].completed)
    paths = [folder / name for name in wanted]
    for archive, members in publication.archives.items():
        bar.reset(task, description=f"unpacking {archive}", total=None)
        paths += unpack(folder / archive, folder, members, verify=verify)
    return len(paths), sum(path.stat().st_size for path in paths)


def _wanted(publication: "Publication", server: "Server", folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that belongs to the data set."""
    if publication.checksums:
        return dict(publication.checksums)
    path = folder / SUMS
    if not path.exists():
        server.download(SUMS, path, None)
    wanted = {name: s for name, s in _sums(path).items() if publication.is_wanted(name)}
    if not wanted:
        raise NerulaError(
            f"{path} does not list what belongs to {publication.title}.",
            "Delete it and try again, or another --base-url.",
        )
    if outside := next((name for name in wanted if not _is_inside(name)), None):
        path.unlink()
        raise refuse("path-outside", path, f"{outside[:80]!r}; the list was deleted")
    return wanted


def _sums(path: Path) -> dict[str, str]:
    """Read the publisher's list of checksums."""
    if path.stat().st_size > _SUMS_LIMIT:
        raise refuse("file-too-large", path)
    sums: dict[str, str] = {}
    for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1):
        if match := _SUM.fullmatch(line):
            sums[match[2]] = match[1]
        elif line.strip():
            path.unlink()
            raise refuse("format-malformed", path, f"line {number}; the list was deleted")
    return sums


def _is_inside(name: str) -> bool:
    """Whether a listed name is a plain path below the folder."""
    plain = name.isprintable() and not set(name) & set('\\:*?"<>|') and name[0] != "~"
    return plain and all(part.strip(". ") for part in name.split("/"))


def _check_room(publication: "Publication", folder: Path, missing: dict[str, str]) -> None:
    import shutil

    coming = sum(publication.size(name) for name in missing if not (folder / name).exists())
    coming += publication.unpacked if coming else 0
    coming -= sum(path.stat().st_size for path in folder.rglob("*.part"))
    if (free := shutil.disk_usage(folder).free) < coming:
        raise UsageError(
            f"About {_bytes(coming)} will come, and {folder} has room for {_bytes(free)}.",
            "Make room or name another folder.",
        )


class _Ledger:
    """Which files were verified, and how they looked then: one JSON line each, below a first line
    that says of which publication they are."""

    def __init__(self, path: Path, address: str) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.known: dict[str, tuple[int, int, str]] = {}
        head = json.dumps({"of": address})
        if not path.exists() or not path.stat().st_size:
            path.write_text(head, encoding="utf-8")
        first, *lines = path.read_text("utf-8", errors="replace").split("\n")
        if first != head:
            raise UsageError(
                f"{path.parent} holds something else: {first}.",
                "Fetch each data set into a folder of its own.",
            )
        for line in lines:
            with suppress(ValueError, TypeError):  # the last line of a killed run may be cut
                name, size, modified, sha256 = json.loads(line)
                self.known[name] = size, modified, sha256

    def has(self, path: Path, name: str, sha256: str) -> bool:
        """Whether a file was verified and looks untouched since."""
        with suppress(OSError):
            state = path.stat()
            return self.known.get(name) == (state.st_size, state.st_mtime_ns, sha256)
        return False

    def add(self, path: Path, name: str, sha256: str) -> None:
        """Remember a verified file."""
        state = path.stat()
        line = json.dumps([name, state.st_size, state.st_mtime_ns, sha256])
        with self.lock, self.path.open("a", encoding="utf-8") as file:
            file.write(f"\n{line}")


def _fetch_files(
    server: "Server", folder: Path, wanted: dict[str, str], ledger: _Ledger, jobs: int
) -> None:
    """Fetch many files at a time; one that cannot be had does not end the run."""
    from nerula.download import FileError

    failed: list[NerulaError] = []
    todo = iter(wanted.items())
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        running: set[Future[None]] = set()
        try:
            while True:
                for name, sha256 in islice(todo, 2 * max(jobs, 1) - len(running)):
                    running.add(pool.submit(_fetch_file, server, folder, name, sha256, ledger))
                if not running:
                    break
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    if isinstance(error := future.exception(), FileError | DefectError):
                        failed.append(error)
                    else:
                        future.result()
        finally:
            server.stop.set()
    if failed:
        shown = "\n".join(f"  {error}" for error in failed[:_SHOWN])
        more = f"\n  and {len(failed) - _SHOWN:,} more" if len(failed) > _SHOWN else ""
        raise NerulaError(
            f"{len(failed):,} of {len(wanted):,} files could not be fetched:\n{shown}{more}\n",
            "All others are in place; the same command tries these again.",
        )


def _fetch_file(server: "Server", folder: Path, name: str, sha256: str, ledger: _Ledger) -> None:
    """Verify a file, or fetch it."""
    from nerula.download import sha256_of

    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or not path.parent.resolve().is_relative_to(folder.resolve()):
        raise refuse("path-outside", path, "a link")
    if path.is_file():
        if sha256_of(path) == sha256:
            server.advance(path.stat().st_size)
            ledger.add(path, name, sha256)
            return
        path.unlink()
    server.download(name, path, sha256)
    ledger.add(path, name, sha256)


@contextmanager
def _progress() -> Iterator["Progress"]:
    """Show bytes, rate and remaining time."""
    from rich import progress
    from rich.console import Console

    with progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:
        yield bar


def _bytes(size: int) -> str:
    if size >= 1_000_000_000:
        return f"{size / 1e9:,.1f} GB"
    return f"{size / 1e6:,.1f} MB"
