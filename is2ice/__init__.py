"""is2ice: ICESat-2 ATL03 photons to 2 m sea-ice class, local sea surface and freeboard.

>>> import is2ice
>>> ds = is2ice.open_track("ATL03_20191104195311_05940510_006_01.h5")  # doctest: +SKIP
>>> run = is2ice.run(["ATL03_20191104195311_05940510_006_01.h5"], "ross_sea.zarr")  # doctest: +SKIP

Names are imported when first used, so ``import is2ice`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "Granule": "atl03",
    "Options": "pipeline",
    "classify": "classifiers",
    "conform": "schema",
    "freeboard": "",
    "one_track": "pipeline",
    "open_store": "store",
    "open_track": "pipeline",
    "quicklook": "plot",
    "run": "pipeline",
    "schema": "",
    "seasurface": "",
    "segments": "",
    "show_versions": "versions",
    "twin": "",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'is2ice' has no attribute {name!r}; it has {', '.join(_PUBLIC)}")
    home = _PUBLIC[name]
    if not home:
        return import_module(f".{name}", __name__)
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from . import freeboard, schema, seasurface, segments, twin
    from .atl03 import Granule
    from .classifiers import classify
    from .pipeline import Options, one_track, open_track, run
    from .plot import quicklook
    from .schema import conform
    from .store import open_store
    from .versions import show_versions
