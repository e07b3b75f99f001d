"""A reader for odc-stac that names the asset when it fails, wherever the pixels are read.

Imported only where scenes are loaded; it is pickled to Dask workers by name.
"""

from __future__ import annotations

import warnings
from typing import Any

from odc.loader._rio import RioDriver, RioReader
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from .stac_item import check_format, explain

__all__ = ["NamingDriver"]

# Repeating 20 m pixels goes through arrays in memory, which have no place of their own.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning, module=r"rasterio\.warp")


class _NamingReader:
    def __init__(self, reader: RioReader, name: str, href: str) -> None:
        self._reader, self._name, self._href = reader, name, href

    def read(self, *args: Any, **options: Any) -> Any:
        try:
            check_format(self._href)
            return self._reader.read(*args, **options)
        except RasterioError as fault:
            told = explain(fault, self._name, self._href)
        # Raised apart from GDAL's own exception, which does not survive the way back from another process.
        raise told


class NamingDriver(RioDriver):
    """The rasterio driver of odc-stac with faults explained.

    Parameters
    ----------
    scene : str
    assets : dict
        Asset by address.
    """

    def __init__(self, scene: str, assets: dict[str, str]) -> None:
        super().__init__()
        self.scene, self.assets = scene, assets

    def open(self, src: Any, ctx: Any) -> Any:
        """Open a source; errors name its scene and asset."""
        name = f"{self.scene}: asset {self.assets.get(src.uri, '?')}"
        return _NamingReader(super().open(src, ctx), name, src.uri)
