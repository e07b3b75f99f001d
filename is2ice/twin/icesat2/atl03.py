"""ATL03 granules of the twin: simulated photons in the product's layout."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from is2ice import schema
from is2ice.twin.scene.scene import Scene
from is2ice.twin.scene.tracks import GEOSEGMENT, SHOT_INTERVAL

from . import atl03_ancillary, atl03_layout, instrument
from . import beam as simulate
from .atl03_layout import Column, set_attrs
from .beam import BeamData
from .instrument import GROUND_SPEED, C

__all__ = ["GranuleOptions", "granule_name", "make_granule", "resolve_beams"]

log = logging.getLogger("is2ice")

RELEASES = ("006", "007")
#: Scale of the second dimension of a variable, by its size: surface types, and east, north and up.
SECOND = {5: "ds_surf_type", 3: "ds_xyz"}
#: Distance of a geosegment along the orbit as ``segment_id`` counts it (the orbit turn over its segments), m.
_ID_LENGTH = 20.0353


def resolve_beams(beams: str | Sequence[str], sc_orient: int) -> list[str]:
    """Names of the wanted beams.

    Parameters
    ----------
    beams : {"strong", "weak", "all"} or sequence of str
    sc_orient : int
        0 backward (left beams strong), 1 forward (right beams strong).

    Raises
    ------
    ValueError
        Unknown beam.
    """
    side = "lr"[sc_orient]
    groups = {
        "all": list(schema.BEAMS),
        "strong": [b for b in schema.BEAMS if b[3] == side],
        "weak": [b for b in schema.BEAMS if b[3] != side],
    }
    wanted = groups.get(beams, [beams]) if isinstance(beams, str) else list(beams)
    if bad := [b for b in wanted if b not in schema.BEAMS]:
        raise ValueError(f"beams: unknown {bad}; expected 'strong', 'weak', 'all' or names of {schema.BEAMS}")
    return sorted(wanted)


def granule_name(scene: Scene, release: str, rgt: int, cycle: int, region: int) -> str:
    """File name of a granule, as the product composes it."""
    return f"ATL03_{scene.pass_time:%Y%m%d%H%M%S}_{rgt:04d}{cycle:02d}{region:02d}_{release}_01.h5"


@dataclass(frozen=True)
class GranuleOptions:
    """Options of a simulated granule.

    Attributes
    ----------
    beams : {"strong", "weak", "all"} or sequence of str
    release : {"006", "007"}
        007 has 16-bit weights, ``signal_class_ph``, extended quality and a paged file with larger chunks.
    sc_orient : {0, 1}
        Backward or forward flight.
    rgt, cycle, region : int, optional
        Taken from the scene's preset by default.
    tep : bool
        Add the transmitter echo to strong beams.
    optics : {"strip", "rays"}
        The twin's own optics, or the second ones of :mod:`is2ice.twin.icesat2.rays`, which are there to judge with.

    Raises
    ------
    ValueError
        Unknown release or orientation.
    """

    beams: str | Sequence[str] = "strong"
    release: str = "006"
    sc_orient: int = 1
    rgt: int | None = None
    cycle: int | None = None
    region: int | None = None
    tep: bool = False
    optics: Literal["strip", "rays"] = "strip"

    def __post_init__(self) -> None:
        if self.release not in RELEASES:
            raise ValueError(f"release: expected one of {RELEASES}, got {self.release!r}")
        if self.sc_orient not in (0, 1):
            raise ValueError(f"sc_orient: expected 0 (backward) or 1 (forward), got {self.sc_orient!r}")


def make_granule(
    scene: Scene,
    path: str | Path,
    *,
    truth_path: str | Path | None = None,
    progress: Callable[[str, float], None] | None = None,
    options: GranuleOptions | None = None,
    **changes: Any,
) -> Path:
    """Write an ATL03 granule over a scene, photon by photon.

    Parameters
    ----------
    scene : Scene
    path : str or Path
        The file, or a folder in which the product's own name is used.
    truth_path : str or Path, optional
        Write the truth of the same beams there (never into the granule).
    progress : callable, optional
        Called with the beam's name and the share of it that is done.
    options : GranuleOptions, optional
    **changes
        Fields of :class:`GranuleOptions`, in place of those of `options`: beams, release, sc_orient and so on.

    Returns
    -------
    Path
        The granule written. Same scene and options, same bytes.

    Raises
    ------
    ValueError
        Unknown release, orientation or beam; scene too short.
    """
    how = replace(options or GranuleOptions(), **changes)
    release, sc_orient = how.release, how.sc_orient
    names = resolve_beams(how.beams, sc_orient)
    orbit = {k: getattr(how, k) or getattr(scene.parameters, k) for k in ("rgt", "cycle", "region")}
    path = Path(path)
    if path.is_dir() or path.suffix != ".h5":
        path.mkdir(parents=True, exist_ok=True)
        path = path / granule_name(scene, release, **orbit)
    part = path.with_name(path.name + ".part")  # a reader of an older file of this name is not disturbed
    with _create(part, paged=release == "007") as h5:
        spans = []
        write_scales(h5)
        for beam in names:
            report = None if progress is None else (lambda share, beam=beam: progress(beam, share))
            data = simulate.simulate_beam(
                scene, beam, sc_orient=sc_orient, tep=how.tep, optics=how.optics, progress=report
            )
            _write_beam(h5, scene, beam, data, release, sc_orient)
            spans.append((data.track.time(data.x_shot[0]), data.track.time(data.x_shot[-1])))
            log.debug("%s %s: %d photons", path.name, beam, data.photons["h"].size)
        start, end = min(s for s, _ in spans), max(e for _, e in spans)
        atl03_ancillary.write(
            h5, scene, names, release, sc_orient, orbit, (float(start), float(end)), path.stem
        )
    part.replace(path)
    if truth_path is not None:
        from is2ice.twin import truth

        truth.write_truth(scene, truth_path, names, sc_orient=sc_orient, granule=path.stem)
    return path


def _create(path: Path, *, paged: bool) -> h5py.File:
    """Create a file without time stamps (newer object headers hold some), paged as from release 007."""
    create, access = h5py.h5p.create(h5py.h5p.FILE_CREATE), h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_EARLIEST, h5py.h5f.LIBVER_V110)
    if paged:
        create.set_file_space_strategy(h5py.h5f.FSPACE_STRATEGY_PAGE, False, 1)
        create.set_file_space_page_size(8 * 2**20)
    return h5py.File(h5py.h5f.create(str(path).encode(), h5py.h5f.ACC_TRUNC, create, access))


# ---- groups of a beam ----


def put(
    group: h5py.Group, columns: dict[str, Column], values: dict[str, NDArray], coordinates: str, chunk: int
) -> None:
    """Write the datasets of a group with the product's types, chunks, filters, attributes and scales."""
    for name in sorted(values, key=lambda n: (n != "delta_time", n)):
        column = columns[name]
        data = np.asarray(values[name]).astype(column.dtype, copy=False)
        chunks = (chunk, *data.shape[1:])
        grows = (None, None) if name == "signal_conf_ph" else (None, *data.shape[1:])
        ds = group.create_dataset(
            name,
            data=data,
            chunks=chunks,
            maxshape=grows,
            compression="gzip",
            compression_opts=6,
            shuffle=data.dtype.kind in "iu",
            fillvalue=column.fill,
        )
        if column.fill is not None:
            ds.attrs["_FillValue"] = column.fill
        set_attrs(ds, column.attrs("" if name == "delta_time" else coordinates))
    scale = group["delta_time"]
    scale.make_scale("delta_time")
    for name in sorted(values):
        if name != "delta_time":
            group[name].dims[0].attach_scale(scale)
        if (
            group[name].ndim > 1
        ):  # netCDF4 and h5netcdf refuse a variable of which one dimension has a name only
            group[name].dims[1].attach_scale(group.file[SECOND[group[name].shape[1]]])


def write_scales(h5: h5py.File) -> None:
    """Write the dimension scales of surface types and of directions, which the beams share, at the root."""
    for size, name in SECOND.items():
        ds = h5.create_dataset(name, data=np.arange(1, size + 1, dtype="i4"))
        set_attrs(ds, atl03_layout.SCALES[name].attrs(""))
        ds.make_scale(name)


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    group = parent.create_group(name)
    if name in atl03_layout.GROUPS:
        description, rate = atl03_layout.GROUPS[name]
        set_attrs(group, {"Description": description, "data_rate": rate})
    return group


def spot_of(beam: str, sc_orient: int) -> int:
    """ATLAS spot number of a ground track."""
    order = schema.BEAMS if sc_orient == 0 else tuple(reversed(schema.BEAMS))
    return order.index(beam) + 1


def _write_beam(h5: h5py.File, scene: Scene, beam: str, data: BeamData, release: str, sc_orient: int) -> None:
    spot = spot_of(beam, sc_orient)
    pce = (spot + 1) // 2
    top = h5.create_group(beam)
    set_attrs(
        top,
        {
            "Description": "Photons and segments of one ground track.",
            "atlas_beam_type": data.strength,
            "atlas_pce": f"pce{pce}",
            "atlas_spot_number": str(spot),
            "atmosphere_profile": f"profile_{int(beam[2])}",
            "groundtrack_id": beam,
            "sc_orientation": ("Backward", "Forward")[sc_orient],
        },
    )
    chunk = 100_000 if release == "007" else 10_000
    segment = _segments(data)
    columns = atl03_layout.HEIGHTS_007 if release == "007" else atl03_layout.HEIGHTS
    put(
        _group(top, "heights"),
        columns,
        _heights(data, segment, pce, release),
        "delta_time lat_ph lon_ph",
        chunk,
    )
    place = _geolocation(scene, data, segment)
    coordinates = "delta_time reference_photon_lat reference_photon_lon"
    put(_group(top, "geolocation"), atl03_layout.GEOLOCATION, place, coordinates, chunk)
    put(_group(top, "geophys_corr"), atl03_layout.GEOPHYS, _geophys(scene, data, place), "delta_time", chunk)
    put(_group(top, "bckgrd_atlas"), atl03_layout.BACKGROUND, _background(data), "delta_time", chunk)
    found = _group(top, "signal_find_output")
    for surface in ("ocean", "sea_ice"):  # one search serves both, as both columns of confidence say
        put(found.create_group(surface), atl03_layout.SIGNAL_FIND, _signal_find(data), "delta_time", chunk)
    for surface in ("inlandwater", "land"):
        found.create_group(surface)


def _frame_count(data: BeamData) -> int:
    """Major frame counter of the first shot: frames of 20 ms on a continuous count."""
    return round(data.track.t_start * 50) % 2**32


def _segments(data: BeamData) -> dict[str, NDArray]:
    """Geosegment of each shot and, per geosegment, its first photon and photon count."""
    n = int((data.x_shot[-1] - data.track.x_start) // GEOSEGMENT) + 1
    of_shot = ((data.x_shot - data.track.x_start) // GEOSEGMENT).astype(np.int64)
    of_photon = of_shot[data.photons["shot"]]
    count = np.bincount(of_photon, minlength=n)
    return {"of_shot": of_shot, "of_photon": of_photon, "count": count, "first": np.cumsum(count) - count}


def _heights(data: BeamData, segment: dict[str, NDArray], pce: int, release: str) -> dict[str, NDArray]:
    ph, track = data.photons, data.track
    shot = ph["shot"]
    # One transmit time, place and set of identifiers per shot, shared by its photons.
    time = track.t_start + SHOT_INTERVAL * np.arange(data.n_shots)
    lon, lat = track.lonlat(data.x_shot)
    along = data.x_shot - (track.x_start + GEOSEGMENT * segment["of_shot"])
    channel = ph["channel"] + np.uint8((pce - 1) * 20)
    if data.strength == "weak":
        channel = channel + np.uint8(16)
    conf = np.full((shot.size, 5), -1, np.int8)
    conf[:, 1] = conf[:, 2] = ph["conf"]
    conf[ph["conf"] == -2] = -2
    out = {
        "delta_time": time[shot],
        "lat_ph": lat[shot],
        "lon_ph": lon[shot],
        "h_ph": ph["h"],
        "dist_ph_along": along[shot],
        "dist_ph_across": np.full(shot.size, track.across) - 0.006 * (ph["h"] - data.base[shot]),
        "pce_mframe_cnt": _frame_count(data) + shot.astype(np.int64) // 200,
        "ph_id_pulse": shot % 200 + 1,
        "ph_id_count": ph["count"],
        "ph_id_channel": channel,
        "signal_conf_ph": conf,
        "quality_ph": ph["quality"],
    }
    if release == "006":
        out["weight_ph"] = np.round(255 * np.minimum(ph["density"], 1.0) ** 0.25)
    else:
        out["weight_ph"] = np.round(65535 * 0.2 * np.minimum(ph["density"], 1.0))
        out["signal_class_ph"] = np.where(ph["conf"] >= 2, 4, np.where(ph["conf"] == 1, 1, 0))
    return out


def _geolocation(scene: Scene, data: BeamData, segment: dict[str, NDArray]) -> dict[str, NDArray]:
    track, ph = data.track, data.photons
    count, first = segment["count"], segment["first"]
    n = count.size
    start = track.x_start + GEOSEGMENT * np.arange(n)
    filled = count > 0
    reference = np.where(filled, (count + 1) // 2, 0)
    row = np.minimum(first + np.maximum(reference - 1, 0), max(ph["h"].size - 1, 0))
    # Where a segment has no photon its middle stands in for the reference photon.
    x = start + 0.5 * GEOSEGMENT
    if ph["h"].size:
        x = np.where(filled, data.x_shot[ph["shot"][row]], x)
    lon, lat = track.lonlat(x)
    saturation = _saturation(data, segment)
    cx, cy = track.xy(x)
    east, north = _velocity(data, x)
    elevation, azimuth = atl03_ancillary.sun_along(scene, lon, lat)
    wave = np.sin(np.arange(n) / 4000.0)
    energy = 1.1e-4 if data.strength == "strong" else 2.76e-5
    f4 = {
        "bounce_time_offset": 1.6433e-3,
        "range_bias_corr": 4.07,
        "sigma_across": 5.0,
        "sigma_along": 5.0,
        "sigma_h": 0.144,
        "sigma_lat": 6.3e-5,
        "sigma_lon": 6.3e-5 / np.cos(np.radians(lat)),
        "neutat_delay_derivative": -3.2e-4,
        "neutat_delay_total": 2.43 + 0.002 * wave,
        "pitch": -0.2375 + 1e-4 * wave,
        "roll": -0.0916 + 1e-4 * wave,
        "yaw": 0.236 + 1e-4 * wave,
        "ref_elev": 1.5646,
        "ref_azimuth": -0.877,
        "tx_pulse_energy": energy,
        "tx_pulse_skew_est": -1.4e-10,
        "tx_pulse_width_lower": 1.5e-9,
        "tx_pulse_width_upper": 0.45e-9,
    }
    return {
        **{name: np.broadcast_to(value, n) for name, value in f4.items()},
        "altitude_sc": 492_650.0 + 40.0 * wave,
        "delta_time": track.time(x),
        "full_sat_fract": saturation[1],
        "near_sat_fract": saturation[0],
        "knn": np.full(n, 9 if data.strength == "weak" else 20),
        "neutat_ht": scene.geoid(cx, cy),
        "ph_index_beg": np.where(filled, first + 1, 0),
        "podppd_flag": np.zeros(n),
        "reference_photon_index": reference,
        "reference_photon_lat": lat,
        "reference_photon_lon": lon,
        "segment_dist_x": start,
        "segment_id": round(track.x_start / _ID_LENGTH) + np.arange(n),
        "segment_length": np.full(n, GEOSEGMENT),
        "segment_ph_cnt": count,
        "solar_azimuth": azimuth,
        "solar_elevation": elevation,
        "surf_type": np.tile(np.array([0, 1, 1, 0, 0], np.int8), (n, 1)),
        "velocity_sc": np.column_stack([east, north, np.full(n, -0.7)]),
    }


def _saturation(data: BeamData, segment: dict[str, NDArray]) -> NDArray:
    """Share of each geosegment's shots with most, and with all, pixels hit by signal."""
    pixels = instrument.PIXELS[data.strength]
    per_shot = np.bincount(data.photons["shot"][data.photons["conf"] >= 2], minlength=data.n_shots)
    shots = np.maximum(np.bincount(segment["of_shot"]), 1)
    return np.stack(
        [np.bincount(segment["of_shot"], per_shot >= share * pixels) / shots for share in (0.75, 1.0)]
    )


def _velocity(data: BeamData, x: NDArray) -> tuple[NDArray, NDArray]:
    lon0, lat0 = data.track.lonlat(x - 50.0)
    lon1, lat1 = data.track.lonlat(x + 50.0)
    east = ((lon1 - lon0 + 180.0) % 360.0 - 180.0) * np.cos(np.radians(0.5 * (lat0 + lat1)))
    north = lat1 - lat0
    norm = GROUND_SPEED / np.hypot(east, north)
    return east * norm, north * norm


def _geophys(scene: Scene, data: BeamData, place: dict[str, NDArray]) -> dict[str, NDArray]:
    lat = np.radians(place["reference_photon_lat"])
    x, y = data.track.xy(data.track.x_start + (place["delta_time"] - data.track.t_start) * GROUND_SPEED)
    return {
        **scene.corrections(x, y),
        "delta_time": place["delta_time"],
        "dem_flag": np.full(x.size, 3),
        "dem_h": scene.mss(x, y),
        "geoid": scene.geoid(x, y),
        "geoid_free2mean": 1.3 * (0.099 - 0.296 * np.sin(lat) ** 2),
        "tide_earth_free2mean": 0.06029 - 0.180873 * np.sin(lat) ** 2,
    }


def _background(data: BeamData) -> dict[str, NDArray]:
    r = data.records
    n = r["counts"].size
    band = data.photons_band
    return {
        "bckgrd_counts": r["counts"],
        "bckgrd_counts_reduced": r["counts_reduced"],
        "bckgrd_hist_top": r["band_top"] + 0.5 * (r["height"] - band),
        "bckgrd_int_height": r["height"],
        "bckgrd_int_height_reduced": r["height_reduced"],
        "bckgrd_rate": r["rate"],
        "delta_time": data.track.t_start + 50 * SHOT_INTERVAL * np.arange(n),
        "pce_mframe_cnt": _frame_count(data) + np.arange(n) // 4,
        "tlm_height_band1": np.zeros(n),
        "tlm_height_band2": np.full(n, band),
        "tlm_top_band1": r["band_top"] + 0.5 * (r["height"] - band),
        "tlm_top_band2": r["band_top"],
    }


def _signal_find(data: BeamData) -> dict[str, NDArray]:
    window = simulate.WINDOW[data.strength]
    start = np.arange(0, data.n_shots, window // 2)
    mean = data.records["rate"][start // 50] * window * 2 * simulate.BIN_HEIGHT / C
    return {
        "bckgrd_mean": mean,
        "bckgrd_sigma": np.sqrt(np.maximum(mean, 0)),
        "delta_time": data.track.t_start + SHOT_INTERVAL * start,
        "t_pc_delta": np.full(start.size, window * SHOT_INTERVAL),
        "z_pc_delta": np.full(start.size, simulate.BIN_HEIGHT),
    }
