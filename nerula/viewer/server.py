"""Server: addresses and what they answer. JSON, but for signals, which are packed floats.

Whatever takes time runs in threads, few at once: two for signals and one for the model, so that
hundreds of clients wait in turn and memory stays as it is.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from anyio import CapacityLimiter, fail_after, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nerula import __version__
from nerula.errors import NerulaError, UsageError
from nerula.readers.source import Hints
from nerula.viewer.asking import Asking, Span, examined
from nerula.viewer.dropped import Dropped, TooLargeError
from nerula.viewer.library import ORDERS, PAGE, Library, Query
from nerula.viewer.shelf import Item, traced

PAGES = Path(__file__).parent / "page"
TYPES = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""Of everything else on the page: JavaScript."""
POINTS = 4000
"""Buckets of a signal that one answer may have."""
PATIENCE = 120.0
"""Seconds that a drop may take to arrive."""
Answer = TypeVar("Answer")


@dataclass
class Viewer:
    """Everything that is shown, and how many threads work at it."""

    library: Library
    dropped: Dropped
    title: str
    asking: Asking | None = None
    without: str = ""
    """Why no model is there."""
    reliable: float = 1.2
    """Seconds up to which a filled gap can be believed."""
    reading: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(2))
    thinking: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(1))
    taking: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(2))
    """Drops that are written at once."""

    def application(self) -> Starlette:
        """All addresses."""
        here = "/api/recordings/{key}"
        api = [
            Route("/api/about", self.about),
            Route("/api/recordings", self.recordings),
            Route(here, self.recording),
            Route(f"{here}/signal", self.signal),
            Route(f"{here}/quality", self.quality),
            Route(f"{here}/answers", self.answers),
            Route(f"{here}/fill", self.fill),
            Route("/api/progress", self.progress),
            Route("/api/map", self.map),
            Route("/api/files", self.files, methods=["POST"]),
        ]
        trouble = {NerulaError: _trouble, HTTPException: _http, ClientDisconnect: _gone}
        return Starlette(routes=[*_pages(), *api], exception_handlers=trouble)  # type: ignore[arg-type]

    async def about(self, request: Request) -> Response:  # noqa: ARG002
        """What is shown: the store, the model, what can be chosen from."""
        store = self.library.store
        groups = await self._read(self.library.groups)
        said: dict[str, Any] = {
            "title": self.title,
            "version": __version__,
            "recordings": len(store),
            "leads": store.contract.leads,
            "rate": store.contract.rate,
            "unit": store.contract.unit,
            "groups": groups,
            "limit": self.dropped.limit,
            "reliable": self.reliable,
            "model": None,
            "without": self.without,
        }
        if asking := self.asking:
            said["model"] = {
                "name": asking.name,
                "leads": asking.model.contract.leads,
                "seconds": asking.model.seconds,
                "probes": list(asking.probes),
                "only": asking.atlas.only,
                "complete": asking.atlas.complete,
            }
        return JSONResponse(said)

    async def recordings(self, request: Request) -> Response:
        """One page of what a search finds."""
        given = request.query_params
        order = given.get("order", "store")
        if order not in ORDERS:
            raise UsageError(f"There is no order {order!r}.", f"Known are {', '.join(ORDERS)}.")
        query = Query(
            words=given.get("words", "")[:200],
            label=given.get("label", ""),
            sex=given.get("sex", ""),
            fold=given.get("fold", ""),
            youngest=_number(given.get("youngest")),
            oldest=_number(given.get("oldest")),
            order=order,  # type: ignore[arg-type]
        )
        start, count = (
            _count(given.get(name), less) for name, less in (("start", 0), ("count", 50))
        )
        total, rows = await self._read(self.library.page, query, start, min(count, PAGE))
        return JSONResponse({"total": total, "start": start, "recordings": rows})

    async def recording(self, request: Request) -> Response:
        """What is known of one recording."""
        item = await self._item(request)
        facts = {"leads": item.leads, "rate": item.rate, "unit": item.unit, "key": item.key}
        stored = item.row is not None
        key = item.key if stored else f"f{item.key}"
        return JSONResponse({**item.facts, **facts, "key": key, "stored": stored})

    async def signal(self, request: Request) -> Response:
        """A stretch: the length of a JSON head as 4 bytes, the head, then floats lead by lead."""
        item, given = await self._item(request), request.query_params
        first = item.sample(_number(given.get("start")) or 0.0)
        stop = _number(given.get("stop"))
        last = item.length if stop is None else item.sample(stop)
        points = min(max(_count(given.get("points"), POINTS), 1), POINTS)
        leads = None
        if name := given.get("lead"):
            leads = (item.leads.index(name),) if name in item.leads else (0,)
        return await self._read(_packed, item, first, last, points, leads)

    async def quality(self, request: Request) -> Response:
        """The quality index and what was found."""
        item = await self._item(request)
        return JSONResponse(await self._read(examined, item))

    async def answers(self, request: Request) -> Response:
        """Probabilities and nearest recordings of all of it, or of start to stop."""
        asking, item = self._model(), await self._item(request)
        given = request.query_params
        start, stop = _number(given.get("start")), _number(given.get("stop"))
        span: Span | None = None if start is None or stop is None else (start, stop)
        said = await self._think(asking.about, item, span)
        if near := said["neighbours"]:
            near["recordings"] = [self.library.facts(row) for row in near.pop("rows")]
        return JSONResponse(said)

    async def fill(self, request: Request) -> Response:
        """Fill gaps that are named as start-stop in seconds."""
        asking, item = self._model(), await self._item(request)
        given = request.query_params
        spans = [_span(words) for words in given.getlist("gap")]
        found = await self._think(asking.fill, item, spans, given.get("lead", ""))
        return JSONResponse({"gaps": found})

    async def progress(self, request: Request) -> Response:  # noqa: ARG002
        """How far the map is; asking begins it."""
        atlas = self._model().atlas
        atlas.start()
        return JSONResponse(asdict(atlas.progress))

    async def map(self, request: Request) -> Response:  # noqa: ARG002
        """The dots of the map, with what they can be coloured by."""
        found = self._model().atlas.map
        if found is None:
            return JSONResponse({"recordings": []})
        facts = await self._read(lambda: [self.library.facts(row) for row in found.rows.tolist()])
        said = {name: getattr(found, name) for name in ("principal", "neighbours")}
        return JSONResponse(said | {"explained": found.explained, "recordings": facts})

    async def files(self, request: Request) -> Response:
        """Take a drop."""
        given = request.query_params
        length = request.headers.get("content-length", "")
        if not length.isdecimal():
            raise HTTPException(411, "The length of the files has to be said before.")
        names = given.getlist("name")
        sizes = [_count(size, -1) for size in given.getlist("size")]
        plain = self.dropped.admit(names, sizes, int(length))
        hints = Hints(_number(given.get("rate")), given.get("unit") or None)
        async with self.taking:
            try:
                with fail_after(PATIENCE):
                    folder = await self.dropped.keep(plain, sizes, request.stream())
            except TimeoutError as error:
                raise HTTPException(408, "The files did not come in time.") from error
            listed, total = await self._read(self.dropped.open, folder, hints)
        rows = [{**one, "key": f"f{one['key']}"} for one in listed]
        return JSONResponse({"total": total, "recordings": rows})

    def _model(self) -> Asking:
        if self.asking is None:
            raise UsageError("There is no model.", self.without)
        return self.asking

    async def _item(self, request: Request) -> Item:
        """A recording of the store by its number, or a dropped one, which may have to be read."""
        key: str = request.path_params["key"]
        if key.isascii() and key.isdecimal() and len(key) < 12:
            return self.library.item(int(key))
        return await self._read(self.dropped.item, key.removeprefix("f"))

    async def _read(self, work: Callable[..., Answer], *given: Any) -> Answer:
        return await to_thread.run_sync(partial(work, *given), limiter=self.reading)

    async def _think(self, work: Callable[..., Answer], *given: Any) -> Answer:
        return await to_thread.run_sync(partial(work, *given), limiter=self.thinking)


def _packed(
    item: Item, first: int, last: int, points: int, leads: tuple[int, ...] | None
) -> Response:
    trace = traced(item, first, last, points, leads)
    shown = item.leads if leads is None else [item.leads[i] for i in leads]
    head = json.dumps(
        {
            "start": trace.start,
            "spacing": trace.spacing,
            "exact": trace.exact,
            "leads": shown,
            "count": trace.y.shape[1],
        }
    ).encode()
    head += b" " * (-len(head) % 4)  # so that the floats begin at a multiple of 4
    body = np.ascontiguousarray(trace.y, "<f4").tobytes()
    whole = len(head).to_bytes(4, "little") + head + body
    return Response(whole, media_type="application/octet-stream")


def _pages() -> list[Route]:
    """Every file of the page, read once: no request's path ever names a file."""

    def route(path: Path) -> Route:
        content, kind = path.read_bytes(), TYPES.get(path.name, "text/javascript; charset=utf-8")

        async def page(request: Request) -> Response:  # noqa: ARG001
            return Response(content, headers={"content-type": kind})

        return Route("/" if path.name == "index.html" else f"/{path.name}", page)

    return [route(path) for path in sorted(PAGES.iterdir()) if path.is_file()]


def _number(words: str | None) -> float | None:
    """A finite number of an address."""
    if words is None or not words.strip():
        return None
    with suppress(ValueError):
        if np.isfinite(value := float(words)):
            return value
    raise UsageError(f"{words[:40]!r} is no number.")


def _count(words: str | None, otherwise: int) -> int:
    if words is None:
        return otherwise
    if not (words.isascii() and words.isdecimal() and len(words) < 16):
        raise UsageError(f"{words[:40]!r} is no number.")
    return int(words)


def _span(words: str) -> Span:
    start, _, stop = words.partition("-")
    a, b = _number(start), _number(stop)
    if a is None or b is None:
        raise UsageError(f"{words[:40]!r} is no stretch.", "Write seconds as in 1.2-1.6.")
    return a, b


async def _trouble(request: Request, error: NerulaError) -> Response:  # noqa: ARG001
    status = 413 if isinstance(error, TooLargeError) else 422
    return JSONResponse({"error": error.message, "remedy": error.remedy}, status)


async def _http(request: Request, error: HTTPException) -> Response:  # noqa: ARG001
    said = {"error": error.detail, "remedy": ""}
    return JSONResponse(said, error.status_code, headers=dict(error.headers or {}))


async def _gone(request: Request, error: ClientDisconnect) -> Response:  # noqa: ARG001
    return Response(status_code=400)
