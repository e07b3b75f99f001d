"""A flat strong beam in the layout of ATL03, as long as wanted: for timings and damaged-file tests.

No physics: heights are normal about a plane, a third of the photons are noise. For anything scientific
use :func:`is2ice.twin.make_granule`.

    python -m is2ice.twin.icesat2.flat_beam build/beam_30m.h5 --photons 30_000_000
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
import numpy as np

from is2ice.twin.scene.tracks import GEOSEGMENT

CHUNK = 10_000
SPACING = 0.7098


def write_beam(
    path: Path, photons: int, *, seed: int = 0, beam: str = "gt2r", photons_per_pulse: float = 9.0
) -> Path:
    """Write one strong beam of about ``photons`` photons, gzip and shuffle as NASA writes."""
    rng = np.random.default_rng(seed)
    pulses = max(200, int(photons // photons_per_pulse))
    pulse = np.repeat(np.arange(pulses), rng.poisson(photons_per_pulse, pulses))
    n = pulse.size
    x0 = 28_000_000.0
    x = x0 + pulse * SPACING
    geo = np.floor((x - x0) / GEOSEGMENT).astype("i8")
    n_geo = int(geo[-1]) + 1
    count = np.bincount(geo, minlength=n_geo)
    begin = np.where(count > 0, np.concatenate([[0], np.cumsum(count)[:-1]]) + 1, 0)
    signal = rng.random(n) < 0.65
    h = np.where(signal, rng.normal(-55.0, 0.13, n), rng.uniform(-70.0, -40.0, n)).astype("f4")
    conf = np.full((n, 5), -1, "i1")
    conf[:, 2] = np.where(np.abs(h + 55.0) < 1.0, 4, np.where(np.abs(h + 55.0) < 10.0, 1, 0))
    conf[:, 1] = conf[:, 2]
    time = 58_000_000.0 + pulse * 1e-4
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as f:

        def put(name: str, a: np.ndarray) -> None:
            rows = min(CHUNK, len(a)) or 1
            f.create_dataset(
                f"{beam}/{name}",
                data=a,
                chunks=(rows, *a.shape[1:]),
                compression="gzip",
                compression_opts=6,
                shuffle=a.dtype.kind in "iu",
            )

        put("heights/delta_time", time)
        put("heights/lat_ph", -74.0 - x / 111e3 % 3)
        put("heights/lon_ph", -170.0 + x / 500e3 % 2)
        put("heights/h_ph", h)
        put("heights/dist_ph_along", (x - x0 - geo * GEOSEGMENT).astype("f4"))
        put("heights/dist_ph_across", rng.normal(3300, 0.01, n).astype("f4"))
        put("heights/signal_conf_ph", conf)
        put("heights/quality_ph", np.zeros(n, "i1"))
        put("heights/weight_ph", rng.integers(0, 255, n).astype("u1"))
        put("heights/pce_mframe_cnt", (1_000_000 + pulse // 200).astype("u4"))
        put("heights/ph_id_pulse", (pulse % 200 + 1).astype("u1"))
        put("heights/ph_id_count", np.ones(n, "u1"))
        put("heights/ph_id_channel", rng.integers(1, 17, n).astype("u1"))
        first = np.where(count > 0, begin - 1, 0)
        k = np.arange(n_geo)
        put("geolocation/segment_id", (1_400_000 + k).astype("i4"))
        put("geolocation/segment_dist_x", x0 + k * GEOSEGMENT)
        put("geolocation/segment_length", np.full(n_geo, GEOSEGMENT))
        put("geolocation/segment_ph_cnt", count.astype("i4"))
        put("geolocation/ph_index_beg", begin)
        put("geolocation/reference_photon_index", np.where(count > 0, count // 2 + 1, 0).astype("i4"))
        put("geolocation/reference_photon_lat", -74.0 - k * 1.7e-4 / 20)
        put("geolocation/reference_photon_lon", -170.0 - k * 5e-5 / 20)
        put("geolocation/delta_time", time[np.minimum(first + count // 2, n - 1)])
        put("geolocation/podppd_flag", np.zeros(n_geo, "i1"))
        put("geolocation/full_sat_fract", np.zeros(n_geo, "f4"))
        put("geolocation/solar_elevation", np.full(n_geo, 25.0, "f4"))
        surf = np.zeros((n_geo, 5), "i1")
        surf[:, 1:3] = 1
        put("geolocation/surf_type", surf)
        for name, value in (
            ("tide_ocean", 0.1),
            ("tide_equilibrium", 0.01),
            ("dac", -0.1),
            ("geoid", -54.8),
            ("dem_h", -55.3),
        ):
            put(f"geophys_corr/{name}", (value + 1e-6 * k).astype("f4"))
        put("geophys_corr/dem_flag", np.full(n_geo, 3, "i1"))
        start = 58_000_000.0 + np.arange(pulses // 50 + 1) * 5e-3
        put("bckgrd_atlas/delta_time", start)
        put("bckgrd_atlas/bckgrd_counts", rng.poisson(1400, start.size).astype("i4"))
        put("bckgrd_atlas/bckgrd_rate", rng.normal(6e6, 1e5, start.size).astype("f4"))
        f[beam].attrs.update(atlas_beam_type="strong", atlas_spot_number="3", sc_orientation="Forward")
        f["orbit_info/sc_orient"] = np.array([1], "i1")
        f["ancillary_data/release"] = np.array([b"006"])
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--photons", type=lambda s: int(s.replace("_", "")), default=30_000_000)
    args = parser.parse_args()
    write_beam(args.path, args.photons)
