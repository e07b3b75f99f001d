"""Compare the package of workers elsewhere with this one, and send it to those that have another or none.

Functions that a worker is asked for are pickled by value, since it may lack the package; so they use the standard
library only.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["PACKAGE", "by_value", "digest", "ensure", "zipped"]

PACKAGE = __name__.partition(".")[0]
#: Endings of the files that decide results: sources, tables and the models that come with the package.
SUFFIXES = (".py", ".toml", ".json", ".npz")


def digest(package: str) -> str | None:
    """Compute the checksum of a package as this interpreter would import it; None if it is not there."""
    import hashlib
    import importlib.util
    import zipfile
    from pathlib import Path

    importlib.invalidate_caches()
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    archive = getattr(spec.loader, "archive", None)
    parts = {}
    if archive:
        with zipfile.ZipFile(archive) as z:
            parts = {n: z.read(n) for n in z.namelist() if n.startswith(f"{package}/")}
    else:
        root = Path(next(iter(spec.submodule_search_locations)))
        files = (p for p in root.rglob("*") if p.suffix in SUFFIXES and p.is_file())
        parts = {f"{package}/{p.relative_to(root)}": p.read_bytes() for p in files}
    total = hashlib.sha256()
    for name in sorted(parts):
        if name.endswith(SUFFIXES):
            total.update(name.encode() + b"\0" + parts[name])
    return total.hexdigest()


def zipped(package: str, folder: Path) -> Path:
    """Write a package to a zip file that Python can import from, and return its path."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{package}: not importable here, so it cannot be sent to workers")
    root = Path(next(iter(spec.submodule_search_locations)))
    files = sorted(p for p in root.rglob("*") if p.suffix in SUFFIXES and p.is_file())
    mark = hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()[:8]
    path = folder / f"{package}-{mark}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for p in files:
            z.write(p, f"{package}/{p.relative_to(root)}")
    return path


@contextmanager
def by_value(pickler: ModuleType) -> Iterator[None]:
    """Let cloudpickle send the functions of this module whole, not by their name."""
    import sys

    me = sys.modules[__name__]
    pickler.register_pickle_by_value(me)
    try:
        yield
    finally:
        pickler.unregister_pickle_by_value(me)


def ensure(ask: Callable[[], Mapping[str, str | None]], send: Callable[[str], Any]) -> None:
    """Send the package to workers whose copy differs from this one.

    Parameters
    ----------
    ask : callable
        Gives the :func:`digest` of each worker, by a name for messages.
    send : callable
        Given the path of a zip file, puts it on the workers' import path.

    Raises
    ------
    RuntimeError
        Workers still run another copy.
    """
    mine = digest(PACKAGE)
    if all(theirs == mine for theirs in ask().values()):
        return
    with tempfile.TemporaryDirectory(prefix=f"{PACKAGE}-") as folder:
        send(str(zipped(PACKAGE, Path(folder))))
        other = {where: theirs for where, theirs in ask().items() if theirs != mine}
    if other:
        where, theirs = next(iter(other.items()))
        have = f"other sources of it (checksum {theirs[:8]})" if theirs else "none"
        raise RuntimeError(
            f"{len(other)} workers do not run this {PACKAGE} (checksum {str(mine)[:8]}): {where} has {have}, also "
            "after it was sent. Restart the workers, or install the same version on them"
        )
