"""Seas by name: boxes around them, to search in. Rough on purpose: photons decide what is sea ice."""

from __future__ import annotations

from is2ice.errors import CatalogError

__all__ = ["SEAS", "sea"]

#: West, south, east, north, degrees; west > east crosses the antimeridian.
SEAS: dict[str, tuple[float, float, float, float]] = {
    "amundsen_sea": (-140.0, -78.0, -100.0, -60.0),
    "antarctic": (-180.0, -79.0, 180.0, -55.0),
    "arctic": (-180.0, 60.0, 180.0, 90.0),
    "baffin_bay": (-80.0, 60.0, -45.0, 80.0),
    "barents_sea": (15.0, 68.0, 65.0, 82.0),
    "beaufort_sea": (-160.0, 68.0, -120.0, 80.0),
    "bellingshausen_sea": (-100.0, -75.0, -60.0, -60.0),
    "bering_sea": (160.0, 52.0, -157.0, 66.5),
    "central_arctic": (-180.0, 80.0, 180.0, 90.0),
    "chukchi_sea": (175.0, 66.0, -156.0, 76.0),
    "east_siberian_sea": (140.0, 68.0, 180.0, 80.0),
    "greenland_sea": (-45.0, 65.0, 15.0, 83.0),
    "hudson_bay": (-96.0, 51.0, -64.0, 71.0),
    "indian_ocean_sector": (20.0, -70.0, 90.0, -55.0),
    "kara_sea": (55.0, 68.0, 105.0, 82.0),
    "laptev_sea": (100.0, 70.0, 140.0, 82.0),
    "pacific_ocean_sector": (90.0, -70.0, 160.0, -55.0),
    "ross_sea": (160.0, -78.5, -140.0, -60.0),
    "sea_of_okhotsk": (135.0, 43.0, 165.0, 63.0),
    "weddell_sea": (-60.0, -78.5, 20.0, -55.0),
}


def sea(name: str) -> tuple[float, float, float, float]:
    """Box of a sea.

    Raises
    ------
    CatalogError
        Not one of those named here.
    """
    key = name.strip().lower().replace(" ", "_").replace("-", "_")
    if key not in SEAS:
        raise CatalogError(f"{name!r}: no such sea; known are {', '.join(SEAS)}")
    return SEAS[key]
