"""The verb `view`: one page in the browser, served to this machine alone."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from nerula.completion import ModelName
from nerula.errors import MissingExtraError, NerulaError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from nerula.portable import Probe
    from nerula.store import Store
    from nerula.viewer.asking import Asking
    from nerula.viewer.server import Viewer

HOST = "127.0.0.1"
"""Never anything else: what is shown are people's recordings."""
BACKLOG = 512
NONE = "none"
SAMPLE = "sample"


def view(
    store: Path,
    *,
    model: ModelName | None = None,
    probe: Annotated[tuple[Path, ...], Parameter(negative="")] = (),
    port: int = 8765,
    open_: Annotated[bool, Parameter(name="--open")] = True,
    limit: int = 64,
) -> int:
    """Look at a store in the browser: ECG paper, filled gaps, a map, neighbours, probes.

    The page comes from this machine and is served to this machine alone; it asks nothing of any
    network, and files that you drop onto it do not leave it. Ctrl-C ends it.

    Parameters
    ----------
    store
        A store that `nerula prepare` has written; or "sample", the real recordings that come with
        Nerula.
    model
        Folder of a model or of a finished run, or the name of a model that Nerula brings along,
        which is what is taken by default. "none" only shows recordings.
    probe
        Probes that `nerula probe --save` has written for this model; may be given several times.
    port
        Where the page is found; 0 takes one that is free.
    open_
        Open the page in the browser; --no-open only prints its address.
    limit
        Megabytes (of 2^20 bytes) that dropped files may have together.
    """
    from rich.console import Console

    if not 0 <= port <= 65_535:
        raise UsageError(f"There is no port {port}.", "Ports go up to 65535.")
    if not 1 <= limit <= 4096:
        raise UsageError(f"--limit {limit} cannot be meant.", "Give 1 to 4096 megabytes.")
    try:
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("The viewer", "view") from error
    console = Console(highlight=False)
    with (
        _tidy_when_terminated(),
        _bound(port) as listening,
        TemporaryDirectory(prefix="nerula-view-") as private,
        assembled(store, Path(private), model, probe, limit << 20) as viewer,
    ):
        _say(console, viewer, listening.getsockname()[1])
        _serve(viewer, listening, open_=open_)
    named = f" {model}" if model not in (None, NONE) else " nerula-small"
    console.print(f"\nClosed. Next: nerula embed{named} {store} embeddings.npy", markup=False)
    return 0


@contextmanager
def _tidy_when_terminated() -> "Iterator[None]":
    """Let SIGTERM end things as Ctrl-C does: no dropped file is left behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def assembled(
    place: Path,
    private: Path,
    model: str | None = None,
    probe: tuple[Path, ...] = (),
    limit: int = 64 << 20,
) -> "Iterator[Viewer]":
    """Everything that the page shows; what it keeps only while it is open lies in `private`."""
    from nerula.impute import RELIABLE
    from nerula.viewer.dropped import Dropped
    from nerula.viewer.library import Library
    from nerula.viewer.server import Viewer

    store = _opened(place, private)
    asking, without = None, "Start nerula view with --model."
    if model != NONE:
        try:
            asking = _asking(store, private, model, probe)
        except NerulaError as error:
            if model is not None or probe:
                raise
            without = f"nerula-small does not fit this store: {error}"
    elif probe:
        raise UsageError("A probe needs the model that it was fitted on.", "Give it with --model.")
    drops = private / "dropped"
    drops.mkdir(mode=0o700)
    title = place.resolve().name if str(place) != SAMPLE else "Bundled sample of PTB-XL"
    try:
        yield Viewer(Library(store), Dropped(drops, limit), title, asking, without, RELIABLE)
    finally:
        if asking is not None:
            asking.atlas.stop()


def _opened(place: Path, private: Path) -> "Store":
    """The store; the sample's is prepared now, which takes a second."""
    from nerula.store import Store

    if str(place) != SAMPLE or place.exists():
        return Store.open(place)
    from nerula import sample
    from nerula.prepare import Options, make_store

    make_store(sample.load(), private / SAMPLE, Options(leads=("II",)), quiet=True)
    return Store.open(private / SAMPLE)


def _asking(store: "Store", private: Path, model: str | None, paths: tuple[Path, ...]) -> "Asking":
    from nerula import bundle, probes
    from nerula.viewer.asking import Asking
    from nerula.viewer.atlas import Atlas

    loaded = bundle.load(model or bundle.DEFAULT)
    unit, held = loaded.contract.unit, store.contract.unit
    if unit != held:
        raise UsageError(f"The model expects {unit}; {store.path} holds {held}.")
    fitted: dict[str, Probe] = {}
    for path in paths:
        one = probes.load(path)
        one.require(loaded)
        fitted[path.stem if path.stem not in fitted else str(path)] = one
    name = Path(model).resolve().name if model and Path(model).exists() else None
    atlas = Atlas(loaded, store, _cache(store, private))
    return Asking(loaded, name or model or bundle.DEFAULT, fitted, atlas)


def _cache(store: "Store", private: Path) -> Path:
    """Beside the store, as `Model.similar` has it; elsewhere where nothing may be written."""
    beside = store.path.with_name(f"{store.path.name}.embeddings")
    held = beside if beside.exists() else beside.parent
    return beside if os.access(held, os.W_OK) else private / "embeddings"


@contextmanager
def _bound(port: int) -> Iterator[socket.socket]:
    """A socket of this machine alone, before anything that takes time."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen(BACKLOG)  # the address is good as soon as it is printed
        except OSError as error:
            raise UsageError(
                f"Port {port} cannot be used: {error.strerror}.",
                f"Is the viewer open already? Else give another: --port {port + 1}",
            ) from error
        yield listening


def _say(console: "Console", viewer: "Viewer", port: int) -> None:
    held, asking = len(viewer.library.store), viewer.asking
    console.print(f"{held:,} recordings of {viewer.title}", markup=False)
    if asking is not None:
        probes = ", ".join(asking.probes)
        words = f"{asking.name}{f', with {probes}' if probes else ''}"
        console.print(f"Model: {words}", markup=False)
    else:
        console.print(f"No model: gaps, map and neighbours are not there. {viewer.without}")
    console.print(f"[bold]http://{HOST}:{port}[/]  for this machine alone; Ctrl-C ends it")


def served(viewer: "Viewer", port: int) -> Any:
    """The server for a port, guarded; not yet running."""
    import uvicorn

    from nerula.viewer.guard import Guard

    return uvicorn.Server(
        uvicorn.Config(
            Guard(viewer.application(), port),
            lifespan="off",
            ws="none",
            access_log=False,
            log_level="warning",
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=1000,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
            backlog=BACKLOG,
        )
    )


def _serve(viewer: "Viewer", listening: socket.socket, *, open_: bool) -> None:
    """Serve until Ctrl-C."""
    import webbrowser
    from contextlib import suppress
    from threading import Timer

    port = listening.getsockname()[1]
    server = served(viewer, port)
    if open_ and _has_screen():
        later = Timer(0.5, webbrowser.open, [f"http://{HOST}:{port}"])
        later.daemon = True
        later.start()
    with suppress(KeyboardInterrupt):  # uvicorn repeats the signal once everything is closed
        server.run(sockets=[listening])


def _has_screen() -> bool:
    """Whether a browser would have a window; one in the terminal would take the terminal."""
    graphical = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, graphical))
