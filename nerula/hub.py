"""The hub: models as `hf:USER/NAME`, or `hf:USER/NAME@REVISION` for one of their states.

A model's folder is what the Hugging Face hub expects already. Of a repository the five files of a
model are fetched and nothing else; they are compared with the hub's own checksums, then loaded as
strictly as any folder. What was fetched once works offline. HF_ENDPOINT names another hub.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from nerula import __version__
from nerula.errors import MissingExtraError, NerulaError, UsageError
from nerula.schema import CARD, CONFIG, DATA_CARD, RESULTS, TENSORS

PREFIX = "hf:"
FILES = (CONFIG, TENSORS, CARD, DATA_CARD, RESULTS)
"""What a model consists of; the last two may be absent."""
NEEDED = (CONFIG, TENSORS)
_NAME = re.compile(
    r"hf:(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?"
)
_CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BLOCK = 1 << 20


class Place(NamedTuple):
    """A repository, and which of its states."""

    repo: str
    revision: str | None

    @classmethod
    def of(cls, name: str) -> "Place":
        """Read `hf:USER/NAME`, or `hf:USER/NAME@REVISION`."""
        found = _NAME.fullmatch(name)
        if found is None:
            raise UsageError(
                f"{name} is no name on the hub.", "Write hf:USER/NAME or hf:USER/NAME@REVISION."
            )
        return cls(found["repo"], found["revision"])


def fetch(name: str) -> Path:
    """The folder with a model of the hub: from the cache where it is there, else downloaded.

    A branch or tag is asked for anew while the hub can be reached; a commit never changes.
    """
    place = Place.of(name)
    folder = _snapshot(place)
    if altered := _altered(folder):
        for path in altered:
            path.unlink()  # once more: it may have been the way and not the hub
        folder = _snapshot(place, again=True)
        if altered := _altered(folder):
            for path in altered:
                path.unlink()
            raise NerulaError(
                f"{name}: {', '.join(path.name for path in altered)} did not arrive as the hub "
                "has it, twice.",
                "Something on the way alters files; try another connection.",
            )
    for needed in NEEDED:
        if not (folder / needed).is_file():
            raise NerulaError(f"{name} is no model of Nerula: it has no {needed}.")
    return folder


def upload(folder: Path, name: str, card: str, *, public: bool, message: str) -> tuple[str, str]:
    """Commit a model's files, its card as given; return the commit's page and its name."""
    place = Place.of(name)
    if place.revision is not None:
        raise UsageError("A model is pushed to the main branch.", f"Write {PREFIX}{place.repo}.")
    library = _library()
    content: dict[str, Path | bytes] = {
        one: folder / one for one in FILES if (folder / one).is_file()
    }
    content[CARD] = card.encode()
    adding = [library.CommitOperationAdd(one, held) for one, held in content.items()]
    with _in_words(name):
        api = library.HfApi(endpoint=_endpoint(), **_ourselves())
        api.create_repo(place.repo, private=not public, exist_ok=True)
        done = api.create_commit(place.repo, adding, commit_message=message)
    return str(done.commit_url), f"{name}@{done.oid}"


def _snapshot(place: Place, *, again: bool = False) -> Path:
    library = _library()
    with _in_words(f"{PREFIX}{place.repo}"):
        folder = library.snapshot_download(
            place.repo,
            revision=place.revision,
            allow_patterns=list(FILES),
            endpoint=_endpoint(),
            force_download=again,
            **_ourselves(),
        )
    return Path(folder)


def _altered(folder: Path) -> list[Path]:
    """Remove what does not have the checksum by which the cache calls it; return the links to it.

    The cache names a file's content by the hub's checksum: SHA-256 of large files, git's SHA-1 of
    small ones. Where the system has no links there is no such name, and strict loading remains.
    """
    wrong = []
    for path in sorted(folder.iterdir()):
        held = path.resolve()
        named = path.is_symlink() and _CHECKSUM.fullmatch(held.name)
        if named and _checksum(held) != held.name:
            held.unlink()
            wrong.append(path)
    return wrong


def _checksum(path: Path) -> str:
    found: Any = hashlib.sha256()
    if len(path.name) == 40:  # of a git object
        found = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return str(found.hexdigest())


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise MissingExtraError("A model on the hub", "hub") from None
    return huggingface_hub


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _ourselves() -> dict[str, str]:
    return {"library_name": "nerula", "library_version": __version__}


@contextmanager
def _in_words(name: str) -> Iterator[None]:
    """What can go wrong between here and the hub, as one sentence with a remedy."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise NerulaError(
            f"{name} is open only to those whom its owner lets in.",
            "Ask on its page, then: hf auth login",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise NerulaError(
            f"{name} is not on the hub, or not for you.",
            "Check the name; for a private model: hf auth login",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise NerulaError(f"{name} has no such revision.", "See its commits and tags.") from error
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError) as error:
        answer = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) else error
        status = getattr(getattr(answer, "response", None), "status_code", None)
        if status is None:
            raise NerulaError(
                f"{name} is not in the cache, and the hub cannot be reached.",
                "Connect once; afterwards it works offline.",
            ) from error
        remedy = "Log in: hf auth login" if status in (401, 403) else "Try again later."
        raise NerulaError(f"The hub answered {status} for {name}.", remedy) from error
    except (*errors.HfHubHTTPError.__bases__, OSError, RuntimeError) as error:  # of its transport
        raise NerulaError(
            f"{name} could not be transferred: {error}.", "Give the same again: it continues."
        ) from error
