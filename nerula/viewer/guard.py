"""Guard: nobody but the page itself talks to the viewer, and the page runs nothing but its own.

Any web page that is open in the same browser may send requests to this machine. So the Host has to
be ours (against names that are rebound to 127.0.0.1), other sites' requests are refused, and what
changes something has to come from our own page. What could leak or be run is forbidden by headers.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

NAMES = ("127.0.0.1", "localhost")
METHODS = ("GET", "HEAD", "POST")
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class Guard:
    """Around the application: refuses strangers, and adds headers to every answer."""

    def __init__(self, application: Application, port: int) -> None:
        self.application = application
        self.hosts = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == 80 else set())
        self.origins = {f"http://{host}" for host in self.hosts}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.application(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        if refusal := self.refusal(scope["method"], scope["headers"]):
            await _refuse(guarded, refusal)
        else:
            await self.application(scope, receive, guarded)

    def refusal(self, method: str, headers: list[tuple[bytes, bytes]]) -> str:
        """Why a request is refused; nothing where it is not."""
        said: dict[str, list[str]] = {}
        for name, value in headers:
            said.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        host = said.get("host", [])
        if len(host) != 1 or host[0].lower() not in self.hosts:
            return "This address is not the viewer's: it answers to 127.0.0.1 and localhost only."
        if method not in METHODS:
            return f"{method} is not understood."
        origin = said.get("origin", [])
        if any(one not in self.origins for one in origin):
            return "Another site's page may not use the viewer."
        if method == "POST" and not origin:
            return "What does not come from the viewer's page is not taken."
        if said.get("sec-fetch-site", ["none"])[-1] in ("cross-site", "same-site"):
            return "Another site's page may not use the viewer."
        return ""


async def _refuse(send: Send, sentence: str) -> None:
    body = sentence.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
