"""ECG in XML: GE MUSE and HL7 aECG, parsed without ever following what the file points at."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from xml.etree.ElementTree import ParseError, TreeBuilder

from nerula.errors import MissingExtraError, NerulaError, UsageError, refuse
from nerula.readers import aecg, muse
from nerula.readers.files import load
from nerula.readers.source import NO_HINTS, Hints
from nerula.recording import Recording

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LIMIT = 256 << 20
"""Bytes of a file; a day of two leads at 250 Hz has 170 MB of digits."""
_MOST_ELEMENTS = 1 << 18
_DEEPEST = 64

_READERS = {"RestingECG": muse.recording, "AnnotatedECG": aecg.recording}


def read(
    path: Path,
    row: int = 0,
    *,
    root: Path | None = None,  # noqa: ARG001 - names no other file
    hints: Hints = NO_HINTS,  # noqa: ARG001 - XML says everything itself
) -> Recording:
    """Read the rhythm of one MUSE or aECG file."""
    if row:
        raise UsageError(f"{path} holds one recording; there is no row {row}.")
    tree = parse(load(path, LIMIT), path)
    if tree.tag not in _READERS:
        raise refuse("format-unknown", path, f"XML of the kind {tree.tag[:40]!r}")
    return _READERS[tree.tag](tree, path)


def parse(data: bytes, path: Path) -> "Element":
    """Return the root element, all names without their namespaces.

    MUSE writes `<!DOCTYPE RestingECG SYSTEM "restecg.dtd">`, so that a document type is let pass;
    it is not opened, and whatever a file declares itself is refused.
    """
    try:
        from defusedxml.common import DefusedXmlException
        from defusedxml.ElementTree import XMLParser
    except ImportError as error:
        raise MissingExtraError(f"Reading XML ({path})", "xml") from error
    parser = XMLParser(target=_Bounded(path))
    for declaration in ("Element", "Attlist", "Notation"):
        setattr(parser.parser, f"{declaration}DeclHandler", _declared(path))
    try:
        parser.feed(data)
        tree: Element = parser.close()
    except NerulaError:
        raise
    except DefusedXmlException as error:
        raise refuse("xml-entity", path) from error
    except (ParseError, ValueError, LookupError) as error:  # encodings raise the latter two
        raise refuse("format-malformed", path, "it is not well-formed XML") from error
    return tree


def _declared(path: Path) -> Any:
    def handler(*_: object) -> NoReturn:
        raise refuse("xml-entity", path, "the file declares its own grammar")

    return handler


class _Bounded(TreeBuilder):
    """Builds a tree that is neither deeper nor larger than an ECG needs."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._depth = self._elements = 0

    def start(self, tag: Any, attrs: Any) -> Any:
        """Open an element."""
        self._depth += 1
        self._elements += 1
        if self._depth > _DEEPEST or self._elements > _MOST_ELEMENTS:
            detail = f"more than {_DEEPEST} levels or {_MOST_ELEMENTS} elements"
            raise refuse("file-too-large", self._path, detail)
        return super().start(_bare(tag), {_bare(key): value for key, value in attrs.items()})

    def end(self, tag: Any) -> Any:
        """Close an element."""
        self._depth -= 1
        return super().end(_bare(tag))


def _bare(name: str) -> str:
    return name.rpartition("}")[2]
