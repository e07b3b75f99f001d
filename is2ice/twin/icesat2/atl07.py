"""ATL07 of the twin: sea-ice heights of 150-photon segments, made from an ATL03 granule and nothing else.

An own small implementation, which reads only what a processor of the product could read (never the twin's
truth) and shares no code with the package's segments and classes, so that comparing them says something.
Left out: cloud screening with ATL09, ice concentration, dual-Gaussian diagnostics, the skewness term; their
variables hold fill. The coarse height is the median of a segment's signal photons.

References
----------
ATL07/ATL10 algorithm description, sections 4.2 and 4.3; settings as in genuine granules' ``ancillary_data``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from is2ice.errors import GranuleError
from is2ice.schema import BEAMS

from . import fine_tracking
from .atl03_layout import set_attrs
from .atl07_atl10_layout import ATL07, SETTINGS, copy_context, product_path, text, write_group
from .instrument import C

__all__ = ["SECTION", "make_atl07", "section_of", "surface_types"]

log = logging.getLogger("is2ice")

Array = NDArray[np.float64]
#: Height per ns of two-way delay, m.
_NS = C / 2 * 1e-9
_CLASS = SETTINGS["ATL07"]["surface_classification"]
#: Length over which the lowest heights are sought, m.
SECTION = 10_000.0


@dataclass
class _Beam:
    """Input of the processor for one beam: signal photons, and functions of time."""

    name: str
    strength: str
    spot: int
    x: Array
    height: Array
    time: Array
    lat: Array
    lon: Array
    across: Array
    pulse: NDArray[np.int64]
    segment_id: NDArray[np.int32]
    group: h5py.Group


def make_atl07(atl03_path: str | Path, path: str | Path, *, beams: Sequence[str] | None = None) -> Path:
    """Write the ATL07 granule of an ATL03 granule.

    Parameters
    ----------
    atl03_path : str or Path
    path : str or Path
        The file, or a folder in which the product's own name is used.
    beams : sequence of str, optional
        All beams of the granule by default.

    Returns
    -------
    Path
        The file written. Same input, same bytes. Heights are in m above the mean sea surface, tide-free.

    Raises
    ------
    GranuleError
        The granule lacks a group, a beam, or the mean sea surface.
    """
    with h5py.File(atl03_path, "r") as atl03:
        there = [b for b in BEAMS if b in atl03 and "heights" in atl03[b]]
        wanted = there if beams is None else list(beams)
        if missing := [b for b in wanted if b not in there] or ([] if there else ["any beam"]):
            raise GranuleError(
                f"{atl03_path}: no photons of {', '.join(missing)}; the granule has {', '.join(there) or 'none'}"
            )
        tables = {b: _segments(_read(atl03, b), atl03) for b in wanted}
        _candidates(tables)
        path = product_path(
            atl03, path, "ATL07", float(np.mean(atl03[wanted[0]]["geolocation/reference_photon_lat"]))
        )
        part = path.with_name(path.name + ".part")
        with h5py.File(part, "w", libver=("earliest", "v110")) as out:
            for beam, table in tables.items():
                _write(out, atl03, beam, table)
            times = np.concatenate([t["sea_ice_segments"]["delta_time"] for t in tables.values()])
            copy_context(out, atl03, "ATL07", path.stem, times)
    part.replace(path)
    return path


# ---- reading ----


def _read(atl03: h5py.File, beam: str) -> _Beam:
    group = atl03[beam]
    heights, place = group["heights"], group["geolocation"]
    count = place["segment_ph_cnt"][:]
    conf = heights["signal_conf_ph"][:, 2]
    if count.sum() != conf.size:
        raise GranuleError(f"{beam}: geosegments count {count.sum()} photons, heights hold {conf.size}")
    keep = np.flatnonzero(conf >= 3)
    row = np.repeat(np.arange(count.size), count)[keep]
    x = place["segment_dist_x"][:][row] + heights["dist_ph_along"][:][keep]
    order = np.argsort(x, kind="stable")
    keep, row, x = keep[order], row[order], x[order]
    h = heights["h_ph"][:].astype(float)[keep] - _level(group, x, place)
    good = np.isfinite(h)
    if not good.any():
        raise GranuleError(f"{beam}: no signal photon has a mean sea surface (dem_flag 3) and tides")
    keep, row = keep[good], row[good]
    lon = np.unwrap(heights["lon_ph"][:][keep], period=360.0)
    pulse = heights["pce_mframe_cnt"][:].astype(np.int64)[keep] * 200 + heights["ph_id_pulse"][:][keep] - 1
    return _Beam(
        beam,
        text(group.attrs["atlas_beam_type"]),
        int(text(group.attrs["atlas_spot_number"])),
        x[good],
        h[good],
        heights["delta_time"][:][keep],
        heights["lat_ph"][:][keep],
        lon,
        heights["dist_ph_across"][:].astype(float)[keep],
        pulse,
        place["segment_id"][:][row],
        group,
    )


def _level(group: h5py.Group, x: Array, place: h5py.Group) -> Array:
    """Height of the tidal mean sea surface above the ellipsoid at distances, m; NaN without one."""
    corrections = group["geophys_corr"]
    level = np.where(corrections["dem_flag"][:] == 3, corrections["dem_h"][:].astype(float), np.nan)
    for name in ("tide_ocean", "tide_equilibrium", "dac"):
        value = corrections[name][:].astype(float)
        level += np.where(value < 1e30, value, np.nan)
    middle = place["segment_dist_x"][:] + 0.5 * place["segment_length"][:]
    return np.interp(x, middle, level)


# ---- segments ----


def _segments(beam: _Beam, atl03: h5py.File) -> dict[str, dict[str, NDArray]]:
    """All variables of a beam's segments, by group below ``gtx``."""
    keep, dropped, first, last = fine_tracking.gather(
        beam.x,
        beam.pulse,
        fine_tracking.N_PHOTONS,
        fine_tracking.MAX_PULSES[beam.strength],
        fine_tracking.ADVANCE[beam.strength],
        fine_tracking.MAX_PER_PULSE // (4 if beam.strength == "weak" else 1),
        fine_tracking.MAX_GAP,
    )
    counts, span, stats = fine_tracking.histograms(
        beam.height[keep],
        first,
        last,
        fine_tracking.N_BINS,
        fine_tracking.BIN,
        fine_tracking.WINDOW[0],
        fine_tracking.MIN_COUNT,
    )
    total, used, mean, sd, median, width_all, coarse, coarse_sd, lowest, highest = stats.T
    enough = used >= fine_tracking.MIN_SHARE * np.minimum(total, fine_tracking.N_PHOTONS)
    fit = fine_tracking.fit_histograms(counts, span, np.where(enough, mean, np.nan), _pulse(atl03, beam.spot))
    a, b = keep[first], keep[np.maximum(last - 1, 0)]
    pulses = (beam.pulse[b] - beam.pulse[a]).astype(np.int32)
    left_out = dropped[last - 1] - dropped[first]
    shots = pulses + 1 - left_out
    strength, rate = total / shots, used / shots
    dead, bias = _first_photon_bias(atl03, beam.name, strength, width_all / _NS)
    x = 0.5 * (beam.x[a] + beam.x[b])
    time = np.interp(x, beam.x, beam.time)
    solar = np.interp(time, *_along(beam.group["geolocation"], "solar_elevation"))
    background = _background(beam.group, time, beam.time[a], beam.time[b], solar)
    height = coarse + fit.height - bias
    kind = surface_types(rate, fit.width, background["background_r_norm"], solar, beam.strength)
    return {
        "sea_ice_segments": {
            "delta_time": time,
            "latitude": np.interp(x, beam.x, beam.lat),
            "longitude": (np.interp(x, beam.x, beam.lon) + 180.0) % 360.0 - 180.0,
            "seg_dist_x": x,
            "height_segment_id": np.arange(1, x.size + 1, dtype=np.int32),
            "geoseg_beg": beam.segment_id[a],
            "geoseg_end": beam.segment_id[b],
        },
        "sea_ice_segments/heights": {
            "across_track_distance": np.interp(x, beam.x, beam.across),
            "height_segment_fit_quality_flag": fit.quality,
            "height_segment_height": height,
            "height_segment_length_seg": beam.x[b] - beam.x[a],
            "height_segment_n_pulse_seg": pulses,
            "height_segment_n_pulse_seg_used": shots,
            "height_segment_quality": ((fit.quality >= 1) & (fit.quality <= 4)).astype(np.int8),
            "height_segment_rms": fit.rms,
            "height_segment_surface_error_est": sd / np.sqrt(used),
            "height_segment_type": kind,
            "height_segment_w_gaussian": fit.width,
        },
        "sea_ice_segments/geophysical": _geophysical(beam.group, time),
        "sea_ice_segments/stats": {
            **background,
            "fpb_avg_dt": np.full(x.size, dead),
            "fpb_corr": bias,
            "fpb_corr_width": width_all / _NS,
            "fpb_strength": strength,
            "height_coarse_mn": coarse,
            "height_coarse_stdev": coarse_sd,
            "hist_mean_h": coarse + mean,
            "hist_median_h": coarse + median,
            "hist_photon_bin_size": np.full(x.size, fine_tracking.BIN),
            "hist_photon_bottom": coarse + fine_tracking.WINDOW[0],
            "hist_photon_heights": counts,
            "hist_photon_top": coarse + fine_tracking.WINDOW[1],
            "hist_w": sd,
            "n_photons_actual": total,
            "n_photons_define": np.full(x.size, fine_tracking.N_PHOTONS),
            "n_photons_used": np.where(np.isfinite(used), used, -1),
            "photon_rate": rate,
            "trim_height_bottom": lowest,
            "trim_height_top": highest,
        },
        "sea_ice_segments/geolocation": _geolocation(beam.group, atl03, time, solar),
    }


def _pulse(atl03: h5py.File, spot: int) -> fine_tracking.Pulse:
    """Waveform table of the transmitter echo that serves a spot (spot 1 for all but the middle pair)."""
    echo = atl03.get(
        f"atlas_impulse_response/{'pce2_spot3' if spot in (3, 4) else 'pce1_spot1'}/tep_histogram"
    )
    if echo is None:
        log.warning("%s: no transmitter echo; a Gaussian pulse of 1.5 ns serves", atl03.filename)
        return fine_tracking.pulse_from_echo()
    return fine_tracking.pulse_from_echo(echo["tep_hist_time"][:], echo["tep_hist"][:])


def _first_photon_bias(atl03: h5py.File, beam: str, strength: Array, width: Array) -> tuple[float, Array]:
    """Mean dead time (ns) and first-photon bias (m) by nearest entry of the granule's CAL-19 tables."""
    calibrations = atl03.get("ancillary_data/calibrations")
    if calibrations is None or beam not in calibrations.get("first_photon_bias", {}):
        log.warning("%s %s: no first-photon tables; no correction", atl03.filename, beam)
        return np.nan, np.zeros(strength.size)
    channels = slice(0, 16) if text(atl03[beam].attrs["atlas_beam_type"]) == "strong" else slice(16, 20)
    dead = float(calibrations[f"dead_time/{beam}/dead_time"][channels].mean() * 1e9)
    table = calibrations[f"first_photon_bias/{beam}"]
    k = int(np.abs(table["dead_time"][:] - dead).argmin())
    # Entries beyond a table's validity hold huge numbers.
    i = _nearest(table["strength"][k].astype(float), strength)
    j = _nearest(table["width"][k].astype(float), width)
    bias = table["ffb_corr"][k].astype(float)[i, j] * 1e-3 * _NS
    return dead, np.where(np.abs(bias) < 1.0, bias, np.nan)


def _nearest(axis: Array, value: Array) -> NDArray[np.intp]:
    k = np.clip(np.searchsorted(axis, value), 1, axis.size - 1)
    return k - (value - axis[k - 1] < axis[k] - value)


def _along(group: h5py.Group, name: str) -> tuple[Array, Array]:
    """Return times and values of a 20 m variable, without fill values."""
    value = group[name][:].astype(float)
    good = np.abs(value) < 1e30
    return group["delta_time"][:][good], value[good]


def _geophysical(group: h5py.Group, time: Array) -> dict[str, Array]:
    corrections = group["geophys_corr"]
    names = {
        "dac": "dac",
        "earth": "tide_earth",
        "earth_free2mean": "tide_earth_free2mean",
        "geoid": "geoid",
        "geoid_free2mean": "geoid_free2mean",
        "load": "tide_load",
        "lpe": "tide_equilibrium",
        "mss": "dem_h",
        "ocean": "tide_ocean",
        "pole": "tide_pole",
    }
    return {
        f"height_segment_{to}": np.interp(time, *_along(corrections, name))
        for to, name in names.items()
        if name in corrections
    }


def _geolocation(group: h5py.Group, atl03: h5py.File, time: Array, solar: Array) -> dict[str, NDArray]:
    place = group["geolocation"]

    def at(name: str) -> Array:
        return np.interp(time, *_along(place, name)) if name in place else np.full(time.size, np.nan)

    return {
        "beam_azimuth": np.degrees(at("ref_azimuth")),
        "beam_coelev": 90.0 - np.degrees(at("ref_elev")),
        "ref_atm_delay": at("neutat_delay_total"),
        "ref_atm_delay_derivative": at("neutat_delay_derivative"),
        "rgt": np.full(time.size, int(np.ravel(atl03["orbit_info/rgt"][()])[0]), np.int16),
        "sigma_h": at("sigma_h"),
        "sigma_lat": at("sigma_lat"),
        "sigma_lon": at("sigma_lon"),
        "solar_azimuth": at("solar_azimuth"),
        "solar_elevation": solar,
    }


def _background(group: h5py.Group, time: Array, start: Array, end: Array, solar: Array) -> dict[str, Array]:
    """Background rates over each segment: of 50 and of 400 pulses, and as if the sun stood at 20 degrees."""
    record = group["bckgrd_atlas"]
    t, rate = record["delta_time"][:], record["bckgrd_rate"][:].astype(float)
    step = 0.005
    total = np.concatenate([[0.0], np.cumsum(rate)]) * step
    edge = np.append(t, t[-1] + step)

    def mean(a: Array, b: Array) -> Array:
        a, b = np.maximum(a, edge[0]), np.minimum(b, edge[-1])
        return (np.interp(b, edge, total) - np.interp(a, edge, total)) / np.maximum(b - a, 1e-9)

    # A segment shorter than a record takes the record it lies in.
    middle, half = 0.5 * (start + end), np.maximum(0.5 * (end - start), 0.5 * step)
    rate_200 = mean(middle - half, middle + half)
    sine = np.sin(np.radians(np.maximum(solar, _CLASS["theta_nlb"])))
    return {
        "backgr_r_200": rate_200,
        "backgr_r_25": mean(time - 0.02, time + 0.02),
        "background_r_norm": rate_200 * np.sin(np.radians(_CLASS["theta_ref"])) / sine,
        "background_int_height": np.interp(time, *_along(record, "bckgrd_int_height_reduced")),
    }


# ---- classes and sea-surface candidates ----


def surface_types(
    rate: Array, width: Array, background: Array, solar: Array, strength: str
) -> NDArray[np.int8]:
    """ATL07 surface type from photon rate and width, with the background test where the sun is up.

    Parameters
    ----------
    rate : (n,) array
        Photons per pulse.
    width : (n,) array
        Fitted width, m; NaN where the fit failed.
    background : (n,) array
        Background as if the sun stood at 20 degrees, Hz.
    solar : (n,) array
        Elevation of the sun, degrees.
    strength : {"strong", "weak"}
        Rates of weak beams are a quarter.

    Returns
    -------
    numpy.ndarray of int8
        0 cloud, 1 other (ice), 2/3 specular low, 4/5 specular high, 6/7 dark smooth, 8/9 dark rough; even
        where the background was tested.
    """
    r = rate * (1.0 if strength == "strong" else 4.0)
    p1, p2, p3, p4, w1, w2 = (_CLASS[name] for name in ("p1", "p2", "p3", "p4", "w1", "w2"))
    smooth = width <= w1
    low = (r > p1) & (r <= p2)
    kind = np.ones(r.shape, np.int8)
    kind[low & smooth] = 7
    kind[low & ~smooth & (width <= w2)] = 9
    kind[(r >= p3) & (r <= p4) & smooth] = 3
    kind[(r > p4) & smooth] = 5
    tested = (kind > 1) & (solar > _CLASS["theta_cntl"])
    # Bright surroundings speak for ice.
    kind[tested] = np.where(background[tested] > _CLASS["b1"] * 1e6, 1, kind[tested] - 1)
    kind[r <= p1] = 0
    return kind


def section_of(x: Array, start: float) -> NDArray[np.int64]:
    """Return the number, from 0, of the 10 km section of each distance."""
    return np.floor((x - start) / SECTION).astype(np.int64)


def _candidates(tables: dict[str, dict[str, dict[str, NDArray]]]) -> None:
    """Flag low specular segments as sea surface, section by section."""
    start = min(
        (t["sea_ice_segments"]["seg_dist_x"].min(initial=np.inf) for t in tables.values()), default=0.0
    )
    for table in tables.values():
        heights, stats = table["sea_ice_segments/heights"], table["sea_ice_segments/stats"]
        h, kind = heights["height_segment_height"], heights["height_segment_type"]
        valid = np.isfinite(h) & np.isin(heights["height_segment_fit_quality_flag"], (1, 2, 3, 4))
        specular = valid & (kind >= 2) & (kind <= 5)
        smooth = valid & (heights["height_segment_w_gaussian"] <= _CLASS["w1"])
        flag = np.zeros(h.size, np.int8)
        low, lowest = np.full(h.size, np.nan), np.full(h.size, np.nan)
        section = section_of(table["sea_ice_segments"]["seg_dist_x"], start)
        for k in np.unique(section[valid]):
            here = section == k
            inside = here & valid
            limit = np.quantile(h[inside], _CLASS["height_pct"])
            low[here], lowest[here] = np.quantile(h[inside], 0.05), h[inside].min()
            if (flat := np.flatnonzero(here & smooth)).size:
                floor = flat[h[flat].argmin()]
                limit = max(limit, h[floor] + 2.0 * heights["height_segment_surface_error_est"][floor])
            flag[here & specular & (h <= limit)] = 1
        heights["height_segment_ssh_flag"] = flag
        stats["height_filter_05"], stats["height_filter_min"] = low, lowest


# ---- writing ----


def _write(out: h5py.File, atl03: h5py.File, beam: str, table: dict[str, dict[str, NDArray]]) -> None:
    top = out.create_group(beam)
    set_attrs(top, {**dict(atl03[beam].attrs), "Description": "Sea-ice segments of one ground track."})
    scale = None
    for name, columns in ATL07.items():
        group = top.create_group(name)
        set_attrs(
            group, {"data_rate": "Data within this group are stored at the sea_ice_height segment rate."}
        )
        write_group(group, columns, table[name], scale)
        scale = top["sea_ice_segments/delta_time"]
