"""STAC items and collections of simulated Sentinel-2 images, in the words of public catalogues."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from is2ice.errors import require
from is2ice.twin.server.granule_items import bounding_box

from .mgrs_tiles import orbit

if TYPE_CHECKING:
    import pystac
    from numpy.typing import NDArray

    from .image import Image

__all__ = ["ASSETS", "SCL_CLASSES", "add_to_collection", "image_item"]

_COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
_SCHEMA = "https://stac-extensions.github.io/{}/schema.json"
_EXTENSIONS = [
    _SCHEMA.format(name)
    for name in (
        "eo/v1.1.0",
        "projection/v2.0.0",
        "raster/v1.1.0",
        "view/v1.0.0",
        "grid/v1.1.0",
        "mgrs/v1.0.0",
        "sat/v1.0.0",
        "sentinel-2/v1.0.0",
        "classification/v2.0.0",
    )
]

#: Asset of each band: name in the catalogue, title, resolution (m), centre and width (um).
ASSETS: dict[str, tuple[str, str, int, float, float]] = {
    "B02": ("blue", "Blue - 10m", 10, 0.490, 0.098),
    "B03": ("green", "Green - 10m", 10, 0.560, 0.045),
    "B04": ("red", "Red - 10m", 10, 0.665, 0.038),
    "B08": ("nir", "NIR 1 - 10m", 10, 0.842, 0.145),
    "B11": ("swir16", "SWIR 1.6μm - 20m", 20, 1.610, 0.143),
}
SCL_CLASSES = (
    "no_data",
    "saturated_or_defective",
    "dark_area_pixels",
    "cloud_shadows",
    "vegetation",
    "not_vegetated",
    "water",
    "unclassified",
    "cloud_medium_probability",
    "cloud_high_probability",
    "thin_cirrus",
    "snow",
)
#: Property of an item for each scene class.
_SHARES = (
    "nodata_pixel",
    "saturated_defective_pixel",
    "dark_features",
    "cloud_shadow",
    "vegetation",
    "not_vegetated",
    "water",
    "unclassified",
    "medium_proba_clouds",
    "high_proba_clouds",
    "thin_cirrus",
    "snow_ice",
)


def _band(name: str) -> dict[str, Any]:
    common, _, _, centre, width = ASSETS[name]
    return {"name": name, "common_name": common, "center_wavelength": centre, "full_width_half_max": width}


def _grid(image: Image, step: int) -> dict[str, Any]:
    rows, columns = image.rows * 10 // step, image.columns * 10 // step
    return {
        "proj:shape": [rows, columns],
        "proj:transform": [step, 0, image.left, 0, -step, image.top],
        "gsd": step,
    }


def _properties(image: Image, counts: NDArray[Any]) -> dict[str, Any]:
    total = max(int(counts[1:].sum()), 1)
    share = {
        f"s2:{name}_percentage": round(100.0 * int(n) / (total if k else max(int(counts.sum()), 1)), 6)
        for k, (name, n) in enumerate(zip(_SHARES, counts, strict=True))
    }
    absolute, relative = orbit(image.platform, image.time)
    made = f"{image.time + timedelta(hours=4, minutes=17):%Y-%m-%dT%H:%M:%S}.000000Z"
    unit = {"S2A": "sentinel-2a", "S2B": "sentinel-2b"}[image.platform]
    stamp = f"{image.time:%Y%m%dT%H%M%S}"
    tile = image.tile
    return {
        "platform": unit,
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": round(sum(share[f"s2:{_SHARES[k]}_percentage"] for k in (8, 9, 10)), 6),
        "proj:code": f"EPSG:{tile.epsg}",
        "proj:centroid": {"lat": round(image.centre[1], 5), "lon": round(image.centre[0], 5)},
        "grid:code": f"MGRS-{tile.name}",
        "mgrs:utm_zone": tile.zone,
        "mgrs:latitude_band": tile.band,
        "mgrs:grid_square": tile.square,
        "view:sun_elevation": round(image.sun[0], 6),
        "view:sun_azimuth": round(image.sun[1], 6),
        "view:incidence_angle": 0.0,
        "sat:relative_orbit": relative,
        "sat:absolute_orbit": absolute,
        "s2:processing_baseline": image.baseline,
        "s2:product_type": f"S2MSI{image.level[1:].upper()}",
        "s2:product_uri": f"{image.name}.SAFE",
        "s2:generation_time": made,
        "s2:datatake_id": f"G{image.platform}_{stamp}_{absolute:06d}_N{image.baseline}",
        "s2:datatake_type": "INS-NOBS",
        **(share if image.level == "l2a" else {}),
    }


def image_item(image: Image, counts: NDArray[Any], offset: int, offset_applied: bool) -> pystac.Item:
    """STAC item of an image, its assets beside it.

    Parameters
    ----------
    image : Image
    counts : ndarray, shape (12,)
        Pixels of each scene class.
    offset : int
        Number that the processing baseline adds to digital numbers.
    offset_applied : bool
        True if it was taken out of the files again.
    """
    require("pystac", "shapely")
    import pystac
    from shapely.geometry import mapping

    footprint = image.footprint()
    properties = _properties(image, counts)
    if image.level == "l2a":
        properties["earthsearch:boa_offset_applied"] = offset_applied
    item = pystac.Item(
        id=image.name,
        geometry=mapping(footprint),
        bbox=bounding_box(footprint),
        datetime=image.time.replace(tzinfo=UTC),
        properties=properties,
        collection=f"sentinel-2-{image.level}",
        stac_extensions=_EXTENSIONS,
    )

    def add(key: str, file: str, title: str, step: int, roles: list[str], **fields: Any) -> None:
        extra = {**_grid(image, step), **fields}
        item.add_asset(
            key, pystac.Asset(f"./{file}.tif", title, media_type=_COG_TYPE, roles=roles, extra_fields=extra)
        )

    for name, (key, title, step, _, _) in ASSETS.items():
        number = {
            "nodata": 0,
            "data_type": "uint16",
            "spatial_resolution": step,
            "scale": 0.0001,
            "offset": -offset / 10_000 if offset else 0,
        }
        add(
            key,
            name,
            title,
            step,
            ["data", "reflectance"],
            **{"eo:bands": [_band(name)], "raster:bands": [number]},
        )
    byte = {"nodata": 0, "data_type": "uint8"}
    if image.level == "l2a":
        classes = [{"value": k, "name": n} for k, n in enumerate(SCL_CLASSES)]
        band = byte | {"spatial_resolution": 20, "classification:classes": classes}
        add("scl", "SCL", "Scene classification map (SCL)", 20, ["data"], **{"raster:bands": [band]})
    colours = [_band(b) for b in ("B04", "B03", "B02")]
    bands = [byte | {"spatial_resolution": 10}] * 3
    add("visual", "TCI", "True color image", 10, ["visual"], **{"eo:bands": colours, "raster:bands": bands})
    return item


def add_to_collection(item: pystac.Item, home: Path) -> Path:
    """Write an item into its folder and renew the collection one folder up from all items in it.

    Returns
    -------
    Path
        Path of the item.
    """
    import pystac
    from shapely.geometry import shape

    path = home / f"{home.name}.json"
    document = item.to_dict(include_self_link=False, transform_hrefs=False)
    document["links"] = [{"rel": "collection", "href": "../collection.json", "type": "application/json"}]
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    items = [json.loads(p.read_text()) for p in sorted(home.parent.glob("*/*.json"))]
    boxes = [bounding_box(shape(i["geometry"])) for i in items]
    across = any(b[0] > b[2] for b in boxes)
    west, east = (-180.0, 180.0) if across else (min(b[0] for b in boxes), max(b[2] for b in boxes))
    whole = [west, min(b[1] for b in boxes), east, max(b[3] for b in boxes)]
    times = sorted(datetime.fromisoformat(i["properties"]["datetime"]) for i in items)
    level = {"l2a": "2A", "l1c": "1C"}[item.collection_id.rsplit("-", 1)[1] if item.collection_id else "l2a"]
    collection = pystac.Collection(
        id=str(item.collection_id),
        title=f"Sentinel-2 Level-{level}, simulated",
        description="Images of a simulated sea-ice scene in the layout of the Copernicus Sentinel-2 archive. "
        "Not satellite data.",
        license="CC0-1.0",
        keywords=["sentinel-2", "sea ice", "simulation"],
        extent=pystac.Extent(pystac.SpatialExtent([whole]), pystac.TemporalExtent([[times[0], times[-1]]])),
    )
    summaries = {"platform": sorted({i["properties"]["platform"] for i in items}), "instruments": ["msi"]}
    document = collection.to_dict(include_self_link=False) | {"summaries": summaries}
    document["links"] = [
        {"rel": "item", "href": f"./{p.parent.name}/{p.name}", "type": "application/geo+json"}
        for p in sorted(home.parent.glob("*/*.json"))
    ]
    (home.parent / "collection.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    return path
