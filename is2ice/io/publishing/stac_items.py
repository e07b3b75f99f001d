"""STAC of published tracks: an item a track with its true footprint, a collection, an index as geoparquet."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from is2ice import schema
from is2ice.errors import require
from is2ice.io.icesat2.ground_tracks import ground_tracks
from is2ice.io.stores.declarations import Declaration, who
from is2ice.version import __version__

__all__ = ["EXTENSIONS", "bounding_box", "collection_of", "declared_item", "geoparquet_of", "item_of_track"]

_BASE = "https://stac-extensions.github.io"
EXTENSIONS = {
    "datacube": f"{_BASE}/datacube/v2.2.0/schema.json",
    "file": f"{_BASE}/file/v2.1.0/schema.json",
    "processing": f"{_BASE}/processing/v1.2.0/schema.json",
    "projection": f"{_BASE}/projection/v2.0.0/schema.json",
    "zarr": f"{_BASE}/zarr/v1.1.0/schema.json",
}
ZARR = "application/vnd.zarr"
VERTICES = 120
#: Attributes of a track that its item repeats.
KEPT = ("beam", "beam_strength", "release", "rgt", "cycle", "inputs", schema.SIMULATED)
#: Platform of simulated tracks, so that a search for those of the satellite does not find them.
SIMULATED_PLATFORM = "icesat-2-simulated"


def bounding_box(geometry: Any) -> list[float]:
    """West, south, east, north; west > east where pieces lie on both sides of the antimeridian (RFC 7946, 5.2)."""
    west, south, east, north = geometry.bounds
    pieces = [g.bounds for g in getattr(geometry, "geoms", [geometry])]
    if west <= -180.0 and east >= 180.0 and len(pieces) > 1:
        west = min(b[0] for b in pieces if b[0] >= 0.0)
        east = max(b[2] for b in pieces if b[2] <= 0.0)
    return [round(float(v), 6) for v in (west, south, east, north)]


def item_of_track(
    track: xr.Dataset, *, href: str, declared: Declaration | None, digest: str, size: int
) -> dict[str, Any]:
    """STAC item of one stored track.

    Parameters
    ----------
    track : xarray.Dataset
        One beam, dims ``(x_atc,)``, with the attributes of its store.
    href : str
        Absolute address of its Zarr group.
    declared : Declaration, optional
        Collection and licence.
    digest : str
        SHA-256 over the files of the group.
    size : int
        Bytes of the group.

    Returns
    -------
    dict
    """
    require("shapely")
    from shapely.geometry import mapping

    attrs = track.attrs
    granule, beam = str(attrs["granule"]), str(attrs["beam"])
    made_by = schema.simulated_by(attrs)
    line = next(iter(ground_tracks(track.load()))).line(VERTICES)
    start, end = (f"{str(attrs[f'time_coverage_{k}'])[:23].rstrip('Z')}Z" for k in ("start", "end"))
    properties: dict[str, Any] = {
        "title": schema.titled(str(attrs.get("title", f"{granule} {beam}")), attrs),
        "datetime": start,
        "start_datetime": start,
        "end_datetime": end,
        "created": attrs["date_created"],
        "platform": SIMULATED_PLATFORM if made_by else "icesat-2",
        "instruments": ["atlas"],
        "proj:code": attrs.get("crs"),
        "processing:level": "L3",
        "processing:lineage": attrs.get("history", ""),
        "processing:software": {"is2ice": attrs.get("is2ice_version", __version__)},
        "cube:dimensions": _dimensions(track),
        "cube:variables": _variables(track),
        **{f"is2ice:{k}": attrs[k] for k in KEPT if k in attrs},
        "is2ice:granule": granule,
    }
    if made_by:
        properties["description"] = f"Simulated by {made_by}; no satellite measured this track."
    links = [{"rel": "collection", "href": "../../../collection.json", "type": "application/json"}]
    if not made_by:  # a simulated granule is in no archive
        links.append(
            {
                "rel": "derived_from",
                "href": f"https://cmr.earthdata.nasa.gov/search/granules.umm_json?producer_granule_id={granule}.h5",
                "type": "application/json",
                "title": granule,
            }
        )
    asset = {
        "href": href,
        "type": ZARR,
        "roles": ["data"],
        "title": "Segments, classes, sea surface and freeboard",
        "zarr:consolidated": True,
        "zarr:node_type": "group",
        "zarr:zarr_format": 3,
        "file:size": size,
        "is2ice:sha256": digest,
    }
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": sorted(EXTENSIONS.values()),
        "id": f"{granule}_{beam}",
        "geometry": mapping(line),
        "bbox": bounding_box(line),
        "properties": properties,
        "assets": {"zarr": asset},
        "links": links,
    }
    return declared_item(item, declared)


def declared_item(item: Mapping[str, Any], declared: Declaration | None) -> dict[str, Any]:
    """Return an item as one of the collection, and under the licence, that is declared."""
    licence = (declared.licence if declared else "") or "other"
    collection = declared.name if declared else "is2ice"
    return {**item, "collection": collection, "properties": {**item["properties"], "license": licence}}


def _dimensions(track: xr.Dataset) -> dict[str, Any]:
    x = track["x_atc"].values
    out: dict[str, Any] = {
        "x_atc": {
            "type": "distance",
            "description": "along-track distance of the segment's lower edge",
            "extent": [float(x[0]), float(x[-1])],
            "step": schema.segment_length(track),
            "unit": "m",
        }
    }
    if "surface" in track.dims:
        out["surface"] = {"type": "class", "values": [str(v) for v in track["surface"].values]}
    return out


def _variables(track: xr.Dataset) -> dict[str, Any]:
    known, out = schema.variables(), {}
    for name in track.data_vars:
        a = track.variables[name]
        if "x_atc" not in a.dims:
            continue
        out[str(name)] = {
            "dimensions": list(map(str, a.dims)),
            "type": "data",
            "unit": a.attrs.get("units", "1"),
        }
        if str(name) in known:
            out[str(name)]["description"] = known[str(name)].long_name
    return out


def collection_of(
    name: str, items: Sequence[Mapping[str, Any]], declared: Declaration | None, hrefs: Sequence[str] = ()
) -> dict[str, Any]:
    """STAC collection of a store from its items.

    Parameters
    ----------
    name : str
    items : sequence of dict
    declared : Declaration, optional
        Title, licence and citation.
    hrefs : sequence of str
        Addresses of the items, from where the collection lies.
    """
    require("shapely")
    from shapely.geometry import GeometryCollection, shape

    starts = [i["properties"]["start_datetime"] for i in items]
    ends = [i["properties"]["end_datetime"] for i in items]
    # Not their union: tracks cross each other, thousands of them in millions of points.
    shapes = [shape(i["geometry"]) for i in items]
    box = bounding_box(GeometryCollection([part for s in shapes for part in getattr(s, "geoms", [s])]))
    made = [{schema.SIMULATED: i["properties"].get(f"is2ice:{schema.SIMULATED}", "")} for i in items]
    count = sum(map(bool, map(schema.simulated_by, made)))
    description = (declared.description if declared else "") or (
        "Sea-ice class, local sea surface and freeboard along ICESat-2 ground tracks."
    )
    if count:
        some = "All tracks" if count == len(items) else f"{count} of {len(items)} tracks"
        description = f"SIMULATED: {some} are simulated; no satellite measured them. {description}"
    out: dict[str, Any] = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": name,
        "title": schema.titled(declared.title if declared else "is2ice tracks", *made),
        "description": description,
        "license": (declared.licence if declared else "") or "other",
        "keywords": ["ICESat-2", "ATL03", "sea ice", "freeboard", *(["simulation"] if count else [])],
        "extent": {
            "spatial": {"bbox": [box]},
            "temporal": {"interval": [[min(starts), max(ends)]]},
        },
        "summaries": {
            "platform": sorted({str(i["properties"]["platform"]) for i in items}),
            "is2ice:release": sorted({str(i["properties"].get("is2ice:release")) for i in items}),
        },
        "links": [{"rel": "item", "href": href, "type": "application/geo+json"} for href in hrefs],
        "assets": {},
    }
    if count:
        made_by = schema.simulated_by(*made).split("; ")
        out["summaries"][f"is2ice:{schema.SIMULATED}"] = made_by
    if declared is not None:
        out["sci:citation"] = declared.citation
        out["stac_extensions"] = [f"{_BASE}/scientific/v1.0.0/schema.json"]
        roles = {"creator": ["producer", "processor"], "publisher": ["host"]}
        told = {role: who(getattr(declared, role)) for role in roles}
        out["providers"] = [
            {"name": one["name"], "roles": roles[role], **({"url": one["url"]} if "url" in one else {})}
            for role, one in told.items()
            if one
        ]
    return out


def geoparquet_of(items: Iterable[Mapping[str, Any]]) -> bytes:
    """Items as one stac-geoparquet file."""
    require("stac_geoparquet")
    from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

    table = parse_stac_items_to_arrow([_flat(item) for item in items]).read_all()
    with tempfile.TemporaryDirectory(prefix="is2ice-") as folder:
        path = Path(folder) / "items.parquet"
        to_parquet(table, path)
        return path.read_bytes()


def _flat(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item whose variables are named but not described: columns must be of one shape in every row."""
    out = dict(item)
    out["properties"] = {k: v for k, v in item["properties"].items() if not k.startswith("cube:")}
    out["properties"]["is2ice:variables"] = sorted(item["properties"]["cube:variables"])
    return out
