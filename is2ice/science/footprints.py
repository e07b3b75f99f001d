"""Ground tracks and footprints on a globe that has an antimeridian and two poles.

A track is the positions and times of a beam's photons; a footprint is the outline of an image. Whether one
lies in the other is asked in a plane around the footprint, where no longitude ever jumps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from is2ice.errors import require
from is2ice.science.epoch import EPOCH

if TYPE_CHECKING:
    from pyproj import Transformer
    from shapely.geometry.base import BaseGeometry

__all__ = [
    "GroundTrack",
    "crosses_antimeridian",
    "cut_antimeridian",
    "local_plane",
    "outline",
]

F8 = NDArray[np.float64]

#: Positions are kept about this far apart, m (that of ATL03's geosegments).
SPACING = 20.0


@dataclass(frozen=True)
class GroundTrack:
    """Position and time of the photons of one beam.

    Attributes
    ----------
    granule, beam : str
    strength : {"strong", "weak", "unknown"}
    time : datetime64[ns], shape (n,)
        UTC of the photons.
    longitude, latitude : ndarray, shape (n,)
        Degrees.
    x_atc : ndarray, shape (n,)
        Along-track distance, m, rising.
    """

    granule: str
    beam: str
    strength: str
    time: NDArray[np.datetime64]
    longitude: F8
    latitude: F8
    x_atc: F8

    def line(self, vertices: int = 60) -> BaseGeometry:
        """Return the track as a line of few vertices, cut at the antimeridian."""
        require("shapely")
        from shapely import LineString

        few = np.unique(np.linspace(0, self.time.size - 1, vertices).astype(int))
        longitude = np.unwrap(self.longitude[few], period=360.0)
        if few.size == 1:  # a single position is still somewhere
            few, longitude = few.repeat(2), longitude.repeat(2)
        return cut_antimeridian(LineString(np.column_stack([longitude, self.latitude[few]])))


def utc(delta_time: F8) -> NDArray[np.datetime64]:
    # The leap seconds between GPS and UTC are inside the product's epoch.
    return EPOCH + np.rint(np.asarray(delta_time, float) * 1e9).astype("timedelta64[ns]")


def cut_antimeridian(geometry: BaseGeometry) -> BaseGeometry:
    """Cut a geometry whose longitudes run on past 180 degrees into pieces within -180..180 (RFC 7946, 3.1.9).

    Parameters
    ----------
    geometry : shapely geometry
        Continuous longitudes, in any turn of 360 degrees.
    """
    require("shapely")
    from shapely import affinity, box, union_all

    west, _, east, _ = geometry.bounds
    pieces = []
    for k in range(int(np.floor((west + 180.0) / 360.0)), int(np.floor((east + 180.0) / 360.0)) + 1):
        piece = geometry.intersection(box(360.0 * k - 180.0, -90.0, 360.0 * k + 180.0, 90.0))
        if not piece.is_empty and (piece.area > 0 or piece.length > 0 or geometry.length == 0):
            pieces.append(affinity.translate(piece, xoff=-360.0 * k))
    return pieces[0] if len(pieces) == 1 else union_all(pieces)


def crosses_antimeridian(geometry: BaseGeometry) -> bool:
    """Return True if a geometry has pieces on both sides of the antimeridian."""
    west, _, east, _ = geometry.bounds
    return west <= -180.0 and east >= 180.0


def outline(geometry: BaseGeometry) -> BaseGeometry:
    """Return a footprint as catalogues should give it: a piece drawn the long way round the globe is cut instead.

    Some catalogues give an image across the antimeridian as one polygon from -179 to 179 degrees; no image
    of Sentinel-2 spans half a turn of longitude, so that polygon is meant the short way. One that runs on past 180
    degrees is cut there.
    """
    require("shapely")
    from shapely import make_valid, transform, union_all

    pieces = []
    for piece in getattr(geometry, "geoms", [geometry]):
        west, _, east, _ = piece.bounds
        if east - west > 180.0:
            piece = cut_antimeridian(transform(piece, lambda p: np.column_stack([p[:, 0] % 360.0, p[:, 1]])))
        elif west < -180.0 or east > 180.0:
            piece = cut_antimeridian(piece)
        pieces.append(make_valid(piece))
    return pieces[0] if len(pieces) == 1 else union_all(pieces)


def local_plane(geometry: BaseGeometry) -> tuple[Transformer, BaseGeometry]:
    """Return a plane in metres around a footprint (azimuthal equidistant), and the footprint in it.

    Edges keep straight in longitude and latitude, as GeoJSON means them.
    """
    require("shapely")
    from pyproj import Transformer
    from shapely import segmentize, transform, union_all

    longitude, latitude = _middle(geometry)
    to_plane = Transformer.from_crs(
        "EPSG:4326", f"+proj=aeqd +lat_0={latitude} +lon_0={longitude} +datum=WGS84 +units=m", always_xy=True
    )
    flat = transform(
        segmentize(geometry, 0.25), lambda p: np.column_stack(to_plane.transform(p[:, 0], p[:, 1]))
    )
    # Pieces on both sides of the antimeridian meet again; a hand's breadth closes the seam.
    return to_plane, union_all([piece.buffer(0.5) for piece in getattr(flat, "geoms", [flat])])


def _middle(geometry: BaseGeometry) -> tuple[float, float]:
    from shapely import get_coordinates

    longitude, latitude = get_coordinates(geometry).T
    unit = np.exp(1j * np.radians(longitude)).mean()
    return float(np.degrees(np.angle(unit))), float(0.5 * (latitude.min() + latitude.max()))
