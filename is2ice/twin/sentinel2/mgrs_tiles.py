"""Place and time of real Sentinel-2 images: MGRS tiles and orbit numbers.

Sentinel-2 images are cut to the 100 km squares of the Military Grid Reference System, in the square's own
UTM zone, each enlarged to 109.8 km so that neighbours overlap. Only 80S to 84N is gridded so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from pyproj import Transformer

__all__ = ["Tile", "orbit", "tile_at"]

#: Length of a tile's side, m, and of the squares it is named after.
TILE_SIZE, SQUARE = 109_800.0, 100_000.0

_BANDS = "CDEFGHJKLMNPQRSTUVWX"  # 8 degrees each from 80S; X reaches 84N
_COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")  # zones 1, 4, ...; 2, 5, ...; 3, 6, ...
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_FALSE_NORTHING = 10_000_000.0


@dataclass(frozen=True)
class Tile:
    """A Sentinel-2 tile.

    Attributes
    ----------
    zone : int
        UTM zone, 1-60.
    band : str
        MGRS latitude band, C-X.
    square : str
        Two letters of the 100 km square.
    left, top : float
        UTM coordinates of the outer corner of the upper left pixel, m: the square's corner moved outward to
        the next multiple of 60 m counted from the central meridian's false origin and from the equator.
    """

    zone: int
    band: str
    square: str
    left: float
    top: float

    @property
    def name(self) -> str:
        """Such as ``02CNB``."""
        return f"{self.zone:02d}{self.band}{self.square}"

    @property
    def epsg(self) -> int:
        """EPSG code of the UTM zone."""
        return (32600 if self.band >= "N" else 32700) + self.zone

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top, m."""
        return self.left, self.top - TILE_SIZE, self.left + TILE_SIZE, self.top

    @classmethod
    def from_name(cls, name: str) -> Tile:
        """Tile of a name such as ``T02CNB`` or ``02CNB``.

        Raises
        ------
        ValueError
            If no such tile exists.
        """
        text = name.removeprefix("T")
        fault = ValueError(f"tile {name!r}: expected zone, latitude band and square such as T02CNB")
        if len(text) != 5 or not text[:2].isdigit() or not 1 <= int(text[:2]) <= 60 or text[2] not in _BANDS:
            raise fault
        zone, band = int(text[:2]), text[2]
        columns = _COLUMNS[(zone - 1) % 3]
        if text[3] not in columns or text[4] not in _ROWS:
            raise fault
        left = (columns.index(text[3]) + 1) * SQUARE
        row = (_ROWS.index(text[4]) - _row_offset(zone)) % 20
        # Rows repeat every 2000 km; the one whose centre lies in the band is meant.
        for k in range(5):
            bottom = (row + 20 * k) * SQUARE
            tile = _tile(zone, left, bottom, south=band < "N")
            if tile is not None and tile.name == text:
                return tile
        raise ValueError(f"tile {name!r}: square {text[3:]} of zone {zone} does not lie in band {band}")


def _row_offset(zone: int) -> int:
    return 5 if zone % 2 == 0 else 0


def _utm(zone: int, south: bool) -> Transformer:
    return Transformer.from_crs(4326, (32700 if south else 32600) + zone, always_xy=True)


def _tile(zone: int, left: float, bottom: float, south: bool) -> Tile | None:
    """Tile over the 100 km square with this lower left corner; None outside the gridded latitudes."""
    _, lat = _utm(zone, south).transform(left + SQUARE / 2, bottom + SQUARE / 2, direction="INVERSE")
    if not -80.5 <= lat <= 84.5 or (lat < 0) != south:
        return None
    # A square on the border of two bands bears the band of its centre.
    band = _BANDS[int(np.clip((lat + 80.0) // 8, 0, 19))]
    column = round(left / SQUARE) - 1
    if not 0 <= column < 8:
        return None
    row = (round(bottom / SQUARE) + _row_offset(zone)) % 20
    origin = _FALSE_NORTHING if south else 0.0
    top = np.ceil((bottom + SQUARE - origin) / 60.0) * 60.0 + origin
    square = _COLUMNS[(zone - 1) % 3][column] + _ROWS[row]
    return Tile(zone, band, square, float(np.floor(left / 60.0) * 60.0), float(top))


def _zone(lon: float, lat: float) -> int:
    """UTM zone with the exceptions for south-west Norway and Svalbard."""
    lon = (lon + 180.0) % 360.0 - 180.0
    if 56.0 <= lat < 64.0 and 3.0 <= lon < 12.0:
        return 32
    if lat >= 72.0:
        for west, east, zone in ((0, 9, 31), (9, 21, 33), (21, 33, 35), (33, 42, 37)):
            if west <= lon < east:
                return zone
    return int((lon + 180.0) // 6) + 1


def tile_at(lon: float, lat: float) -> Tile:
    """Tile whose 100 km square, in the zone of its longitude, holds a position.

    Parameters
    ----------
    lon, lat : float
        WGS84, degrees.

    Raises
    ------
    ValueError
        Beyond 80S and 84N, where the grid (and Sentinel-2) ends.
    """
    if not -80.0 <= lat <= 84.0:
        raise ValueError(
            f"latitude {lat:.3f}: Sentinel-2's tile grid covers 80S to 84N; choose a centre inside it"
        )
    zone = _zone(lon, lat)
    east, north = _utm(zone, lat < 0).transform(lon, lat)
    tile = _tile(zone, east // SQUARE * SQUARE, north // SQUARE * SQUARE, lat < 0)
    if tile is None:
        raise ValueError(f"position {lon:.4f}, {lat:.4f}: no tile of the grid holds it")
    return tile


# Ascending node before a genuine product, its absolute orbit, and offset to the relative orbit; 143 orbits
# take exactly 10 days. S2A A043324 is R141, S2B A014683 is R071.
_ORBITS = {
    "S2A": (datetime(2023, 10, 8, 17, 24), 43_324, 2),
    "S2B": (datetime(2019, 12, 28, 19, 55), 14_683, -27),
}
_ORBIT_PERIOD = timedelta(days=10) / 143


def orbit(platform: str, time: datetime) -> tuple[int, int]:
    """Absolute and relative orbit number of a Sentinel-2 satellite at a time.

    Parameters
    ----------
    platform : {"S2A", "S2B"}
    time : datetime
        UTC, naive.
    """
    node, number, offset = _ORBITS[platform]
    absolute = number + (time - node) // _ORBIT_PERIOD
    return absolute, (absolute + offset) % 143 + 1
