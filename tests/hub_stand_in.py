"""A hub on this machine: the few addresses that huggingface_hub asks, and ways to fail.

Small files are git blobs, named by their SHA-1; model.safetensors lies in large file storage and
is named by its SHA-256, as on the real one.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = ".safetensors"


class Hub(ThreadingHTTPServer):
    """Repositories by name, each a list of commits; `answers` replaces what an address says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, list[dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}
        self.answers: dict[str, Any] = {}
        """By a pattern of "METHOD /path": a status, (status, error code), or a function of the
        content that is sent."""
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def contents(self) -> list[str]:
        """The addresses of contents that were asked for."""
        return [one for one in self.asked if one.startswith("GET") and "/resolve/" in one]

    def put(self, repo: str, files: dict[str, bytes]) -> str:
        """A new commit on the main branch; its name."""
        history = self.repos.setdefault(repo, [])
        history.append({**(history[-1] if history else {}), **files})
        return self.commit(repo, len(history) - 1)

    def commit(self, repo: str, number: int) -> str:
        return hashlib.sha1(f"{repo} {number}".encode()).hexdigest()

    def files(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        history = self.repos.get(repo, [])
        for number, files in enumerate(history):
            if revision in (self.commit(repo, number), f"v{number}"):
                return self.commit(repo, number), files
        if revision == "main" and history:
            return self.commit(repo, len(history) - 1), history[-1]
        return None


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body, path = self.rfile.read(length), unquote(urlsplit(self.path).path)
        asked = f"{self.command} {path}"
        self.server.asked.append(asked)
        change = None
        for pattern, what in self.server.answers.items():
            if re.search(pattern, asked):
                if callable(what):
                    change = what
                else:
                    status, code = what if isinstance(what, tuple) else (what, "")
                    self._send(status, b"{}", {"X-Error-Code": code} if code else {})
                    return
        for pattern, method in _ROUTES:
            found = re.fullmatch(pattern, asked)
            if found:
                method(self, body, change, **found.groupdict())
                return
        self._send(404, b"{}")

    do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815

    def _send(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) * (2 if cut else 1)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        if cut:
            self.close_connection = True

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _missing(self, repo: str) -> None:
        code = "RevisionNotFound" if repo in self.server.repos else "RepoNotFound"
        self._send(404, b"{}", {"X-Error-Code": code})

    def _info(self, body: bytes, change: Any, repo: str, revision: str) -> None:
        if (found := self.server.files(repo, revision)) is None:
            self._missing(repo)
            return
        sha, files = found
        listed = [{"rfilename": name} for name in files]
        self._json({"id": repo, "modelId": repo, "sha": sha, "siblings": listed, "tags": []})

    def _tree(self, body: bytes, change: Any, repo: str, revision: str) -> None:
        if (found := self.server.files(repo, revision)) is None:
            self._missing(repo)
            return
        self._json([_entry(name, content) for name, content in found[1].items()])

    def _resolve(self, body: bytes, change: Any, repo: str, revision: str, name: str) -> None:
        if (found := self.server.files(repo, revision)) is None:
            self._missing(repo)
            return
        sha, files = found
        if name not in files:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        content = files[name]
        facts = {"X-Repo-Commit": sha, "ETag": f'"{_git(content)}"', "Accept-Ranges": "bytes"}
        if name.endswith(LARGE):
            digest = hashlib.sha256(content).hexdigest()
            facts |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            facts["ETag"] = f'"{digest}"'
        first = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if change is not None and self.command == "GET" and not first:
            sent = change(content)
            self._send(200, sent, facts, cut=len(sent) < len(content))
            return
        if first and int(first[1]):
            start = int(first[1])
            facts["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._send(206, content[start:], facts)
            return
        self._send(200, content, facts)

    def _create(self, body: bytes, change: Any) -> None:
        if not self.headers.get("Authorization"):
            self._send(401, b'{"error": "Invalid username or password."}')
            return
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.server.repos:
            self._send(409, json.dumps({"url": f"{self.server.url}/{repo}"}).encode())
            return
        self.server.repos[repo] = []
        self.server.private[repo] = bool(
            asked.get("private") or asked.get("visibility") == "private"
        )
        self._json({"url": f"{self.server.url}/{repo}", "id": repo, "name": repo})

    def _preupload(self, body: bytes, change: Any, repo: str) -> None:
        modes = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for one in json.loads(body)["files"]
        ]
        self._json({"files": modes})

    def _batch(self, body: bytes, change: Any, repo: str) -> None:
        wanted = [
            {**one, "actions": {"upload": {"href": f"{self.server.url}/large/{one['oid']}"}}}
            for one in json.loads(body)["objects"]
        ]
        self._json({"transfer": "basic", "objects": wanted})

    def _large(self, body: bytes, change: Any, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.large[oid] = body
        self._send(200, b"")

    def _validate(self, body: bytes, change: Any) -> None:
        assert json.loads(body)["content"].startswith("---\n")
        self._json({"errors": [], "warnings": []})

    def _commit(self, body: bytes, change: Any, repo: str) -> None:
        files: dict[str, bytes] = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
        sha = self.server.put(repo, files)
        page = f"{self.server.url}/{repo}/commit/{sha}"
        self._json({"success": True, "commitUrl": page, "commitOid": sha, "pullRequestUrl": None})


def _git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(name: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content)}
    entry["oid"] = _git(content)
    if name.endswith(LARGE):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
    return entry


_REPO = r"(?P<repo>[^/]+/[^/]+)"
_ROUTES = [
    (rf"GET /api/models/{_REPO}/revision/(?P<revision>.+)", _Handler._info),
    (rf"GET /api/models/{_REPO}/tree/(?P<revision>[^/]+)/?", _Handler._tree),
    (rf"(?:GET|HEAD) /{_REPO}/resolve/(?P<revision>[^/]+)/(?P<name>.+)", _Handler._resolve),
    (r"POST /api/repos/create", _Handler._create),
    (r"POST /api/validate-yaml", _Handler._validate),
    (rf"POST /api/models/{_REPO}/preupload/main", _Handler._preupload),
    (rf"POST /{_REPO}\.git/info/lfs/objects/batch", _Handler._batch),
    (r"PUT /large/(?P<oid>.+)", _Handler._large),
    (rf"POST /api/models/{_REPO}/commit/main", _Handler._commit),
]
