"""Layout of ATL07 and ATL10, release 006, as data: every dataset's type, fill and attributes, and how to write them.

Names, types, units and fills follow the products; descriptions are our own words. What cannot be had from
an ATL03 granule (weather, ice concentration, distance from land, cloud flags) is written as fill.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from is2ice.errors import GranuleError

from .atl03_layout import (
    EPOCH_UNITS,
    F4_FILL,
    F8_FILL,
    ORBIT_SCALES,
    Column,
    attach_orbit_scales,
    set_attrs,
    write_identification,
)

__all__ = [
    "ATL07",
    "ATL10",
    "BINS",
    "SETTINGS",
    "copy_context",
    "product_path",
    "text",
    "write_group",
]

#: Bins of ATL07's photon histogram and of ATL10's freeboard histogram.
BINS = {"ATL07": 221, "ATL10": 161}
_REF, _PHYS, _MODEL, _QUAL = (
    "referenceInformation",
    "physicalMeasurement",
    "modelResult",
    "qualityInformation",
)
_FIT = ([-1, 1, 2, 3, 4, 5], "invalid best high med low poor")
_TYPES = (
    list(range(10)),
    "cloud_covered other specular_lead_low_w_bkg specular_lead_low specular_lead_high_w_bkg specular_lead_high "
    "dark_lead_smooth_w_bkg dark_lead_smooth dark_lead_rough_w_bkg dark_lead_rough",
)
_CLOUD = (
    list(range(6)),
    "clear_with_high_confidence clear_with_medium_confidence clear_with_low_confidence "
    "cloudy_with_low_confidence cloudy_with_medium_confidence cloudy_with_high_confidence",
)
_MSW = (
    [-1, 0, 1, 2, 3, 4, 5],
    "cannot_determine no_layers layer_gt_3km layer_between_1_and_3_km layer_lt_1km blow_snow_od_lt_0.5 "
    "blow_snow_od_gt_0.5",
)
_LAYER = ([0, 1], "likely_clear likely_cloudy")
_POD = (
    list(range(8)),
    "nominal pod_degrade ppd_degrade podppd_degrade cal_nominal cal_pod_degrade cal_ppd_degrade cal_podppd_degrade",
)


def _col(dtype: str, units: str, long_name: str, source: str, content: str, fill: Any = None) -> Column:
    return Column(dtype, units, long_name, source, content, fill)


def _f4(units: str, long_name: str, source: str = "Sea Ice ATBD", content: str = _MODEL) -> Column:
    return _col("f4", units, long_name, source, content, F4_FILL)


def _plain(units: str, long_name: str, source: str = "Sea Ice ATBD") -> Column:
    """Write a float without a declared fill value, as the product has some."""
    return _col("f4", units, long_name, source, _REF)


def _int(dtype: str, long_name: str, source: str = "Sea Ice ATBD", fill: Any = None) -> Column:
    return _col(dtype, "1", long_name, source, _REF, fill)


def _flag(
    dtype: str, long_name: str, flags: tuple[list[int], str], source: str = "Sea Ice ATBD", fill: Any = None
) -> Column:
    values, meanings = flags
    kind = np.dtype(dtype).type
    extra = {
        "flag_values": np.array(values, dtype),
        "flag_meanings": meanings,
        "valid_min": kind(min(values)),
        "valid_max": kind(max(values)),
    }
    return Column(dtype, "1", long_name, source, _REF, fill, extra=extra)


def _place(fill: Any = None, distance: str = "seg_dist_x", units: str = "meters") -> dict[str, Column]:
    def degrees(name: str, unit: str, reach: float) -> Column:
        extra = {"valid_min": np.float64(-reach), "valid_max": np.float64(reach)}
        return Column("f8", unit, name.capitalize(), "Sea Ice ATBD", _REF, fill, name, extra)

    return {
        "delta_time": Column(
            "f8",
            EPOCH_UNITS,
            "Elapsed GPS seconds",
            "Derived via Time Tagging",
            _PHYS,
            fill,
            "time",
            description="Seconds of GPS time since the ATLAS epoch (2018-01-01 UTC).",
        ),
        "latitude": degrees("latitude", "degrees_north", 90),
        "longitude": degrees("longitude", "degrees_east", 180),
        distance: Column(
            "f8",
            units,
            "Along track distance",
            "Sea Ice ATBD",
            _PHYS,
            F8_FILL if units == "m" else None,
            description="Distance from the equator crossing of the reference track.",
        ),
    }


_SEGMENT = {
    **_place(),
    "height_segment_id": _int("i4", "Identifier of each height segment"),
    "geoseg_beg": _int("i4", "Beginning GEOSEG"),
    "geoseg_end": _int("i4", "Ending GEOSEG"),
}
_GEOPHYSICAL = {
    f"height_segment_{name}": _f4("meters", text, content=_REF)
    for name, text in {
        "dac": "Dynamic Atmosphere Correction",
        "dynib": "Dynamic inverted barometer effect",
        "earth": "Earth Tide",
        "earth_free2mean": "Earth Tide Free-to-Mean conversion",
        "geoid": "EGM2008 Geoid",
        "geoid_free2mean": "EGM2008 Geoid Free-to-Mean conversion",
        "ib": "Inverted barometer effect",
        "load": "Load Tide",
        "lpe": "Equilibrium Tide",
        "mss": "Mean Sea Surface",
        "ocean": "Ocean Tide",
    }.items()
}
_CLOUDS = {
    "bsnow_h": _f4("meters", "Blowing snow top h", "ATL09"),
    "msw_flag": _flag("i1", "Multiple Scattering Warning Flag", _MSW, "ATL09"),
}
_BACKGROUND = {
    "backgr_calc": _f4("hz", "background count rate calculated"),
    "background_r_norm": _f4("hz", "Normalized background (50-shot)"),
}

#: Group below ``gtx`` -> dataset -> column.
ATL07: dict[str, dict[str, Column]] = {
    "sea_ice_segments": _SEGMENT,
    "sea_ice_segments/heights": {
        "across_track_distance": _plain("meters", "Across Track Distance"),
        "height_segment_asr_calc": _f4("1", "Calculated Apparent Surface Reflectivity", content=_REF),
        "height_segment_confidence": _f4("1", "Surface height confidence", content=_REF),
        "height_segment_fit_quality_flag": _flag("i1", "height Quality Flag", _FIT, fill=np.int8(-1)),
        "height_segment_height": _f4("meters", "height of segment surface", content=_REF),
        "height_segment_htcorr_skew": _f4("meters", "Height Correction for Skew", content=_REF),
        "height_segment_length_seg": _plain("meters", "length of segment"),
        "height_segment_n_pulse_seg": _int("i4", "number of laser pulses"),
        "height_segment_n_pulse_seg_used": _int("i4", "number of laser pulses used"),
        "height_segment_quality": _flag(
            "i1", "Height Segment Quality Flag", ([0, 1], "bad_quality good_quality")
        ),
        "height_segment_rms": _f4("meters", "height rms", content=_REF),
        "height_segment_ssh_flag": _flag("i1", "Sea Surface Flag", ([0, 1], "sea_ice sea_surface")),
        "height_segment_surface_error_est": _f4("meters", "h surface error est", content=_REF),
        "height_segment_type": _flag("i1", "Segment surface type", _TYPES),
        "height_segment_w_gaussian": _f4("meters", "width of best fit gaussian", content=_REF),
    },
    "sea_ice_segments/geophysical": {
        **_GEOPHYSICAL,
        "height_segment_pole": _f4("meters", "Pole Tide", content=_REF),
        "height_segment_ps": _f4("Pa", "sea level pressure", "ATL09", _REF),
        "height_segment_t2m": _f4("K", "temperature_at_2m", "ATL09", _REF),
        "height_segment_u2m": _f4("m s-1", "Eastward_wind_at_2m", "ATL09", _REF),
        "height_segment_v2m": _f4("m s-1", "Northward_wind_at_2m", "ATL09", _REF),
    },
    "sea_ice_segments/stats": {
        **_CLOUDS,
        **_BACKGROUND,
        "asr_25": _f4("1", "Apparent Surface Reflectance 25hz"),
        "backgr_r_200": _plain("hz", "Background rate 200 hz"),
        "backgr_r_25": _plain("hz", "Background rate 25hz"),
        "background_int_height": _f4(
            "meters", "Height of column used in background calculation", content=_REF
        ),
        "bsnow_con": _int("i1", "Blowing snow confidence", "ATL09", np.int8(127)),
        "cloud_flag_asr": _flag("i2", "Cloud Flag ASR", ([*_CLOUD[0], 6], _CLOUD[1] + " unknown"), "ATL09"),
        "cloud_flag_atm": _int("i1", "Cloud Flag Atm", "ATL09"),
        **{
            f"exmax_{name}": _f4("meters", f"Exmax {name.replace('_', ' ').title()}")
            for name in ("mean_1", "mean_2", "mix", "stdev_1", "stdev_2")
        },
        "dist2land": _f4("meters", "distance to land"),
        "fpb_avg_dt": _f4("ns", "fpb correction average deadtime", content=_REF),
        "fpb_corr": _f4("meters", "first photon bias correction", content=_REF),
        "fpb_corr_width": _f4("ns", "fpb correction width", content=_REF),
        "fpb_strength": _f4("photons/shot", "fpb correction strength", content=_REF),
        "height_coarse_mn": _plain("meters", "Coarse Track Height Mean"),
        "height_coarse_stdev": _plain("meters", "Coarse Height Sdev"),
        "height_filter_05": _f4("meters", "Height Filter 5th Percentile"),
        "height_filter_min": _f4("meters", "Height Filter Min"),
        "hist_mean_h": _f4("meters", "photon heights mean", content=_REF),
        "hist_median_h": _f4("meters", "trimmed photon heights median", content=_REF),
        "hist_photon_bin_size": _plain("meters", "height histogram bin size"),
        "hist_photon_bottom": _plain("meters", "height histogram minimum"),
        "hist_photon_heights": _int("i2", "photon heights histogram"),
        "hist_photon_top": _plain("meters", "height histogram maximum"),
        "hist_w": _f4("meters", "Segment histogram width estimate", content=_REF),
        "ice_conc_amsr2": _f4("1", "sea ice concentration from AMSR2 file"),
        "ice_conc_ssmi": _f4("1", "sea ice concentration"),
        "layer_flag": _flag("i2", "Consolidated cloud flag", _LAYER, "ATL09"),
        "n_photons_actual": _int("i2", "Number of photons found for the segment", fill=np.int16(-1)),
        "n_photons_define": _int("i2", "Number of photons defining the segment", fill=np.int16(-1)),
        "n_photons_used": _int("i2", "Number of photons used for fit", fill=np.int16(-1)),
        "photon_rate": _f4("photons/shot", "photon rate", content=_REF),
        "trim_height_bottom": _f4("meters", "minimum height of trimmed photons", content=_REF),
        "trim_height_top": _f4("meters", "maximum height of trimmed photons", content=_REF),
    },
    "sea_ice_segments/geolocation": {
        "beam_azimuth": _f4("degrees_east", "beam azimuth", content=_REF),
        "beam_coelev": _f4("degrees", "beam co-elevation", content=_REF),
        "ref_atm_delay": _f4("meters", "Reference Photon Atm. Path Delay", content=_REF),
        "ref_atm_delay_derivative": _f4("meters/meter", "Derivative of Atm. Path Delay", content=_REF),
        "rgt": _int("i2", "Reference Ground track"),
        "sigma_h": _f4("1", "height uncertainty", content=_REF),
        "sigma_lat": _f4("1", "latitude uncertainty", content=_REF),
        "sigma_lon": _f4("degrees", "longitude uncertainty", content=_REF),
        "solar_azimuth": _plain("degrees_east", "solar azimuth"),
        "solar_elevation": _plain("degrees", "solar elevation"),
    },
}

_REFSURF = "Reference surface section"
ATL10: dict[str, dict[str, Column]] = {
    "freeboard_segment": {
        **_SEGMENT,
        "beam_fb_confidence": _f4("1", "Freeboard confidence", content=_REF),
        "beam_fb_height": _f4("meters", "Freeboard height relative to beam_refsurf_height"),
        "beam_fb_quality_flag": _flag("i1", "Flag describing the quality of the freeboard estimate", _FIT),
        "beam_fb_unc": _f4("meters", "Freeboard segment uncertainty"),
        "beam_refsurf_ndx": _int("i4", "Index to  beam refsur"),
    },
    "freeboard_segment/geophysical": {
        **{k: v for k, v in _place().items() if k != "seg_dist_x"},
        **_GEOPHYSICAL,
        "height_segment_tide_pole": _f4("meters", "Pole Tide", content=_REF),
    },
    "freeboard_segment/heights": {
        **{k: v for k, v in _place().items() if k != "seg_dist_x"},
        **_CLOUDS,
        **_BACKGROUND,
        "asr_25": _f4("1", "Apparent surface reflectance at 25 hz"),
        "backgr_r_200": _f4("hz", "background rate 200 hz", "ATL09"),
        "backgr_r_25": _f4("hz", "background rate 25 hz", "ATL09"),
        "bsnow_con": _f4("1", "Blowing snow confidence", "ATL09"),
        "cloud_flag_asr": _flag("i1", "cloud flag asr", _CLOUD, "ATL09"),
        "cloud_flag_atm": _int("i1", "cloud flag atm", "ATL09"),
        "height_segment_confidence": _f4("1", "Surface height confidence"),
        "height_segment_dist2land": _f4("meters", "height of segment distance to land"),
        "height_segment_height": _f4("meters", "height of segment surface"),
        "height_segment_length_seg": _f4("meters", "length of segment"),
        "height_segment_ocdepth": _f4("meters", "height of segment ocean depth"),
        "height_segment_rms": _f4("meters", "height rms"),
        "height_segment_sigma": _f4("meters", "h surface sigma"),
        "height_segment_ssh_flag": _flag(
            "i1", "Sea Surface Height Flag", ([0, 1, 2], "sea_ice potential_sea_ice_surface used_sea_surface")
        ),
        "height_segment_type": _flag("i1", "Segment surface type", _TYPES),
        "height_segment_w_gaussian": _f4("meters", "width of best fit gaussian"),
        "ice_conc_amsr2": _f4("1", "sea ice concentration from AMSR2 file"),
        "ice_conc_ssmi": _f4("1", "sea ice concentration"),
        "layer_flag": _flag("i1", "consolidated cloud flag", _LAYER, "ATL09"),
        "photon_rate": _f4("1", "photon rate"),
        "podppd_flag": _flag("i1", "POD_PPD Flag", _POD),
    },
    "leads": {
        **_place(distance="lead_dist_x", units="m"),
        "lead_height": _f4("meters", "Lead height"),
        "lead_length": _f4("meters", "Lead size"),
        "lead_sigma": _f4("meters", "Lead sigma estimate"),
        "ssh_n": _int("i4", "number of sea surface references"),
        "ssh_ndx": _int("i4", "index first sea surface"),
    },
    "reference_surface_section": {
        **_place(F8_FILL, distance="beam_refsurf_dist_x", units="m"),
        "beam_fb_hist_refsurf": _int("i2", f"{_REFSURF} freeboard histogram"),
        "beam_fb_length_refsurf_sum": _f4("meters", "Total length of freeboard segments"),
        "beam_fb_refsurf": _f4("meters", "Mean reference surface section freeboard"),
        "beam_fb_unc_refsurf": _f4("meters", "Mean freeboard uncertainty"),
        "beam_lead_n": _int("i4", "Number of leads"),
        "beam_lead_ndx": _int("i4", "index first lead"),
        "beam_refsurf_alongtrack_slope": _f4("degrees", "Reference surface along track slope"),
        "beam_refsurf_earth_free2mean": _f4("meters", f"{_REFSURF} solid earth tide free-to-mean conversion"),
        "beam_refsurf_geoid": _f4("meters", "reference surface section mean EGM2008 Geoid", content=_REF),
        "beam_refsurf_geoid_free2mean": _f4("meters", "Reference surface geoid free-to-mean conversion"),
        "beam_refsurf_height": _f4("meters", f"{_REFSURF} height mean"),
        "beam_refsurf_interp_flag": _flag(
            "i2",
            f"{_REFSURF} interpolation flag",
            ([-1, 0, 1, 2, 3], "no_surf leads_in_swath inferred one-point_fill end-point_fill"),
        ),
        "beam_refsurf_mss": _f4("meters", f"{_REFSURF} Mean Sea Surface", content=_REF),
        "beam_refsurf_sigma": _f4("meters", "Reference surface height sigma"),
        "fbswath_ndx": _int("i4", "Index to freeboard swath segment"),
    },
}

BIN_SCALE = _col(
    "i4", "1", "Sea Ice Histogram Bins Dimension Scale", "Sea Ice ATBD", "auxiliaryInformation", None
)
_FINE = {
    "bin_f": 0.025,
    "delta_h_tab": 0.01,
    "delta_w_tab": 0.01,
    "lb_h_tab": -0.5,
    "ub_h_tab": 0.5,
    "lb_w_tab": 0.0,
    "ub_w_tab": 1.5,
    "lb_win_s": -2.0,
    "ub_win_s": 3.5,
    "n_photon_min": 0.8,
    "n_photon_trim": 2,
    "n_s": 150,
    "n_specular": 16.0,
    "n_spec_scale": 4.0,
    "n_w": 2,
    "overlap_switch": 1,
    "ub_length_strong": 200,
    "ub_length_weak": 800,
}
#: Settings of the algorithms, written below ``ancillary_data`` and used from here: thresholds of photon
#: rate (per pulse of a strong beam), of width (m), of background (MHz) and of the sun (degrees) as genuine
#: granules report them, but for the gain of .82 of spot 3, which the twin's detectors do not show.
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "ATL07": {
        "fine_surface_finding": _FINE,
        "sea_ice": {"min_segs_count": 1500, "proc_interval": 10000, "region": 0},
        "surface_classification": {
            "b1": 4.0,
            "beam_gain": np.ones(6, "f4"),
            "height_pct": 0.2,
            "p1": 0.5,
            "p2": 2.5,
            "p3": 11.0,
            "p4": 14.0,
            "theta_cntl": 15.0,
            "theta_nlb": 5.0,
            "theta_ref": 20.0,
            "w1": 0.13,
            "w2": 0.17,
        },
    },
    "ATL10": {
        "freeboard_estimation": {
            "b_fr": 0.025,
            "fbswath_fb_hist_max": 4.0,
            "fbswath_fb_hist_min": 0.0,
            "height_segment_fit_quality_flag_max": 4,
            "height_segment_fit_quality_flag_min": 1,
            "l": 10000.0,
            "lb_n_f": 1,
            "lb_refsurf": -0.5,
            "ub_refsurf": 0.5,
            "maxgapht": 0.05,
            "maxgaptime": 30,
            "maxpadtime": 10.0,
            "multi_beam_disable_flag": 1,
            "refsurf_3pt_smoother": 1,
            "refsurf_sd_fill": 0.05,
        },
    },
}


def write_group(
    group: h5py.Group,
    columns: dict[str, Column],
    values: dict[str, NDArray],
    scale: h5py.Dataset | None = None,
) -> None:
    """Write every dataset of a group; NaN becomes fill, and what `values` lacks is all fill.

    Parameters
    ----------
    group : h5py.Group
    columns : dict
    values : dict of arrays of one length
    scale : h5py.Dataset, optional
        ``delta_time`` of the group above, where this group has none of its own.
    """
    own = "delta_time" in columns
    size = next(iter(values.values())).shape[0] if values else 0
    places = ("delta_time", "latitude", "longitude")
    for name in sorted(columns, key=lambda n: (n != "delta_time", n)):
        column = columns[name]
        data = _filled(values.get(name), column, size)
        ds = group.create_dataset(
            name,
            data=data,
            maxshape=(None,) * data.ndim,
            chunks=(10_000, *(100 for _ in data.shape[1:])),
            compression="gzip",
            compression_opts=6,
            shuffle=data.dtype.kind in "iu",
            fillvalue=column.fill,
        )
        if column.fill is not None:
            ds.attrs["_FillValue"] = column.fill
        set_attrs(ds, column.attrs(" ".join(n if own else f"../{n}" for n in places if n != name)))
        if name == "delta_time":
            scale = ds
            ds.make_scale("delta_time")
        elif scale is not None:
            ds.dims[0].attach_scale(scale)
        if ds.ndim > 1:
            ds.dims[1].attach_scale(_bins(group, ds.shape[1]))


def _bins(group: h5py.Group, size: int) -> h5py.Dataset:
    """Scale of the bins of a group's histogram."""
    if "ds_si_hist_bins" not in group:
        ds = group.create_dataset(
            "ds_si_hist_bins", data=np.arange(1, size + 1, dtype="i4"), maxshape=(None,), chunks=(300,)
        )
        set_attrs(ds, BIN_SCALE.attrs(""))
        ds.make_scale("ds_si_hist_bins")
    return group["ds_si_hist_bins"]


def _filled(values: NDArray | None, column: Column, size: int) -> NDArray:
    kind = np.dtype(column.dtype)
    fill = column.fill
    if fill is None:
        # No declared fill: integers of unknown content hold their type's largest value, as in the product.
        fill = np.iinfo(kind).max if kind.kind in "iu" else (F4_FILL if kind.itemsize == 4 else F8_FILL)
    if values is None:
        return np.full(size, fill, kind)
    values = np.asarray(values)
    if values.dtype.kind == "f":
        return np.where(np.isfinite(values), values, fill).astype(kind)
    return values.astype(kind)


def text(value: Any) -> str:
    """Text of an attribute or one-element dataset."""
    value = np.ravel(value)[0]
    return value.decode() if isinstance(value, bytes) else str(value)


def product_path(source: h5py.File, path: str | Path, product: str, latitude: float) -> Path:
    """File to write: as given, or in a folder under the product's name."""
    path = Path(path)
    if path.is_dir() or path.suffix != ".h5":
        path.mkdir(parents=True, exist_ok=True)
        stamp = Path(source.filename).stem.split("_")
        if len(stamp) < 4 or not stamp[1].isdigit():
            raise GranuleError(
                f"{source.filename}: expected a name like ATL03_yyyymmddhhmmss_ttttccss_006_01.h5 to make the "
                f"name of {product} from; give a file name instead of the folder {path}"
            )
        side = "01" if latitude > 0 else "02"
        path = path / f"{product}-{side}_{stamp[1]}_{stamp[2][:6]}01_{stamp[3]}_01.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _copy(source: h5py.Dataset, group: h5py.Group, name: str) -> None:
    """Copy a small dataset without its references to dimension scales, which would point to nothing."""
    made = group.create_dataset(
        name, data=source[()], maxshape=source.maxshape, chunks=source.chunks, compression=source.compression
    )
    references = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST")
    set_attrs(made, {k: v for k, v in source.attrs.items() if k not in references})


def copy_context(
    out: h5py.File, source: h5py.File, product: str, name: str, times: NDArray[np.float64]
) -> None:
    """Write what belongs to no beam: attributes, metadata, ``orbit_info``, ``ancillary_data`` and quality."""
    attrs = dict(source.attrs)
    parent = text(attrs.get("identifier_file_uuid", source.filename))
    release = text(source["ancillary_data/release"][()]).strip()
    title = {"ATL07": "sea-ice heights", "ATL10": "sea-ice freeboard"}[product]
    set_attrs(
        out,
        {
            **attrs,
            "short_name": product,
            "granule_type": product,
            "level": "L3A",
            "identifier_product_type": product,
            "identifier_product_doi": f"doi:10.5067/ATLAS/{product}.{release}",
            "identifier_file_uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"is2ice-twin:{name}:{parent}")),
            "description": f"Simulated {title} in the layout of {product}; not a NASA product.",
            "summary": f"{title.capitalize()} made from a simulated granule, {Path(source.filename).name}.",
        },
    )
    write_identification(out, product, release, name, text(attrs.get("date_created", "unknown")))
    orbit = out.create_group("orbit_info")
    set_attrs(orbit, dict(source["orbit_info"].attrs))
    for scale, along in ORBIT_SCALES.items():
        for item in (scale, *along):
            _copy(source[f"orbit_info/{item}"], orbit, item)
    attach_orbit_scales(orbit)
    ancillary = out.create_group("ancillary_data")
    set_attrs(ancillary, dict(source["ancillary_data"].attrs))
    for item, data in source["ancillary_data"].items():
        if isinstance(data, h5py.Dataset):
            _copy(data, ancillary, item)
    for item in ("start_region", "end_region"):
        ancillary[item][:] = 1
    if times.size:
        ancillary["start_delta_time"][:], ancillary["end_delta_time"][:] = times.min(), times.max()
    for group, values in SETTINGS[product].items():
        there = ancillary.create_group(group)
        for item, value in values.items():
            kind = "i4" if isinstance(value, int) else "f4"
            set_attrs(
                there.create_dataset(item, data=np.atleast_1d(np.asarray(value, kind))),
                {"source": "Sea Ice ATBD"},
            )
    quality = out.create_group("quality_assessment")
    for item in ("qa_granule_fail_reason", "qa_granule_pass_fail"):
        quality.create_dataset(item, data=np.zeros(1, "i4"))
