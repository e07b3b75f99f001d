"""Search of Sentinel-2 scenes in STAC catalogues: by track, geometry, time and cloud.

Catalogues differ in names, offsets and signing (:mod:`is2ice.io.catalogs.stac_endpoints`). Results are a
GeoDataFrame with one row a scene, whose ``item`` is what :func:`is2ice.sentinel2.scene.open_scene` opens.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from is2ice.errors import CatalogError, require
from is2ice.io.catalogs.stac_endpoints import Endpoint, catalog_errors, request_io, without_secrets
from is2ice.io.documents import parse_json, read_json
from is2ice.io.icesat2.ground_tracks import ground_tracks
from is2ice.io.urls import local_path, public_url
from is2ice.science.epoch import span, stamp
from is2ice.science.footprints import GroundTrack, crosses_antimeridian, outline

from .areas import search_shape
from .seas import SEAS
from .stac_endpoints import endpoint as site_of

if TYPE_CHECKING:
    import geopandas
    import pystac
    import pystac_client
    from shapely.geometry.base import BaseGeometry

__all__ = [
    "COLUMNS",
    "CatalogError",
    "SceneItem",
    "item_of",
    "scene_frame",
    "scene_map",
    "search_scenes",
]

logger = logging.getLogger("is2ice")

#: Columns of a frame of scenes, besides ``geometry``.
COLUMNS = (
    "scene",
    "time",
    "tile",
    "platform",
    "level",
    "baseline",
    "cloud_cover",
    "collection",
    "endpoint",
    "item",
)


# ---- search ----


def search_scenes(
    where: Any,
    time: tuple[Any, Any] | None = None,
    *,
    endpoint: str | Endpoint | pystac_client.Client = "earth_search",
    cloud: float | None = None,
    within: float = 80.0,
    collections: Iterable[str] | None = None,
    beams: str | Iterable[str] | None = None,
    limit: int | None = 2000,
) -> geopandas.GeoDataFrame:
    """Sentinel-2 scenes that a track or an area meets.

    Parameters
    ----------
    where : ICESat-2 granule, segments, GroundTrack(s), (west, south, east, north) or shapely geometry
        Degrees; west > east crosses the antimeridian, and a track may too.
    time : (start, end), optional
        UTC, an end given as a day includes that day; for a track by default its own time and ``within`` around it.
    endpoint : str, Endpoint or pystac_client.Client
        A name of :func:`is2ice.io.catalogs.stac_endpoints.endpoints`, the address of a STAC API, a record that also
        sets retries and timeout of requests, or an open client.
    cloud : float, optional
        Greatest cloud cover stated, percent. Catalogues' own numbers are poor over ice; scenes that state
        none are kept.
    within : float
        Minutes around a track.
    collections : iterable of str, optional
        By default those of the endpoint.
    beams : optional
        As for :func:`is2ice.io.icesat2.ground_tracks.ground_tracks`.
    limit : int, optional
        Most items taken from the catalogue.

    Returns
    -------
    geopandas.GeoDataFrame
        :data:`COLUMNS` and ``geometry`` (EPSG:4326, cut at the antimeridian), by time. Scenes at several
        processing baselines are all there; see ``baseline``.

    Raises
    ------
    CatalogError
        The catalogue does not answer, or not as a STAC API does.
    ValueError
        An area without a time.
    """
    given = None if isinstance(endpoint, str | Endpoint) else endpoint
    site = site_of(endpoint) if isinstance(endpoint, str | Endpoint) else _site_of_client(endpoint)
    shape, during, tracks = _wanted(where, time, within, beams)
    names = list(collections) if collections is not None else list(site.collections)
    api = site.client() if given is None else given
    found: dict[tuple[str | None, str], pystac.Item] = {}
    # Pieces on the two sides of the antimeridian are asked for one by one: servers disagree on what a
    # geometry across it means. Each asks for its box, which over-selects; positions decide below.
    for piece in getattr(shape, "geoms", [shape]):
        query: dict[str, Any] = {"bbox": _padded(piece), "datetime": "/".join(stamp(t, "ms") for t in during)}
        if names:
            query["collections"] = names
        with catalog_errors(site, "searched"):
            for item in _items_of(api.search(**query, limit=100, max_items=limit), limit, site.name):
                found[item.collection_id, item.id] = item
    frame = scene_frame(found.values(), endpoint=site.name)
    frame = frame[_met(frame, shape, tracks)] if len(frame) else frame
    if cloud is not None and len(frame):
        frame = frame[~(frame["cloud_cover"] > cloud)]
    logger.info("%s: %d scenes found, %d kept", site.name, len(found), len(frame))
    return frame.reset_index(drop=True)


def _is_area(where: Any) -> bool:
    """Return True for a box or polygons; tracks, and granules by name, are none."""
    if isinstance(where, tuple):
        return len(where) == 4 and not isinstance(where[0], GroundTrack)
    text = os.fspath(where) if isinstance(where, str | os.PathLike) else ""
    file = text.lower().endswith((".json", ".geojson", ".gpkg", ".shp", ".fgb"))
    return (
        hasattr(where, "__geo_interface__")
        or isinstance(where, Mapping)
        or file
        or "(" in text
        or text in SEAS
    )


def _site_of_client(client: Any) -> Endpoint:
    """Endpoint of an open client: a named one, if it has its address."""
    href = client.get_self_href() if hasattr(client, "get_self_href") else None
    return site_of(str(href)) if href else Endpoint(name="client", url="")


def _wanted(
    where: Any, time: Any, within: float, beams: Any
) -> tuple[BaseGeometry, tuple[Any, Any], list[GroundTrack]]:
    """Geometry to search, cut at the antimeridian, span of time, and the tracks of which it is made."""
    require("shapely")
    from shapely import union_all
    from shapely.geometry.base import BaseGeometry

    shape: BaseGeometry | None = None
    if isinstance(where, BaseGeometry) or _is_area(where):
        shape = search_shape(where, "search_scenes")
    if shape is not None:
        if time is None:
            raise ValueError("search_scenes: an area needs time=(start, end)")
        return shape, span(time), []
    tracks = ground_tracks(where, beams)
    if not tracks:
        raise ValueError("search_scenes: no photons in the tracks given, so nowhere to search")
    shape = union_all([track.line(240) for track in tracks])
    if time is not None:
        return shape, span(time), tracks
    margin = np.timedelta64(round(within * 60e9), "ns")
    during = min(t.time.min() for t in tracks) - margin, max(t.time.max() for t in tracks) + margin
    return shape, during, tracks


def _items_of(search: Any, limit: int | None, where: str) -> Iterator[pystac.Item]:
    """Items of all pages of a search, with a warning where the catalogue says that it holds more."""
    import pystac

    if not hasattr(search, "pages_as_dicts"):
        yield from search.items()
        return
    seen: set[tuple[Any, Any]] = set()
    matched: int | None = None
    for page in search.pages_as_dicts():
        said = page.get("numberMatched", (page.get("context") or {}).get("matched"))
        matched = int(said) if isinstance(said, int | float) else matched
        for feature in page.get("features") or []:
            try:
                item = pystac.Item.from_dict(_tidied(feature), preserve_dict=False)
            except (
                KeyError,
                TypeError,
                ValueError,
                AttributeError,
                pystac.STACError,
                pystac.STACTypeError,
            ) as fault:
                name = feature.get("id") if isinstance(feature, Mapping) else feature
                logger.warning(
                    "%s: %s is no STAC item (%s: %s); left out", where, name, type(fault).__name__, fault
                )
                continue
            seen.add((item.collection_id, item.id))
            yield item
            if limit is not None and len(seen) >= limit:
                break
    if matched is not None and len(seen) < matched:
        why = (
            f"limit={limit} leaves out the rest"
            if limit is not None and len(seen) >= limit
            else "the rest did not come"
        )
        logger.warning("%s: %d scenes match, %d were taken: %s", where, matched, len(seen), why)


def _tidied(feature: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item in which null fields are absent and absent ones that are decoration have their empty value."""
    given = {k: v for k, v in feature.items() if v is not None}
    properties = dict(given.get("properties") or {})
    if properties.get("datetime") is None and properties.get("start_datetime") is not None:
        properties["datetime"] = properties["start_datetime"]
    assets = {
        k: v for k, v in dict(given.get("assets") or {}).items() if isinstance(v, Mapping) and v.get("href")
    }
    links = [v for v in given.get("links") or [] if isinstance(v, Mapping) and v.get("href") and v.get("rel")]
    empty: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "geometry": None,
        "stac_extensions": [],
    }
    return {**empty, **given, "properties": properties, "assets": assets, "links": links}


def _met(frame: geopandas.GeoDataFrame, shape: BaseGeometry, tracks: list[GroundTrack]) -> NDArray[np.bool_]:
    """Scenes that the area meets; of tracks, also those that only positions between its vertices lie in."""
    from shapely import contains_xy, prepare

    met = frame.intersects(shape).to_numpy(copy=True)
    for i in np.flatnonzero(~met):
        outline_ = frame.geometry.iloc[i]
        prepare(outline_)
        met[i] = any(contains_xy(outline_, t.longitude[::5], t.latitude[::5]).any() for t in tracks)
    return met


def _padded(piece: BaseGeometry, degrees: float = 0.05) -> list[float]:
    west, south, east, north = piece.bounds
    wide = degrees / max(np.cos(np.radians(min(abs(south), abs(north)))), 0.05)
    return [
        max(west - wide, -180.0),
        max(south - degrees, -90.0),
        min(east + wide, 180.0),
        min(north + degrees, 90.0),
    ]


# ---- results ----


def scene_frame(items: Iterable[Any], *, endpoint: str = "") -> geopandas.GeoDataFrame:
    """STAC items as a frame with one row a scene.

    Parameters
    ----------
    items : iterable of pystac.Item, dict, or paths of item files
    endpoint : str
        Endpoint that the items come from.

    Returns
    -------
    geopandas.GeoDataFrame
        :data:`COLUMNS` and ``geometry``; ``item`` is the item's dictionary.
    """
    require("geopandas", "shapely")
    import geopandas
    import pandas as pd
    from shapely.errors import ShapelyError
    from shapely.geometry import shape

    rows, shapes = [], []
    for one in items:
        document = item_of(one)
        if not document.get("geometry"):
            logger.warning("%s: the item has no geometry; left out", document.get("id"))
            continue
        try:
            if (around := outline(shape(document["geometry"]))).is_empty:
                raise ValueError("it is empty")
            row = SceneItem.parse(document).row()
        except CatalogError as fault:
            logger.warning("%s; left out", fault)
            continue
        except (LookupError, TypeError, ValueError, AttributeError, ShapelyError) as fault:
            logger.warning(
                "%s: the geometry of the item is none (%s: %s); left out",
                document.get("id"),
                type(fault).__name__,
                fault,
            )
            continue
        rows.append(row | {"endpoint": endpoint})
        shapes.append(around)
    frame = geopandas.GeoDataFrame(
        pd.DataFrame(rows, columns=list(COLUMNS)), geometry=shapes, crs="EPSG:4326"
    )
    frame["time"] = pd.to_datetime(frame["time"], utc=True, format="ISO8601").dt.tz_localize(None)
    frame["cloud_cover"] = frame["cloud_cover"].astype(float)
    return frame.sort_values(["time", "scene"], ignore_index=True)


def item_of(source: Any) -> dict[str, Any]:
    """Return the dictionary of a STAC item given as such, as pystac.Item, a row of a frame, a path or an address."""
    require("pystac")
    import pystac

    if isinstance(source, Mapping) and "assets" in source:
        return dict(source)
    if isinstance(source, pystac.Item):
        source.make_asset_hrefs_absolute()
        return source.to_dict(include_self_link=False, transform_hrefs=False)
    if hasattr(source, "get") and isinstance(source.get("item"), Mapping):
        return dict(source["item"])
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        try:
            return item_of(_read_item(text))
        except MemoryError:
            raise
        except Exception as fault:  # it holds the address as it was given
            where, said = public_url(text) if "://" in text else text, without_secrets(str(fault), text)
            raise CatalogError(f"{where}: cannot be read as a STAC item: {said}") from None
    raise CatalogError(f"a STAC item is needed; got {type(source).__name__}")


def _read_item(where: str) -> pystac.Item:
    """Read a STAC item from a path or an address."""
    import pystac

    if "://" in where and not where.startswith("file:"):
        text = request_io(12, 30.0).read_text(where)
        document = parse_json(text, public_url(where), error=CatalogError)
    else:
        where = os.path.abspath(local_path(where))
        document = read_json(where, error=CatalogError)
    if not isinstance(document, Mapping) or not isinstance(document.get("assets"), Mapping):
        raise CatalogError("no item of a STAC catalogue: it has no assets")
    item = pystac.Item.from_dict(dict(document))
    item.set_self_href(where)
    return item


_NAME = re.compile(r"MSI(L1C|L2A)_\d{8}T\d{6}_N(\d\d)(\d\d)_")


@dataclass(frozen=True)
class SceneItem:
    """A STAC item of a scene, read once, in the words of any catalogue.

    Attributes
    ----------
    document : mapping
        The item itself.
    scene, time, tile, platform, level : str
        Level "L1C", "L2A" or "".
    baseline : str or None
        Processing baseline, such as "05.00".
    cloud_cover : float
        Percent, NaN if not stated.
    collection : str
    """

    document: Mapping[str, Any] = field(repr=False)
    scene: str
    time: str | None
    tile: str
    platform: str
    level: str
    baseline: str | None
    cloud_cover: float
    collection: str

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> SceneItem:
        """Read the dictionary of an item."""
        p = document.get("properties") or {}
        if not isinstance(p, Mapping) or not isinstance(document.get("assets") or {}, Mapping):
            raise CatalogError(
                f"{document.get('id')}: expected a STAC item, whose properties and assets are objects; fetch it again"
            )
        named_by = (document.get("id"), p.get("s2:product_uri"), p.get("sentinel:product_id"))
        identity = " ".join(map(str, named_by))
        named = _NAME.search(identity)
        baseline = p.get("s2:processing_baseline") or p.get("processing:version")
        if not re.fullmatch(r"\d\d\.\d\d", str(baseline)):
            baseline = f"{named[2]}.{named[3]}" if named else None
        tile = str(p.get("grid:code") or p.get("s2:mgrs_tile") or "").removeprefix("MGRS-")
        if not tile:
            found = re.search(r"_T?(\d\d[A-Z]{3})_", identity)
            tile = found[1] if found else ""
        platform = re.search(r"2([A-D])$", str(p.get("platform", "")).upper())
        return cls(
            document,
            scene=str(document.get("id")),
            time=p.get("datetime") or p.get("start_datetime"),
            tile=tile,
            platform=f"S2{platform[1]}" if platform else str(p.get("platform", "")),
            level=named[1] if named else _level(document),
            baseline=baseline,
            cloud_cover=_number(p.get("eo:cloud_cover")),
            collection=str(document.get("collection", "")),
        )

    @property
    def assets(self) -> Mapping[str, Any]:
        """Assets by name."""
        found = self.document.get("assets") or {}
        return {k: v for k, v in found.items() if isinstance(v, Mapping) and isinstance(v.get("href"), str)}

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the item."""
        return self.document.get("properties") or {}

    def row(self) -> dict[str, Any]:
        """Return the columns of a frame of scenes."""
        return {f.name: getattr(self, f.name) for f in fields(self)[1:]} | {"item": self.document}


def _number(value: Any) -> float:
    """Return a number that decorates an item; NaN where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def _level(item: Mapping[str, Any]) -> str:
    text = f"{item.get('collection', '')} {item.get('id', '')}".upper()
    return "L1C" if "L1C" in text else "L2A" if "L2A" in text else ""


def scene_map(
    scenes: geopandas.GeoDataFrame, tracks: Any = None, path: str | os.PathLike[str] | None = None
) -> Any:
    """Return a map of scenes and tracks to look at in a browser.

    Parameters
    ----------
    scenes : geopandas.GeoDataFrame
        From :func:`search_scenes`.
    tracks : optional
        As for :func:`is2ice.io.icesat2.ground_tracks.ground_tracks`.
    path : path, optional
        Written there as one HTML file.

    Returns
    -------
    folium.Map
    """
    require("folium", "shapely")
    import folium
    from shapely import transform
    from shapely.geometry import mapping

    lines = [] if tracks is None else ground_tracks(tracks)
    shapes = [*scenes.geometry, *(t.line(240) for t in lines)]
    # Where anything crosses the antimeridian all longitudes are drawn from 0 to 360, so nothing is torn.
    across = any(crosses_antimeridian(s) for s in shapes)

    def drawn(geometry: BaseGeometry) -> dict[str, Any]:
        if not across:
            return mapping(geometry)
        return mapping(transform(geometry, lambda p: np.column_stack([p[:, 0] % 360.0, p[:, 1]])))

    chart = folium.Map(tiles="CartoDB positron", control_scale=True)

    def add(geometry: BaseGeometry, told: dict[str, str], colour: str) -> None:
        feature = {"type": "Feature", "geometry": drawn(geometry), "properties": told}
        style = {"color": colour, "weight": 2, "fillOpacity": 0.1}
        folium.GeoJson(
            {"type": "FeatureCollection", "features": [feature]},
            tooltip=folium.GeoJsonTooltip(list(told)),
            style_function=lambda _: style,
        ).add_to(chart)

    for _, row in scenes.iterrows():
        told = {"scene": row["scene"], "time": f"{row['time']:%Y-%m-%d %H:%M:%S} UTC"}
        add(row.geometry, told | {"cloud %": f"{row['cloud_cover']:.0f}"}, "#2b6ca3")
    for track in lines:
        told = {"granule": track.granule, "beam": track.beam}
        add(track.line(240), told, "#888888" if track.strength == "weak" else "#c1272d")
    if shapes:
        chart.fit_bounds(chart.get_bounds())  # type: ignore[arg-type]
    if path is not None:
        chart.save(os.fspath(path))
    return chart
