"""Identity of an ATL03 file: name, release, orbit, beams, and which of them are strong.

HDF5 paths of these facts live here, those of photons in :mod:`is2ice.io.icesat2.atl03`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import h5py
import numpy as np

from is2ice import schema
from is2ice.errors import GranuleError, TransitionOrbitError
from is2ice.io.remote.hdf5_file import Hdf5, damage

from .geolocation import text

__all__ = ["ORIENTATION", "Identity", "simulation", "whole_number"]

#: Where these facts lie, besides the beams.
PLACES = (
    "METADATA/DatasetIdentification",
    "ancillary_data/granule_id",
    "ancillary_data/release",
    "orbit_info/rgt",
    "orbit_info/cycle_number",
    "orbit_info/sc_orient",
)
#: The twin's line in ``history``, which its ATL03, ATL07 and ATL10 files share.
TWIN = re.compile(r"(is2ice twin): preset (\S+), seed (\S+)")
NAME = re.compile(r"ATL03_(\d{14})_(\d{4})(\d{2})(\d{2})_(\d{3})_(\d{2})")
#: Spot number by orientation (ATL03 ATBD table 7-6); odd spots are strong.
SPOTS = {
    0: {"gt1l": 1, "gt1r": 2, "gt2l": 3, "gt2r": 4, "gt3l": 5, "gt3r": 6},
    1: {"gt1l": 6, "gt1r": 5, "gt2l": 4, "gt2r": 3, "gt3l": 2, "gt3r": 1},
}
ORIENTATION = {0: "backward", 1: "forward", 2: "transition"}


class Identity:
    """Identity of a granule: :class:`is2ice.io.icesat2.atl03.Granule` without its photons.

    Parameters
    ----------
    f : h5py.File
    name : str
        Name of the file, which names the granule if its attributes do not.

    Raises
    ------
    GranuleError
        Not an ATL03 granule, no beam with photons, or a file that contradicts itself.
    """

    id: str
    release: str
    rgt: int | None
    cycle: int | None
    region: int | None
    beams: tuple[str, ...]
    orientation: int | None
    simulated: str

    def __init__(self, f: Hdf5, name: str) -> None:
        self.notes: list[str] = []
        with damage(name):
            self.simulated = simulation(f)
            self._identify(f, name)
            self.beams = self._find_beams(f, name)
        said = {b: whole_number(f[b].attrs.get("atlas_spot_number"), 1, 6) for b in self.beams}
        self._spots = {b: spot for b, spot in said.items() if spot is not None}
        with damage(name, "orbit_info/sc_orient"):
            self.orientation = self._find_orientation(f)

    def _identify(self, f: Hdf5, name: str) -> None:
        meta = f.get("METADATA/DatasetIdentification")
        found = NAME.search(name)
        if found is None and meta is not None:
            found = NAME.search(text(meta.attrs.get("fileName", b"")))
        if found is None and isinstance(f.get("ancillary_data/granule_id"), h5py.Dataset):
            found = NAME.search(text(f["ancillary_data/granule_id"][()]))
        stem = re.sub(r"\.(h5|hdf5?|nc)$", "", name.rsplit("/", 1)[-1]) or "granule"
        self.id = found.group(0) if found else stem
        rgt, cycle, region, release = (int(found.group(i)) for i in (2, 3, 4, 5)) if found else (None,) * 4
        said = _value(f, "ancillary_data/release")
        if said is None and meta is not None:
            said = meta.attrs.get("VersionID")
        if said is not None:
            release = number if (number := whole_number(said, 1, 999)) is not None else release
        if release is None:
            self.notes.append("release unknown: not in ancillary_data, METADATA or the file name")
        self.release = f"{release:03d}" if release is not None else "unknown"
        if "orbit_info" not in f:
            self.notes.append("no orbit_info: orientation from the attributes of the beam groups")
        elif rgt is None:
            rgt = whole_number(_value(f, "orbit_info/rgt"), 1, 1387)
            cycle = whole_number(_value(f, "orbit_info/cycle_number"), 0, 127)
            if rgt is None or cycle is None:
                self.notes.append(
                    "track or cycle unknown: orbit_info holds none that can be, nor does the file name"
                )
        self.rgt, self.cycle, self.region = rgt, cycle, region

    def _find_beams(self, f: Hdf5, name: str) -> tuple[str, ...]:
        groups = [b for b in schema.BEAMS if isinstance(f.get(b), h5py.Group)]
        beams = []
        for beam in groups:
            if f"{beam}/heights/h_ph" in f and f"{beam}/geolocation/ph_index_beg" in f:
                try:
                    some = f.need(f"{beam}/heights/h_ph").shape[0] > 0
                except GranuleError as error:
                    self.notes.append(f"{beam} cannot be read: {error}")
                    continue
                if some:
                    beams.append(beam)
                else:
                    self.notes.append(f"{beam} holds no photon")
            elif f"{beam}/heights" in f or f"{beam}/geolocation" in f:
                lacks = "heights/h_ph" if f"{beam}/heights/h_ph" not in f else "geolocation/ph_index_beg"
                self.notes.append(f"{beam} lacks {lacks} and cannot be read")
        if beams:
            return tuple(beams)
        if self.notes and any(f"{beam}/heights" in f or f"{beam}/geolocation" in f for beam in groups):
            raise GranuleError(f"{name}: no beam can be read: {'; '.join(self.notes)}")
        kind = ""
        for attr in ("short_name", "identifier_product_type"):
            kind = kind or text(f.attrs.get(attr, b""))
        meta = f.get("METADATA/DatasetIdentification")
        if meta is not None:
            kind = kind or text(meta.attrs.get("shortName", b""))
        if groups:
            inside = sorted(f[groups[0]])
            got = f"{groups[0]} holds {', '.join(inside[:6]) or 'nothing'}"
        else:
            got = f"its groups are {', '.join(sorted(f)[:8]) or 'none'}"
        raise GranuleError(
            f"{name}: not an ATL03 granule{f' (it says {kind})' if kind else ''}: expected groups such "
            f"as gt1l/heights and gt1l/geolocation, got: {got}. is2ice starts from ATL03 photons."
        )

    def _find_orientation(self, f: Hdf5) -> int | None:
        orient: int | None = None
        if "orbit_info/sc_orient" in f:
            values = np.unique(np.asarray(f.need("orbit_info/sc_orient")[()]))
            known = values[np.isin(values, list(ORIENTATION))]
            if known.size:
                orient = int(known[0]) if known.size == 1 else 2
            if not known.size or known.size < values.size:
                held = "is empty" if not values.size else f"holds {', '.join(map(str, values[:5]))}"
                self.notes.append(f"orbit_info/sc_orient {held}: expected 0, 1 or 2")
        attrs = [f[b].attrs for b in self.beams]
        words = {text(a["sc_orientation"]).lower() for a in attrs if "sc_orientation" in a}
        by_word = {v: k for k, v in ORIENTATION.items()}
        said = {by_word[w] for w in words if w in by_word}
        if orient is None and len(said) == 1:
            orient = said.pop()
        for beam, spot in self._spots.items():
            if orient in SPOTS and spot != SPOTS[orient][beam]:  # type: ignore[index]
                raise GranuleError(
                    f"{self.id} {beam}: sc_orient {orient} ({ORIENTATION[orient]}) makes it spot "
                    f"{SPOTS[orient][beam]}, but its group says spot {spot}. The file contradicts itself; "  # type: ignore[index]
                    "fetch it again."
                )
        if orient is None:
            self.notes.append(
                "orientation unknown: neither orbit_info/sc_orient nor sc_orientation attributes"
            )
        return orient

    def spot(self, beam: str) -> int | None:
        """ATLAS spot number of a beam (odd strong, even weak), or None when unknown."""
        if self.orientation in SPOTS:
            return SPOTS[self.orientation][beam]  # type: ignore[index]
        return self._spots.get(beam)

    def strength(self, beam: str) -> str:
        """``"strong"`` or ``"weak"``.

        Raises
        ------
        TransitionOrbitError
            While the spacecraft turned (sc_orient 2).
        GranuleError
            When the file does not tell.
        """
        if self.orientation == 2:
            raise TransitionOrbitError(
                f"{self.id}: sc_orient is 2 (transition): the spacecraft was turning and pointing is degraded, so "
                "strong and weak beams cannot be distinguished. Use another granule."
            )
        spot = self.spot(beam)
        if spot is None:
            raise GranuleError(
                f"{self.id} {beam}: strong or weak is unknown: the file has neither orbit_info/sc_orient nor the "
                "atlas_spot_number attribute of its beam groups. Cut the granule again with orbit_info included."
            )
        return "strong" if spot % 2 else "weak"

    def resolve_beams(self, beams: str | Iterable[str] | None = None) -> tuple[str, ...]:
        """Beam names for a selection.

        Parameters
        ----------
        beams : {"strong", "weak", "all"}, name, names or None
            None takes the strong beams, or every beam when the file holds no strong one.

        Raises
        ------
        GranuleError
            For an unknown or absent beam, or a selection that is empty here.
        TransitionOrbitError
        """
        have = {b: self.strength(b) for b in self.beams}
        listing = ", ".join(f"{b} ({s}, spot {self.spot(b)})" for b, s in have.items())
        if beams is None:
            return tuple(b for b in have if have[b] == "strong") or self.beams
        if isinstance(beams, str) and beams in ("strong", "weak", "all"):
            chosen = tuple(b for b, s in have.items() if beams in ("all", s))
            if not chosen:
                raise GranuleError(f"{self.id}: no {beams} beam in the file; it holds {listing}")
            return chosen
        names = (beams,) if isinstance(beams, str) else tuple(beams)
        unknown = [b for b in names if b not in schema.BEAMS]
        if unknown or not names:
            raise GranuleError(
                f"{self.id}: unknown beam {', '.join(map(repr, unknown)) or '(none named)'}; expected 'strong', "
                f"'weak', 'all' or names among {', '.join(schema.BEAMS)}"
            )
        absent = [b for b in names if b not in have]
        if absent:
            why = "; ".join(note for note in self.notes if note.startswith(tuple(absent)))
            raise GranuleError(
                f"{self.id}: no photons of {', '.join(absent)} in the file; it holds {listing}"
                + (f" ({why})" if why else "")
            )
        return names


def simulation(f: h5py.File) -> str:
    """Return the generator, preset and seed of a simulated granule or product; empty for a measured one."""
    if schema.SIMULATED in f.attrs:
        return text(f.attrs[schema.SIMULATED])
    found = TWIN.search(text(f.attrs.get("history", b"")))
    return "{}, preset {}, seed {}".format(*found.groups()) if found else ""


def _value(f: Hdf5, path: str) -> Any:
    """First value of a small dataset; None where there is none."""
    found = f.get(path)
    if not isinstance(found, h5py.Dataset):
        return None
    values = np.ravel(found[()])
    return values[0] if values.size else None


def whole_number(value: Any, low: int, high: int) -> int | None:
    """Return a whole number in a range, of an attribute or a value; None for anything else."""
    if value is None:
        return None
    try:
        number = int(text(value))
    except (ValueError, OverflowError):
        return None
    return number if low <= number <= high else None
