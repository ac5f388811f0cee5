"""A file system of fsspec like `memory://`, whose connections break: `flaky://`."""

import io
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class Flaky(MemoryFileSystem):
    """The next `cuts` signal files that are opened end in their middle, loud or not."""

    protocol: ClassVar[str] = "flaky"  # type: ignore[misc]
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    cuts: ClassVar[int] = 0
    loud: ClassVar[bool] = True
    opened: ClassVar[list[str]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.removeprefix("flaky://")))

    def _open(self, path: str, mode: str = "rb", **words: Any) -> Any:
        file = super()._open(path, mode, **words)
        if mode != "rb":
            return file
        Flaky.opened.append(path)
        if not path.endswith(".dat") or Flaky.cuts == 0:
            return file
        Flaky.cuts -= 1
        return Cut(file.getvalue())


class Cut(io.BytesIO):
    """Half of a file."""

    def read(self, size: int | None = -1) -> bytes:
        half = len(self.getvalue()) // 2
        if self.tell() >= half:
            if Flaky.loud:
                raise ConnectionResetError("the peer went away")
            return b""
        return super().read(half)


fsspec.register_implementation("flaky", Flaky, clobber=True)
