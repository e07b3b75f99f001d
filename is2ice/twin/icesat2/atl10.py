"""ATL10 of the twin: leads, reference surfaces and freeboard, made from an ATL07 granule.

An own small implementation that shares nothing with the package's sea-surface and freeboard rooms. As in
release 006, each beam has its own reference surface, constant within a 10 km section; negative freeboards are set to 0;
and sections without a segment are left out, so that numbers of sections skip them. Filters by ice concentration and
distance from land are left out: an ATL03 granule knows neither.

References
----------
ATL07/ATL10 algorithm description, section 5; weights as genuine ATL10 granules obey them; settings as in their
``ancillary_data/freeboard_estimation``.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from is2ice.errors import GranuleError
from is2ice.schema import BEAMS

from .atl03_layout import set_attrs
from .atl07 import SECTION, make_atl07, section_of
from .atl07_atl10_layout import (
    ATL10,
    BINS,
    SETTINGS,
    copy_context,
    product_path,
    text,
    write_group,
)
from .instrument import GROUND_SPEED

__all__ = ["Leads", "Sections", "find_leads", "make_atl10", "reference_surfaces"]

Array = NDArray[np.float64]
_SET = SETTINGS["ATL10"]["freeboard_estimation"]
#: Added to the distance between a lead's outer segments, m: the footprint.
FOOTPRINT = 11.0
#: Along-track speed for the product's limits in seconds, m/s.
NONE, LEADS, INTERPOLATED, ONE_POINT, END_POINT = -1, 0, 1, 2, 3


@dataclass(frozen=True)
class Leads:
    """Leads of a beam: first segment (from 0), number of segments, height, sigma, distance and length (m)."""

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    height: Array
    sigma: Array
    x: Array
    length: Array


@dataclass(frozen=True)
class Sections:
    """Reference surface of 10 km sections; heights NaN where ``flag`` is -1."""

    x: Array
    height: Array
    sigma: Array
    flag: NDArray[np.int16]
    lead_first: NDArray[np.int32]
    lead_count: NDArray[np.int32]

    def of(self, rows: NDArray[np.int64]) -> Sections:
        """Take some of the sections."""
        return Sections(*(getattr(self, f.name)[rows] for f in fields(self)))


def make_atl10(source: str | Path, path: str | Path, *, smooth: bool = True) -> Path:
    """Write the ATL10 granule of an ATL07 (or ATL03) granule of the twin.

    Parameters
    ----------
    source : str or Path
        ATL07; of an ATL03 granule, ATL07 is made first, in a temporary folder.
    path : str or Path
        The file, or a folder in which the product's own name is used.
    smooth : bool
        Three-point mean of neighbouring reference surfaces (``refsurf_3pt_smoother``). Without it each surface
        is exactly the inverse-variance mean of its leads.

    Returns
    -------
    Path
        The file written. Same input, same bytes.

    Raises
    ------
    GranuleError
        Neither ATL07 nor ATL03.
    """
    with h5py.File(source, "r") as h5:
        product = text(h5.attrs.get("short_name", b""))
        if product == "ATL07":
            return _make(h5, path, smooth)
    if product != "ATL03":
        raise GranuleError(f"{source}: expected ATL07 or ATL03, got {product or 'no short_name'!r}")
    with tempfile.TemporaryDirectory() as folder:
        # Under its own name where that can be made, since this product's name follows from it.
        named = Path(source).name.startswith("ATL03_")
        made = make_atl07(source, folder if named else Path(folder) / "ATL07.h5")
        with h5py.File(made, "r") as h5:
            return _make(h5, path, smooth)


def _make(atl07: h5py.File, path: str | Path, smooth: bool) -> Path:
    beams = [b for b in BEAMS if b in atl07 and atl07[b]["sea_ice_segments/seg_dist_x"].size]
    if not beams:
        raise GranuleError(f"{atl07.filename}: no beam with sea-ice segments; nothing to make ATL10 from")
    clip = text(atl07["ancillary_data/release"][()]).strip() <= "006"
    start = min(float(atl07[b]["sea_ice_segments/seg_dist_x"][:].min()) for b in beams)
    latitude = float(atl07[beams[0]]["sea_ice_segments/latitude"][0])
    path = product_path(atl07, path, "ATL10", latitude)
    part = path.with_name(path.name + ".part")
    times = []
    with h5py.File(part, "w", libver=("earliest", "v110")) as out:
        for beam in beams:
            group = out.create_group(beam)
            description = "Freeboard, leads and reference surfaces of one ground track."
            set_attrs(group, {**dict(atl07[beam].attrs), "Description": description})
            times.append(_beam(group, atl07[beam]["sea_ice_segments"], start, smooth, clip))
        copy_context(out, atl07, "ATL10", path.stem, np.concatenate(times))
    part.replace(path)
    return path


def _values(group: h5py.Group, name: str) -> NDArray:
    values = group[name][:]
    if values.dtype.kind == "f":
        return np.where(np.abs(values) < 1e30, values.astype(float), np.nan)
    return values


def _beam(out: h5py.Group, source: h5py.Group, start: float, smooth: bool, clip: bool) -> Array:
    """Make and write the tables of one beam, negative freeboards set to 0 if asked; times of its segments."""
    quality = source["heights/height_segment_fit_quality_flag"][:]
    height = _values(source, "heights/height_segment_height")
    keep = np.flatnonzero((quality >= 1) & (quality <= 4) & np.isfinite(height))
    # Heights are weighed as the file holds them, so that a reader can repeat the sums.
    segment = {name: _values(source, name)[keep] for name in _SEGMENT_SOURCES.values() if name in source}
    x, ident = segment["seg_dist_x"], segment["height_segment_id"]
    h, sigma = segment["heights/height_segment_height"], segment["heights/height_segment_surface_error_est"]
    ssh = segment["heights/height_segment_ssh_flag"] > 0
    leads = find_leads(x, h, sigma, ssh, ident)
    section = section_of(x, start)
    n = int(section.max(initial=-1)) + 1
    sections = reference_surfaces(leads, start, n, smooth=smooth)
    reference, spread = sections.height[section], sections.sigma[section]
    freeboard, uncertainty = h - reference, np.hypot(sigma, spread)
    freeboard = np.maximum(freeboard, 0.0) if clip else freeboard
    flag = segment["heights/height_segment_ssh_flag"].copy()
    accepted = sections.flag[section_of(leads.x, start)] == LEADS
    for first, count in zip(leads.first[accepted], leads.count[accepted], strict=True):
        flag[first : first + count] = 2
    held, section = np.unique(section, return_inverse=True)
    sections = sections.of(held)
    values: dict[str, dict[str, NDArray]] = {name: {} for name in ATL10}
    for (group, name), there in _SEGMENT_SOURCES.items():
        if there in segment:
            values[group][name] = segment[there]
    for group in ("heights", "geophysical"):
        for name in ("delta_time", "latitude", "longitude"):
            values[f"freeboard_segment/{group}"][name] = segment[name]
    values["freeboard_segment/heights"]["height_segment_ssh_flag"] = flag
    values["freeboard_segment/heights"]["podppd_flag"] = np.zeros(x.size, np.int8)
    values["freeboard_segment"] |= {
        "beam_fb_height": freeboard,
        "beam_fb_unc": uncertainty,
        "beam_fb_quality_flag": np.where(np.isfinite(freeboard), quality[keep], -1),
        "beam_refsurf_ndx": section + 1,
    }
    values["leads"] = _lead_table(leads, segment)
    length = segment["heights/height_segment_length_seg"]
    values["reference_surface_section"] = _section_table(
        sections, leads, segment, section, freeboard, uncertainty, length
    )
    _write(out, values)
    return segment["delta_time"]


#: Where each passed-through variable of ATL10 comes from in ATL07.
_SEGMENT_SOURCES: dict[tuple[str, str], str] = {
    **{
        ("freeboard_segment", n): n
        for n in (
            "delta_time",
            "latitude",
            "longitude",
            "seg_dist_x",
            "height_segment_id",
            "geoseg_beg",
            "geoseg_end",
        )
    },
    **{
        ("freeboard_segment/heights", n): f"heights/{n}"
        for n in (
            "height_segment_height",
            "height_segment_length_seg",
            "height_segment_rms",
            "height_segment_ssh_flag",
            "height_segment_type",
            "height_segment_w_gaussian",
            "height_segment_confidence",
        )
    },
    ("freeboard_segment/heights", "height_segment_sigma"): "heights/height_segment_surface_error_est",
    **{
        ("freeboard_segment/heights", n): f"stats/{n}"
        for n in (
            "photon_rate",
            "backgr_r_200",
            "backgr_r_25",
            "background_r_norm",
        )
    },
    **{
        ("freeboard_segment/geophysical", f"height_segment_{n}"): f"geophysical/height_segment_{n}"
        for n in (
            "dac",
            "earth",
            "earth_free2mean",
            "geoid",
            "geoid_free2mean",
            "load",
            "lpe",
            "mss",
            "ocean",
        )
    },
    ("freeboard_segment/geophysical", "height_segment_tide_pole"): "geophysical/height_segment_pole",
}


def find_leads(x: Array, height: Array, sigma: Array, ssh: NDArray[np.bool_], ident: NDArray) -> Leads:
    """Leads: runs of consecutive sea-surface segments, weighed towards their lowest.

    ``w_i = exp(-((h_i - h_min) / sigma_i)^2)``, ``a_i = w_i / sum(w)``, ``h = sum(a_i h_i)``,
    ``sigma = sqrt(sum(a_i^2 sigma_i^2))``.

    Parameters
    ----------
    x, height, sigma : (n,) array
        m.
    ssh : (n,) array of bool
    ident : (n,) array of int
        Segment identifiers; a missing one breaks a lead.
    """
    joined = ssh[1:] & ssh[:-1] & (np.diff(ident) == 1)
    first = np.flatnonzero(ssh & ~np.concatenate([[False], joined]))
    last = np.flatnonzero(ssh & ~np.concatenate([joined, [False]]))
    rows = []
    for a, b in zip(first, last + 1, strict=True):
        h, s = height[a:b], sigma[a:b]
        w = np.exp(-(((h - h.min()) / s) ** 2))
        w /= w.sum()
        rows.append((w @ h, np.sqrt((w**2) @ (s**2)), x[a:b].mean(), x[b - 1] - x[a] + FOOTPRINT))
    table = np.reshape(np.array(rows, float), (-1, 4))
    return Leads(first, last + 1 - first, *table.T)


def reference_surfaces(leads: Leads, start: float, n: int, *, smooth: bool = True) -> Sections:
    """Return the reference surface of each of `n` sections of 10 km from `start` on.

    Leads are averaged with inverse variance; a mean outside +-0.5 m is refused. Empty sections are filled as
    the product says: on a straight line between two surfaces at most 30 s and 0.05 m apart (flag 1) or in the two
    adjacent sections (flag 2); with the height of the one adjacent section that has one (flag 3). Filled
    surfaces have a sigma of 0.05 m. The rest stays empty (flag -1).
    """
    x = start + SECTION * (np.arange(n) + 0.5)
    middle = x.copy()
    height, sigma = np.full(n, np.nan), np.full(n, np.nan)
    first, count = np.full(n, -1, np.int32), np.zeros(n, np.int32)
    number = section_of(leads.x, start)
    for k in range(n):
        here = np.flatnonzero(number == k)
        if here.size < _SET["lb_n_f"]:
            continue
        alpha = leads.sigma[here] ** -2.0
        alpha /= alpha.sum()
        mean = float(alpha @ leads.height[here])
        if not _SET["lb_refsurf"] <= mean <= _SET["ub_refsurf"]:
            continue
        height[k], sigma[k] = mean, np.sqrt((alpha**2) @ (leads.sigma[here] ** 2))
        first[k], count[k], x[k] = here[0], here.size, leads.x[here].mean()
    valid = np.isfinite(height)
    if smooth:
        whole = np.flatnonzero(valid[:-2] & valid[1:-1] & valid[2:]) + 1 if n > 2 else np.empty(0, int)
        raw, raw_sigma = height.copy(), sigma.copy()
        height[whole] = (raw[whole - 1] + raw[whole] + raw[whole + 1]) / 3.0
        sigma[whole] = (
            np.sqrt(raw_sigma[whole - 1] ** 2 + raw_sigma[whole] ** 2 + raw_sigma[whole + 1] ** 2) / 3.0
        )
    flag = np.where(valid, LEADS, NONE).astype(np.int16)
    _fill(middle, height, sigma, flag)
    return Sections(x, height, sigma, flag, first, count)


def _fill(x: Array, height: Array, sigma: Array, flag: NDArray[np.int16]) -> None:
    """Fill sections without leads, in place."""
    known = np.flatnonzero(flag == LEADS)
    for k in np.flatnonzero(flag == NONE):
        before, after = known[known < k], known[known > k]
        near = [int(i) for i in (*before[-1:], *after[:1])]
        adjacent = [i for i in near if abs(i - k) == 1]
        if len(near) == 2:
            gap = (x[near[1]] - x[near[0]]) / GROUND_SPEED
            step = abs(height[near[1]] - height[near[0]])
            if gap <= _SET["maxgaptime"] and step <= _SET["maxgapht"]:
                flag[k] = INTERPOLATED
            elif len(adjacent) == 2:
                flag[k] = ONE_POINT
            if flag[k] != NONE:
                height[k] = np.interp(x[k], x[near], height[near])
        if flag[k] == NONE and adjacent:
            flag[k], height[k] = END_POINT, height[adjacent[0]]
        if flag[k] != NONE:
            sigma[k] = _SET["refsurf_sd_fill"]


# ---- tables ----


def _lead_table(leads: Leads, segment: dict[str, NDArray]) -> dict[str, NDArray]:
    def mean(name: str) -> Array:
        total = np.concatenate([[0.0], np.cumsum(segment[name] - segment[name][:1].sum())])
        return (total[leads.first + leads.count] - total[leads.first]) / leads.count + segment[name][:1].sum()

    # Longitudes jump at the antimeridian; the middle segment's serves.
    middle = leads.first + leads.count // 2
    return {
        "delta_time": mean("delta_time"),
        "latitude": mean("latitude"),
        "longitude": segment["longitude"][middle],
        "lead_dist_x": leads.x,
        "lead_height": leads.height,
        "lead_length": leads.length,
        "lead_sigma": leads.sigma,
        "ssh_n": leads.count,
        "ssh_ndx": leads.first + 1,
    }


def _section_table(
    sections: Sections,
    leads: Leads,
    segment: dict[str, NDArray],
    section: NDArray[np.int64],
    freeboard: Array,
    uncertainty: Array,
    length: Array,
) -> dict[str, NDArray]:
    n = sections.x.size
    x = segment["seg_dist_x"]
    known = np.isfinite(freeboard)

    def total(weight: Array) -> Array:
        return np.bincount(section[known], weight[known], n).astype(float)

    covered = total(length)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, spread = total(length * freeboard) / covered, total(length * uncertainty) / covered
    histogram = np.zeros((n, BINS["ATL10"]), np.int64)
    code = np.round(freeboard[known] / _SET["b_fr"]).astype(int)
    inside = (code >= 0) & (code < BINS["ATL10"])
    np.add.at(histogram, (section[known][inside], code[inside]), 1)
    turn = np.unwrap(segment["longitude"], period=360.0)
    slope = np.full(n, np.nan)
    for k in np.flatnonzero(sections.lead_count > 1):
        mine = slice(sections.lead_first[k], sections.lead_first[k] + sections.lead_count[k])
        if np.ptp(leads.x[mine]) > 0:
            slope[k] = np.degrees(
                np.arctan(np.polyfit(leads.x[mine] - leads.x[mine].mean(), leads.height[mine], 1)[0])
            )
    return {
        "delta_time": np.interp(sections.x, x, segment["delta_time"]),
        "latitude": np.interp(sections.x, x, segment["latitude"]),
        "longitude": (np.interp(sections.x, x, turn) + 180.0) % 360.0 - 180.0,
        "beam_refsurf_dist_x": sections.x,
        "beam_fb_hist_refsurf": histogram,
        "beam_fb_length_refsurf_sum": np.where(covered > 0, covered, np.nan),
        "beam_fb_refsurf": mean,
        "beam_fb_unc_refsurf": spread,
        "beam_lead_n": sections.lead_count,
        "beam_lead_ndx": np.where(sections.lead_count > 0, sections.lead_first + 1, -1),
        "beam_refsurf_alongtrack_slope": slope,
        **{
            f"beam_refsurf_{to}": np.interp(sections.x, x, segment[f"geophysical/height_segment_{to}"])
            for to in ("earth_free2mean", "geoid", "geoid_free2mean", "mss")
            if f"geophysical/height_segment_{to}" in segment
        },
        "beam_refsurf_height": sections.height,
        "beam_refsurf_interp_flag": sections.flag,
        "beam_refsurf_sigma": sections.sigma,
        "fbswath_ndx": np.arange(1, n + 1),
    }


def _write(out: h5py.Group, values: dict[str, dict[str, NDArray]]) -> None:
    rates = {
        "freeboard_segment": "the height segment rate",
        "leads": "the lead index rate",
        "reference_surface_section": "the reference surface section rate",
    }
    for name, columns in ATL10.items():
        group = out.create_group(name)
        set_attrs(group, {"data_rate": f"Data within this group are stored at {rates[name.split('/')[0]]}."})
        write_group(group, columns, values[name])
