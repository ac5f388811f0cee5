"""A viewer that is served for tests, and what a page of its own would ask it."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from nerula import view
from nerula.viewer.server import Viewer

ANSWER = 60.0
"""Seconds after which a server that does not answer is broken."""


class Live(NamedTuple):
    """A viewer on a port."""

    port: int
    viewer: Viewer
    private: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one answer, as a browser's own page would get it."""
        own = {"Host": f"127.0.0.1:{self.port}", "Origin": self.address}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, ANSWER)) as connection:
            connection.request(method, path, body, own | (headers or {}))
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()

    def json(self, path: str) -> Any:
        status, _, body = self.ask(path)
        assert status == 200, body
        return json.loads(body)

    def drop(self, files: dict[str, bytes], **more: str) -> tuple[int, Any]:
        """Drop files onto the page."""
        said = [("name", name) for name in files]
        said += [("size", str(len(content))) for content in files.values()]
        address = f"/api/files?{urlencode([*said, *more.items()])}"
        status, _, body = self.ask(address, "POST", b"".join(files.values()))
        return status, json.loads(body)

    def finished(self) -> dict[str, Any]:
        """Wait for the map."""
        until = time.monotonic() + 120
        while time.monotonic() < until:
            said: dict[str, Any] = self.json("/api/progress")
            if said["state"] in ("done", "failed"):
                return said
            time.sleep(0.1)
        raise AssertionError("the map was never finished")


@contextmanager
def serving(store: Path, private: Path, *probes: Path, limit: int = 1 << 20) -> Iterator[Live]:
    """A viewer with a model, on a free port, in a thread."""
    with (
        view._bound(0) as listening,
        view.assembled(store, private, "nerula-small", probes, limit) as viewer,
    ):
        port = listening.getsockname()[1]
        server = view.served(viewer, port)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Live(port, viewer, private)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()
