"""is2ice: ICESat-2 ATL03 photons to 2 m sea-ice class, local sea surface and freeboard.

>>> import is2ice
>>> ds = is2ice.open_track("ATL03_20191104195311_05940510_006_01.h5")  # doctest: +SKIP
>>> run = is2ice.run(["ATL03_20191104195311_05940510_006_01.h5"], "ross_sea.zarr")  # doctest: +SKIP

Names are imported when first used, so ``import is2ice`` stays light. ``ds.is2ice`` is there if xarray was imported
before, else from the first use of any name of is2ice on.
"""

from __future__ import annotations

import os
import sys
import tempfile
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"


def _numba_cache() -> None:
    """Let compiled loops be cached somewhere where neither the package nor the home folder can be written."""
    here, home = os.path.dirname(__file__), os.path.expanduser("~")
    if "NUMBA_CACHE_DIR" not in os.environ and not (os.access(here, os.W_OK) or os.access(home, os.W_OK)):
        os.environ["NUMBA_CACHE_DIR"] = os.path.join(tempfile.gettempdir(), f"is2ice-numba-{os.getuid()}")


_numba_cache()

_PUBLIC = {
    "Granule": "atl03",
    "Options": "pipeline",
    "classify": "classifiers",
    "cluster": "engines",
    "conform": "schema",
    "freeboard": "",
    "granule_tree": "export",
    "login": "earthdata",
    "icestats": "",
    "make_map": "mapping",
    "one_track": "pipeline",
    "open_store": "store",
    "open_track": "pipeline",
    "order": "orders",
    "product_info": "orders",
    "publish": "publishing",
    "quicklook": "plot",
    "run": "pipeline",
    "schema": "",
    "search": "granules",
    "seasurface": "",
    "segments": "",
    "show_versions": "versions",
    "thickness": "",
    "twin": "",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'is2ice' has no attribute {name!r}; it has {', '.join(_PUBLIC)}")
    home = _PUBLIC[name]
    found = import_module(f".{home or name}", __name__)
    _register()
    return getattr(found, name) if home else found


def _register() -> None:
    """Register ``ds.is2ice`` where xarray is loaded: with this import, or with the first name used after it."""
    loaded = hasattr(sys.modules.get("xarray"), "register_dataset_accessor")  # not still loading
    if loaded and f"{__name__}.accessor" not in sys.modules:
        import_module(".accessor", __name__)


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from . import freeboard as freeboard
    from . import icestats as icestats
    from . import schema as schema
    from . import seasurface as seasurface
    from . import segments as segments
    from . import thickness as thickness
    from . import twin as twin
    from .atl03 import Granule as Granule
    from .classifiers import classify as classify
    from .earthdata import login as login
    from .engines import cluster as cluster
    from .export import granule_tree as granule_tree
    from .granules import search as search
    from .mapping import make_map as make_map
    from .orders import order as order
    from .orders import product_info as product_info
    from .pipeline import Options as Options
    from .pipeline import one_track as one_track
    from .pipeline import open_track as open_track
    from .pipeline import run as run
    from .plot import quicklook as quicklook
    from .publishing import publish as publish
    from .schema import conform as conform
    from .store import open_store as open_store
    from .versions import show_versions as show_versions

_register()
