"""is2ice: ICESat-2 ATL03 photons to 2 m sea-ice class, local sea surface and freeboard.

>>> import is2ice
>>> ds = is2ice.open_track("ATL03_20191104195311_05940510_006_01.h5")  # doctest: +SKIP
>>> run = is2ice.run(["ATL03_20191104195311_05940510_006_01.h5"], "ross_sea.zarr")  # doctest: +SKIP

Names are imported when first used, so ``import is2ice`` stays light. ``ds.is2ice`` is available if xarray was imported
before, else after the first use of any name of is2ice.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__


def _numba_cache() -> None:
    """Cache compiled loops in a temporary folder if neither the package nor the home folder can be written."""
    here, home = os.path.dirname(__file__), os.path.expanduser("~")
    if "NUMBA_CACHE_DIR" not in os.environ and not (os.access(here, os.W_OK) or os.access(home, os.W_OK)):
        import tempfile

        os.environ["NUMBA_CACHE_DIR"] = os.path.join(tempfile.gettempdir(), f"is2ice-numba-{os.getuid()}")


_numba_cache()

#: Public name -> its module; a module that is itself the public name ends in "!".
_PUBLIC = {
    "Drift": "science.labels.drift",
    "Granule": "io.icesat2.atl03",
    "LabelOptions": "workflows.label_pass",
    "MapOptions": "workflows.make_map",
    "Options": "workflows.options",
    "RunSettings": "workflows.execution",
    "class_map": "sentinel2",
    "classify": "classifiers",
    "cluster": "engines",
    "compare": "reports.nasa_comparison",
    "conform": "schema",
    "explore": "reports.explorer",
    "find_declaration": "io.stores.declarations",
    "freeboard": "science.freeboard!",
    "granule_tree": "workflows.opening",
    "icestats": "science.icestats!",
    "label_many": "workflows.label_many",
    "label_pass": "workflows.label_pass",
    "location": "io.remote.location",
    "login": "io.remote.earthdata",
    "make_class_maps": "workflows.make_class_maps",
    "make_map": "workflows.make_map",
    "one_track": "workflows.track",
    "open_scene": "sentinel2",
    "open_store": "io.stores.store",
    "open_track": "workflows.opening",
    "order": "io.catalogs.orders",
    "product_info": "io.catalogs.orders",
    "publish": "io.publishing.publish",
    "quicklook": "reports.plot_track",
    "reclassify": "workflows.reclassify",
    "resume": "workflows.run",
    "run": "workflows.run",
    "sample": "io.icesat2.sample",
    "schema": "schema!",
    "search": "io.catalogs.icesat2",
    "search_scenes": "io.catalogs.sentinel2",
    "seasurface": "science.seasurface!",
    "segments": "science.segments!",
    "show_versions": "version",
    "thickness": "science.thickness!",
    "train": "workflows.train",
    "twin": "twin!",
    "write_map": "workflows.make_map",
    "write_track": "io.stores.store",
}
#: Names of modules that import xarray only when they make a dataset: these names import it, so that it has ``.is2ice``.
_LATER = ("Granule", "open_store", "segments", "write_track")
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        import difflib

        near = difflib.get_close_matches(name, _PUBLIC)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(_PUBLIC)}"
        raise AttributeError(f"module 'is2ice' has no attribute {name!r}; {hint}")
    home = _PUBLIC[name]
    if name in _LATER:
        import_module("xarray")
    found = import_module(f".{home.removesuffix('!')}", __name__)
    _register()
    return found if home.endswith("!") else getattr(found, name)


def _register() -> None:
    """Register ``ds.is2ice`` if xarray is loaded: with this import, or with the first name used after it."""
    loaded = hasattr(sys.modules.get("xarray"), "register_dataset_accessor")  # not still loading
    if loaded and f"{__name__}.reports.accessor" not in sys.modules:
        import_module(".reports.accessor", __name__)


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from is2ice import schema as schema
    from is2ice import twin as twin
    from is2ice.classifiers import classify as classify
    from is2ice.engines import cluster as cluster
    from is2ice.io.catalogs.icesat2 import search as search
    from is2ice.io.catalogs.orders import order as order
    from is2ice.io.catalogs.orders import product_info as product_info
    from is2ice.io.catalogs.sentinel2 import search_scenes as search_scenes
    from is2ice.io.icesat2.atl03 import Granule as Granule
    from is2ice.io.icesat2.sample import sample as sample
    from is2ice.io.publishing.publish import publish as publish
    from is2ice.io.remote.earthdata import login as login
    from is2ice.io.remote.location import location as location
    from is2ice.io.stores.declarations import find_declaration as find_declaration
    from is2ice.io.stores.store import open_store as open_store
    from is2ice.io.stores.store import write_track as write_track
    from is2ice.reports.explorer import explore as explore
    from is2ice.reports.nasa_comparison import compare as compare
    from is2ice.reports.plot_track import quicklook as quicklook
    from is2ice.schema import conform as conform
    from is2ice.science import freeboard as freeboard
    from is2ice.science import icestats as icestats
    from is2ice.science import seasurface as seasurface
    from is2ice.science import segments as segments
    from is2ice.science import thickness as thickness
    from is2ice.science.labels.drift import Drift as Drift
    from is2ice.sentinel2 import class_map as class_map
    from is2ice.sentinel2 import open_scene as open_scene
    from is2ice.version import show_versions as show_versions
    from is2ice.workflows.execution import RunSettings as RunSettings
    from is2ice.workflows.label_many import label_many as label_many
    from is2ice.workflows.label_pass import LabelOptions as LabelOptions
    from is2ice.workflows.label_pass import label_pass as label_pass
    from is2ice.workflows.make_class_maps import make_class_maps as make_class_maps
    from is2ice.workflows.make_map import MapOptions as MapOptions
    from is2ice.workflows.make_map import make_map as make_map
    from is2ice.workflows.make_map import write_map as write_map
    from is2ice.workflows.opening import granule_tree as granule_tree
    from is2ice.workflows.opening import open_track as open_track
    from is2ice.workflows.options import Options as Options
    from is2ice.workflows.reclassify import reclassify as reclassify
    from is2ice.workflows.run import resume as resume
    from is2ice.workflows.run import run as run
    from is2ice.workflows.track import one_track as one_track
    from is2ice.workflows.train import train as train

_register()
