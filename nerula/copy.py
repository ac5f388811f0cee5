"""`nerula copy`: a finished store to an object store, or from there to a local disk, verified."""

from pathlib import Path

from nerula.errors import UsageError


def copy(store: str, to: str) -> int:
    """Copy a finished store to or from an object store, and compare every byte.

    Training maps a store into memory, so it has to lie on a disk: copy it to the machine's own.
    A copy has its name, or its store.json, only once everything else is there.

    Parameters
    ----------
    store
        The store: a folder, or an address such as s3://bucket/store or gs://bucket/store.
    to
        Where to: an address, or a folder that is not there yet.
    """
    from rich.console import Console

    from nerula.addresses import is_address, shown
    from nerula.transfer import bring, send

    if is_address(store) and is_address(to):
        raise UsageError(
            f"{shown(store)} and {shown(to)} are both addresses.", "Copy to a folder in between."
        )
    if is_address(to):
        digest, following = send(Path(store), to), f"nerula copy {shown(to)} STORE"
    elif Path(to).exists():
        raise UsageError(f"{to} is there already.", "Name a new folder.")
    else:
        digest, following = bring(store, Path(to)), f"nerula pretrain nerula {to} RUN"
    console = Console(highlight=False)
    console.print(f"{shown(to)} holds the store {digest}.", markup=False, soft_wrap=True)
    console.print(f"Next: {following}", markup=False, soft_wrap=True)
    return 0
