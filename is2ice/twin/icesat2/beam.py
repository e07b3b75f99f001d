"""One beam of one pass: strip of surface under the footprints, light, photons, background records, confidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from is2ice.twin.scene.scene import Scene
from is2ice.twin.scene.tracks import SHOT_INTERVAL, BeamTrack

from . import instrument, photons, rays
from .instrument import GROUND_SPEED, NS, C
from .strip import SIGMA_FOOTPRINT, Footprints, make_strip

__all__ = ["BeamData", "background_rate", "simulate_beam"]

Array = NDArray[np.float64]

#: Shots per block of work, whole frames; about 20 km.
BLOCK = 28_000
SHOT_SPACING = GROUND_SPEED * SHOT_INTERVAL
#: Shots per window of signal finding, and height of a bin, m.
WINDOW = {"strong": 40, "weak": 80}
BIN_HEIGHT = 0.22
#: Signal-to-background ratio of medium and of high confidence, and the share of the densest bin at which
#: the signal is taken to end (the genuine night track's signal spans about .85 m either way).
LEVELS = np.array([3.0, 8.0, 0.08])


@dataclass
class BeamData:
    """Everything simulated for one beam.

    Photon arrays (in file order): shot (from 0), h (ellipsoid, m), channel, count, conf, quality,
    density, kind (origin, for tests; never written). Records per 50 shots: counts, counts_reduced,
    height, height_reduced, rate, band_top. ``base`` is the height of the local sea surface per shot,
    ``photons_band`` the height of the telemetry band, m.
    """

    track: BeamTrack
    strength: str
    n_shots: int
    x_shot: Array
    base: Array
    photons_band: float
    photons: dict[str, NDArray]
    records: dict[str, NDArray]


def sea_level(scene: Scene, track: BeamTrack, x_atc: Array) -> Array:
    """Height of the instantaneous local sea surface above the ellipsoid, m."""
    node = np.arange(x_atc[0] - 50.0, x_atc[-1] + 100.0, 50.0)
    x, y = track.xy(node)
    c = scene.corrections(x, y)
    level = scene.mss(x, y) + scene.sea_surface(x, y)
    level += c["tide_ocean"] + c["tide_equilibrium"] + c["dac"]
    return np.interp(x_atc, node, level)


def background_rate(scene: Scene, track: BeamTrack, x_atc: Array, strength: str) -> Array:
    """Return the true background rate of a beam, Hz: sunlight from about 35 m of surface and from the air above.

    Parameters
    ----------
    scene : Scene
    track : BeamTrack
    x_atc : (n,) array
        m.
    strength : {"strong", "weak"}
    """
    p = scene.parameters
    dark = p.background_dark * (1.0 if strength == "strong" else 0.25)
    sun = np.sin(np.radians(scene.sun_elevation))
    if sun <= 0:
        return np.full(x_atc.shape, dark)
    node = np.arange(x_atc[0] - 30.0, x_atc[-1] + 40.0, 10.0)
    offset = np.arange(-2, 3) * 8.0
    cx, cy = track.xy(node)
    nx, ny = track.normal(node)
    albedo = scene.surface(
        cx[:, None, None] + offset[:, None] * nx[:, None, None] + offset * ny[:, None, None],
        cy[:, None, None] + offset[:, None] * ny[:, None, None] - offset * nx[:, None, None],
    ).albedo_532.mean((1, 2))
    tau = scene.cloud(cx, cy)
    lit = 1.0 - 0.6 * scene.shadow(cx, cy)
    sky = p.physics.sky_share
    seen = (1 - sky) * albedo / 0.88 * lit * np.exp(-0.4 * tau) + sky + 0.45 * (1 - np.exp(-tau))
    return dark + np.interp(x_atc, node, p.background_zenith * sun * seen * scene.brightness(cx, cy))


def simulate_beam(
    scene: Scene,
    beam: str,
    *,
    sc_orient: int,
    tep: bool,
    optics: str = "strip",
    progress: Callable[[float], None] | None = None,
) -> BeamData:
    """Simulate every photon of a beam.

    Parameters
    ----------
    scene : Scene
    beam : str
    sc_orient : int
        0 backward, 1 forward.
    tep : bool
        Add the transmitter echo (strong beams only).
    optics : {"strip", "rays"}
        How light reaches the receiver: the strip of this module, or :mod:`is2ice.twin.icesat2.rays`.
    progress : callable, optional
        Called with the share done.
    """
    track = scene.track(beam, sc_orient)
    strength = "strong" if beam[3] == "lr"[sc_orient] else "weak"
    n_shots = int((track.x_end - track.x_start) / SHOT_SPACING) // 200 * 200
    if n_shots < 200:
        raise ValueError(f"scene of {scene.length_km} km is shorter than one major frame (142 m)")
    x_shot = track.x_start + SHOT_SPACING * np.arange(n_shots)
    base = sea_level(scene, track, x_shot)
    light_of = {"strip": background_rate, "rays": rays.background_rate}[optics]
    rate = light_of(scene, track, x_shot, strength)
    band_top = _telemetry_top(scene, beam, base)
    parts = []
    receiver = _Receiver(scene, beam, strength, tep, optics)
    for first in range(0, n_shots, BLOCK):
        block = slice(first, min(first + BLOCK, n_shots))
        top = np.repeat(band_top, 200)[block]
        parts.append(receiver.block(scene, track, first, x_shot[block], base[block], rate[block], top))
        if progress is not None:
            progress(block.stop / n_shots)
    ph = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    data = BeamData(
        track,
        strength,
        n_shots,
        x_shot,
        base,
        scene.parameters.telemetry_band,
        ph,
        {"band_top": np.repeat(band_top, 4)},
    )
    _find_signal(scene, beam, data, rate)
    return data


def _telemetry_top(scene: Scene, beam: str, base: Array) -> Array:
    """Top of the telemetry band per major frame, m: the on-board guess of the surface is a metre or two off."""
    rng = np.random.default_rng([scene.seed, 31, _beam_number(beam)])
    frame = base.reshape(-1, 200).mean(1)
    wander = 1.5 * np.sin(np.arange(frame.size) / 90.0 + rng.uniform(0, 6.28))
    return frame + 0.40 * scene.parameters.telemetry_band + wander


def _beam_number(beam: str) -> int:
    return 2 * int(beam[2]) + (beam[3] == "r")


class _Receiver:
    """Constants of one beam and the state its pixels carry from block to block."""

    def __init__(self, scene: Scene, beam: str, strength: str, tep: bool, optics: str) -> None:
        self.optics = optics
        rng = np.random.default_rng([scene.seed, 32, _beam_number(beam)])
        n = instrument.PIXELS[strength]
        p = scene.parameters
        self.seed = rng.integers(0, 2**63, dtype=np.uint64)
        self.edge = np.zeros(n, np.int64)
        self.dead = dead_times(strength) * NS
        self.rate = p.snow_rate * (1.0 if strength == "strong" else 0.25)
        (a, ta), (b, tb) = instrument.PULSE_TAILS
        pulse = instrument.PULSE_SIGMA * NS, instrument.pulse_offset() * NS
        self.pulse = np.array([*pulse, a, ta * NS, b, tb * NS])
        self.afterpulse = np.array([instrument.AFTERPULSE[0], instrument.AFTERPULSE[1] * NS])
        self.tep = np.array([0.05 if tep and strength == "strong" else 0.0, 0.9 * p.telemetry_band])
        self.band = p.telemetry_band

    def block(
        self, scene: Scene, track: BeamTrack, first: int, x: Array, base: Array, rate: Array, top: Array
    ) -> dict[str, NDArray]:
        seen = (rays.footprints if self.optics == "rays" else _strip_footprints)(scene, track, x)
        cx, cy = track.xy(seen.x)
        tau = scene.cloud(cx, cy)
        rows = seen.rows * (scene.haze(cx, cy) * np.exp(-2.0 * tau))
        delayed = np.interp(x, seen.x, 1.0 - np.exp(-0.5 * tau))
        capacity = int(x.size * (3.0 * self.rate + rate.max() * 2 * self.band / C + 4.0)) + 10_000
        while True:
            found = photons.Detected.empty(capacity)
            edge = self.edge.copy()
            shots = photons.Shots(
                first, seen.x_shot, self.rate, rate * 2 * self.band / C, top - self.band - base, delayed
            )
            surface = photons.Strip(seen.along0, rows, seen.cells, seen.height, seen.rough, seen.sigma)
            receiver = photons.Receiver(self.pulse, self.dead, self.afterpulse, self.tep, edge, self.band)
            n = photons.simulate_shots(shots, surface, receiver, self.seed, found)
            if n >= 0:
                break
            capacity *= 2
        self.edge = edge
        out: dict[str, NDArray] = found.first(n)._asdict()
        out["count"] = out.pop("number")
        out["h"] = out["h"] + base[out["shot"]]
        out["shot"] = out["shot"] + np.int32(first)
        return out


def _strip_footprints(scene: Scene, track: BeamTrack, x: Array) -> Footprints:
    """Light of the strip under some shots: a Gaussian footprint over rows and columns 1 m apart."""
    strip = make_strip(scene, track, x[0], x[-1])
    light = strip.backscatter * strip.across_weight
    rows = light.sum(1, dtype=np.float64)
    cells = np.cumsum(light, 1, dtype=np.float64) / rows[:, None]
    return Footprints(strip.x, x, float(strip.x[0]), SIGMA_FOOTPRINT, rows, cells, strip.height, strip.rough)


def dead_times(strength: str) -> Array:
    """Dead time of each pixel, ns; what the granule's calibration reports too."""
    n = instrument.PIXELS[strength]
    return instrument.DEAD_TIME[strength] + instrument.DEAD_SCATTER * np.cos(2.4 * np.arange(n) + 0.3)


def _find_signal(scene: Scene, beam: str, data: BeamData, true_rate: Array) -> None:
    """Background records and signal confidence, from detected photons only."""
    ph, p = data.photons, scene.parameters
    n_rec = data.n_shots // 50
    record = ph["shot"] // 50
    # The 50-shot sum counts every event of the range window, of which the telemetry band is a part.
    rng = np.random.default_rng([scene.seed, 33, _beam_number(beam)])
    outside = 50 * 2 * (p.background_height - p.telemetry_band) / C
    echo = ph["kind"] == 3
    beyond = rng.poisson(true_rate.reshape(-1, 50).mean(1) * outside)
    counts = np.bincount(record, minlength=n_rec) + beyond
    bottom = float(ph["h"].min()) if ph["h"].size else 0.0
    extent = float(np.ptp(ph["h"])) + 1.0 if ph["h"].size else 1.0
    n = ph["h"].size
    # Outside the telemetry band there is no surface: a first estimate, smoothed over 13 records.
    estimate = _running_mean(beyond / outside, 13)
    histogram = photons.Histogram(WINDOW[data.strength], BIN_HEIGHT, bottom, extent, 2 / C, LEVELS)
    found = photons.Found.empty(n)
    photons.confidence(ph["shot"], ph["h"], estimate, data.n_shots, histogram, found)
    ph["conf"], ph["density"], ph["peak"] = found
    signal = ph["conf"] >= 2
    n_signal = np.bincount(record[signal], minlength=n_rec)
    removed = _signal_height(record[signal], ph["h"][signal], n_rec)
    height = np.full(n_rec, np.float32(p.background_height), np.float32)
    reduced = (height - removed).astype(np.float32)
    counts_reduced = (counts - n_signal).astype(np.int32)
    data.records.update(
        counts=counts.astype(np.int32),
        counts_reduced=counts_reduced,
        height=height,
        height_reduced=reduced,
        rate=(counts_reduced / (50 * 2 * reduced.astype(np.float64) / C)).astype(np.float32),
    )
    ph["quality"] = _quality(data)
    ph["conf"][echo] = -2
    ph["quality"][echo] = 3


def _running_mean(values: Array, n: int) -> Array:
    kernel = np.ones(min(n, values.size))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(values.size), kernel, "same")


def _signal_height(record: NDArray, h: Array, n_rec: int) -> Array:
    """Height taken out of each record's range window: the bins that hold signal photons, m."""
    bins = np.unique(record.astype(np.int64) * 100_000 + np.floor(h / BIN_HEIGHT).astype(np.int64) + 50_000)
    return np.bincount(bins // 100_000, minlength=n_rec)[:n_rec] * BIN_HEIGHT


def _quality(data: BeamData) -> NDArray[np.int8]:
    """Photon quality: possible afterpulses 2-5 m and impulse-response echoes 5-18 m under a bright return."""
    ph = data.photons
    pixels = instrument.PIXELS[data.strength]
    per_shot = np.bincount(ph["shot"][ph["conf"] >= 2], minlength=data.n_shots)[ph["shot"]]
    below = ph["peak"] - ph["h"]
    quality = np.zeros(below.size, np.int8)
    weak = ph["conf"] < 2
    quality[weak & (per_shot >= 0.6 * pixels) & (below > 2.0) & (below <= 5.0)] = 1
    quality[weak & (per_shot >= 0.9 * pixels) & (below > 5.0) & (below <= 18.0)] = 2
    return quality
