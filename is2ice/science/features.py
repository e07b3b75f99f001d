"""Features of segments, sequences of them, and their normalisation.

A feature set is data: a name, and features each with units, a meaning and the column it is made of. No set
but ``notebook`` uses a label, and that one is refused unless its leaking feature is asked for by name.

A sequence is a stretch of the regular grid, the segment in its middle. It lies whole on cells that have
values: a gap in the track is never bridged. For the published sets a cell without photons is a gap too, as
it was in the published windows (kept only where five rows lie 2 m apart). For ours only cells that no pulse
met, or that lie under a cloud which takes nearly all light, are: a cell under pulses that sent nothing back is
dark, which is what water is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice.errors import Is2IceError, require

from .along_track import spots
from .feature_columns import FeatureColumns

__all__ = [
    "FEATURE_SETS",
    "Feature",
    "FeatureSet",
    "LeakError",
    "Normalisation",
    "build",
    "centres",
    "feature_set",
    "sequences",
    "windows",
]

F4 = NDArray[np.float32]


class LeakError(Is2IceError, ValueError):
    """A feature made from labels was asked for without naming it."""


@dataclass(frozen=True)
class Feature:
    """One feature.

    Attributes
    ----------
    name, units, long_name : str
    column : callable
        From a track of :mod:`is2ice.science.feature_columns` to the values of its cells.
    leaking : bool
        Made from labels: at inference it does not exist, and in training it tells the answer.
    night : float, optional
        Value without sun; None if it does not depend on the sun.
    """

    name: str
    units: str
    long_name: str
    column: Callable[[FeatureColumns], NDArray[np.float64]] = field(repr=False, compare=False)
    leaking: bool = False
    night: float | None = None


@dataclass(frozen=True)
class FeatureSet:
    """Features in their order, and how many cells to each side a sequence reaches by default.

    Attributes
    ----------
    name : str
    features : tuple of Feature
    context : int
        Cells on each side of the middle one.
    dark_cells : bool
        True if a cell below pulses without a returned photon has values.
    """

    name: str
    features: tuple[Feature, ...]
    context: int = 2
    dark_cells: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return tuple(f.name for f in self.features)

    @property
    def leaking(self) -> tuple[str, ...]:
        """Names of the features made from labels."""
        return tuple(f.name for f in self.features if f.leaking)

    def without(self, *names: str) -> FeatureSet:
        """Return the set less some features, for an ablation."""
        unknown = sorted(set(names) - set(self.names))
        if unknown:
            raise ValueError(
                f"feature set {self.name}: no feature {', '.join(unknown)}; it has {', '.join(self.names)}"
            )
        left = tuple(f for f in self.features if f.name not in names)
        return replace(self, name=f"{self.name} without {', '.join(names)}", features=left)


_H_COR = Feature("h_cor_mean", "m", "corrected mean height", FeatureColumns.h_cor_mean)
_H_DIFF = Feature("h_diff", "m", "mean less median height", FeatureColumns.h_diff)
_ABOVE_TRUTH = Feature(
    "rel_height_min_elev",
    "m",
    "height above the lowest segment labelled water",
    FeatureColumns.above_truth,
    leaking=True,
)
_ABOVE_LOW = Feature(
    "height_above_low", "m", "height above the local low level", lambda t: t.h_cor_mean() - t.low
)
_OTHERS = (
    Feature("height_sd", "m", "standard deviation of photon heights", lambda t: t.column("h_std")),
    Feature("pcnth_mean", "1", "selected photons of the same pulse", lambda t: t.column("pcnth")),
    Feature("pcnt_mean", "1", "photons of the same pulse", lambda t: t.column("pcnt")),
    Feature("bcnt_mean", "1", "50-pulse background sum", lambda t: t.column("background_counts")),
    Feature("brate_mean", "s-1", "background rate", lambda t: t.column("background_rate")),
)
_CHANGES = (
    Feature("pcnt_change", "1", "change of photons of the same pulse", lambda t: t.change("pcnt")),
    Feature("brate_change", "s-1", "change of the background rate", lambda t: t.change("background_rate")),
)
_DEFAULT = (
    Feature("rate_2m", "1", "photon rate over the local ice's, log2", lambda t: t.rate(2.0)),
    Feature("rate_10m", "1", "the same over 10 m", lambda t: t.rate(10.0)),
    Feature("rate_30m", "1", "the same over 30 m", lambda t: t.rate(30.0)),
    Feature("rate_100m", "1", "the same over 100 m", lambda t: t.rate(100.0)),
    Feature("empty", "1", "share of pulses without a signal photon", FeatureColumns.empty),
    Feature("height_10m", "m", "height over 10 m above the local low level", lambda t: t.above_low(10.0)),
    Feature("height_50m", "m", "height over 50 m above the local low level", lambda t: t.above_low(50.0)),
    Feature("height_400m", "m", "height over 400 m above the local low level", lambda t: t.above_low(400.0)),
    Feature("width", "1", "spread of photons over 22 m over a flat surface's, log2", FeatureColumns.width),
    Feature(
        "own_width", "1", "spread of the cell's photons over a flat surface's, log2", FeatureColumns.own_width
    ),
    Feature("skew", "m", "mean less median height", FeatureColumns.skew),
    Feature(
        "brightness", "1", "background rate over the local bright ice's", FeatureColumns.brightness, night=1.0
    ),
    Feature("brightness_100m", "1", "the same over 100 m", lambda t: t.brightness(100.0), night=1.0),
    Feature(
        "noise_10m",
        "1",
        "photons that are no signal over the local bright ice's",
        lambda t: t.noise(10.0),
        night=1.0,
    ),
    Feature("noise_30m", "1", "the same over 30 m", lambda t: t.noise(30.0), night=1.0),
    Feature("day", "1", "whether the sun lights the background", lambda t: t.day.astype("f8"), night=0.0),
    Feature("strong", "1", "whether the beam is strong", lambda t: np.full(t.size, float(t.strong))),
)

_BY_NAME = {f.name: f for f in _DEFAULT}
_STRIPS = (
    *(_BY_NAME[n] for n in _BY_NAME if n not in ("brightness_100m",)),
    Feature("strip_width", "1", "length of the strip the cell lies in, log2", FeatureColumns.strip_width),
    Feature(
        "strip_rate", "1", "photon rate over the strip over the local ice's, log2", FeatureColumns.strip_rate
    ),
    Feature(
        "strip_height", "m", "height of the strip above the local low level", FeatureColumns.strip_height
    ),
    Feature(
        "strip_spread",
        "1",
        "spread of photons, mean over the strip, log2",
        lambda t: t.over_strip(t.own_width()),
    ),
    Feature(
        "strip_noise", "1", "noise photons over the strip", lambda t: t.over_strip(t.noise(2.0)), night=1.0
    ),
    Feature(
        "strip_brightness", "1", "background of the strip alone", lambda t: t.strip_brightness, night=1.0
    ),
    Feature(
        "dark_level",
        "1",
        "brightness of the darkest records of the region",
        lambda t: t.dark_level,
        night=1.0,
    ),
    Feature(
        "above_dark",
        "1",
        "brightness of the strip alone, from the darkest to the bright",
        FeatureColumns.above_dark,
        night=1.0,
    ),
    Feature("relief_20m", "1", "spread of heights over 20 m, log2", lambda t: t.relief(20.0)),
    Feature("relief_60m", "1", "spread of heights over 60 m, log2", lambda t: t.relief(60.0)),
    Feature("strip_share", "1", "share of strips in the background record", lambda t: t.strip_share),
    Feature("height_dip", "m", "height over 10 m less that over 150 m", FeatureColumns.height_dip),
    Feature(
        "beside_low", "1", "lesser photon rate 14 m before or after", lambda t: t.beside(14.0, high=False)
    ),
    Feature(
        "beside_high", "1", "greater photon rate 14 m before or after", lambda t: t.beside(14.0, high=True)
    ),
)

_OTHER = {f.name: f for f in _OTHERS}

#: Feature sets by name: ``paper`` the six of the paper as its notebooks read them, ``paper_changes`` as its text does
#: (changes of photon rate and of background rate from cell to cell), ``notebook`` the eight of the authors' notebooks,
#: one of them leaking, ``notebook_label_free`` the same with that one made without labels, ``default`` ours for
#: networks, ``strips`` ours for single cells: the same and what is known of the strip that a cell lies in.
FEATURE_SETS: dict[str, FeatureSet] = {
    s.name: s
    for s in (
        FeatureSet("paper", (_H_COR, *_OTHERS)),
        FeatureSet(
            "paper_changes",
            (_H_COR, *(_OTHER[n] for n in ("height_sd", "pcnth_mean", "bcnt_mean")), *_CHANGES),
        ),
        FeatureSet("notebook", (_H_COR, _H_DIFF, _ABOVE_TRUTH, *_OTHERS)),
        FeatureSet("notebook_label_free", (_H_COR, _H_DIFF, _ABOVE_LOW, *_OTHERS)),
        FeatureSet("default", _DEFAULT, context=16, dark_cells=True),
        FeatureSet("strips", _STRIPS, context=0, dark_cells=True),
    )
}


def feature_set(which: str | FeatureSet, leaking: Iterable[str] = ()) -> FeatureSet:
    """Return a feature set by name, refused where it leaks unless the leaking features are named.

    Parameters
    ----------
    which : str or FeatureSet
    leaking : iterable of str
        Features made from labels that are wanted all the same.

    Raises
    ------
    ValueError
        Unknown name.
    LeakError
        A leaking feature that is not named.
    """
    if isinstance(which, str):
        if which not in FEATURE_SETS:
            raise ValueError(f"feature set {which!r}: expected one of {', '.join(FEATURE_SETS)}")
        which = FEATURE_SETS[which]
    refused = [name for name in which.leaking if name not in set(leaking)]
    if refused:
        raise LeakError(
            f"feature set {which.name!r}: {', '.join(refused)} is made from the labels of the segments it is to help "
            f"label, and does not exist where there are none. To reproduce the published figure all the same, pass "
            f"leaking={refused!r}; else use 'notebook_label_free'"
        )
    return which


def build(
    segments: xr.Dataset, features: str | FeatureSet = "default", *, leaking: Iterable[str] = ()
) -> xr.DataArray:
    """Features of every cell of a track, or of each beam of a cube.

    Parameters
    ----------
    segments : xarray.Dataset
        :data:`is2ice.schema.SEGMENTS`, dims ``(x_atc,)`` or ``(beam, x_atc)``; whole tracks, as the local ice and
        the local low level are read over 10 km.
    features : str or FeatureSet
    leaking : iterable of str
        Features made from labels that are wanted all the same.

    Returns
    -------
    xarray.DataArray
        float32, dims ``(..., x_atc, feature)``; NaN where a cell has no values, in all features at once.

    Raises
    ------
    LeakError
        A leaking feature that is not named.
    KeyError
        A variable that a feature needs is missing.
    """
    chosen = feature_set(features, leaking)
    number = spots(segments)
    cube = "beam" in segments.dims
    tracks = [segments.isel(beam=b) for b in range(segments.sizes["beam"])] if cube else [segments]
    values = np.stack([_track(t, s, chosen) for t, s in zip(tracks, number, strict=True)])
    dims = ("beam", "x_atc", "feature") if cube else ("x_atc", "feature")
    coords = {"x_atc": segments["x_atc"].values, "feature": list(chosen.names)}
    coords |= {"beam": segments["beam"].values} if cube else {}
    attrs = {"feature_set": chosen.name, "units": [f.units for f in chosen.features]}
    return xr.DataArray(values if cube else values[0], coords, dims, "features", attrs)


def _track(segments: xr.Dataset, spot: int, chosen: FeatureSet) -> F4:
    track = FeatureColumns(segments, spot)
    values = np.empty((track.size, len(chosen.features)), np.float32)
    for k, feature in enumerate(chosen.features):
        values[:, k] = feature.column(track)
    none = track.gap | (track.clouded if chosen.dark_cells else track.photons <= 0)
    values[none | ~np.isfinite(values).all(axis=1)] = np.nan
    return values


def centres(values: NDArray, context: int = 2) -> NDArray[np.intp]:
    """Cells that have values all around them, ``context`` cells to each side.

    Parameters
    ----------
    values : (n, F) array
        Features of one track along the grid; NaN where a cell has none.
    context : int
    """
    if np.ndim(values) != 2:
        raise ValueError(f"windows: expected (cells, features) of one track, got {np.shape(values)}")
    if context < 0:
        raise ValueError(f"windows: context: expected 0 or more cells, got {context!r}")
    span = 2 * context + 1
    if len(values) < span:
        return np.empty(0, np.intp)
    missing = np.concatenate([[0], np.cumsum(~np.isfinite(values).all(axis=1))])
    return np.flatnonzero(missing[span:] == missing[:-span]) + context


def sequences(values: NDArray, centre: NDArray[np.intp], context: int = 2) -> F4:
    """Return the cells about some centres: (m, 2 context + 1, F), float32."""
    span = 2 * context + 1
    if not len(centre):
        return np.empty((0, span, values.shape[1]), np.float32)
    view = np.lib.stride_tricks.sliding_window_view(np.asarray(values, np.float32), span, axis=0)
    return np.ascontiguousarray(view[np.asarray(centre) - context].swapaxes(1, 2))


def windows(values: NDArray, context: int = 2) -> tuple[NDArray[np.intp], F4]:
    """Sequences about every cell that has values all around it.

    Parameters
    ----------
    values : (n, F) array
        Features of one track along the grid (consecutive cells); NaN where a cell has none.
    context : int
        Cells on each side.

    Returns
    -------
    centres : (m,) array of int
        Cells in the middle of a sequence.
    sequences : (m, 2 context + 1, F) array of float32
        A cell without values, be it a gap or (in the published sets) one without photons, is in none of them.
    """
    centre = centres(values, context)
    return centre, sequences(values, centre, context)


@dataclass(frozen=True)
class Normalisation:
    """Centre and scale of each feature, learnt from training data and saved with the model.

    Attributes
    ----------
    features : tuple of str
    centre, scale : tuple of float
    """

    features: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def fit(cls, x: Any, features: Iterable[str], *, form: str = "z") -> Normalisation:
        """Learn from training data.

        Parameters
        ----------
        x : (..., F) array
            Training data only; NumPy, or Dask (then with dask-ml's scaler).
        features : iterable of str
        form : {"z", "published"}
            ``(x - mean) / sd``, or the notebooks' ``(x - mean) / (1 - sd)``.

        Raises
        ------
        ValueError
            Nothing to learn from, values that are not finite, or a published scale of zero.
        """
        features = tuple(features)
        if form not in ("z", "published"):
            raise ValueError(f"normalisation: form: expected 'z' or 'published', got {form!r}")
        if x.shape[-1] != len(features) or not x.size:
            raise ValueError(f"normalisation: expected samples of {len(features)} features, got {x.shape}")
        mean, sd = _moments(x.reshape(-1, x.shape[-1]))
        if not np.isfinite(mean).all() or not np.isfinite(sd).all():
            bad = [n for n, m, s in zip(features, mean, sd, strict=True) if not np.isfinite(m + s)]
            raise ValueError(
                f"normalisation: {', '.join(bad)}: not finite in every sample; drop those (windows does)"
            )
        if form == "published" and (np.abs(1 - sd) < 1e-6).any():
            raise ValueError("normalisation: the published form divides by 1 - sd, and a feature has sd = 1")
        # What never varies in training says nothing: it stays as it is, about zero.
        scale = (
            1 - sd if form == "published" else np.where(sd > 1e-6 * np.maximum(1.0, np.abs(mean)), sd, 1.0)
        )
        return cls(features, tuple(mean.tolist()), tuple(scale.tolist()))

    def apply(self, x: Any) -> Any:
        """Normalise samples (..., F), lazily where they are."""
        if x.shape[-1] != len(self.features):
            raise ValueError(
                f"normalisation: expected {len(self.features)} features ({', '.join(self.features)}), got {x.shape[-1]}"
            )
        centre, scale = np.asarray(self.centre, "f4"), np.asarray(self.scale, "f4")
        return (x - centre) / scale

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for JSON."""
        return {"features": list(self.features), "centre": list(self.centre), "scale": list(self.scale)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Normalisation:
        """From :meth:`to_dict`.

        Raises
        ------
        ValueError
            A key is missing, lengths differ, or a number is not finite or a scale zero.
        """
        try:
            features = tuple(str(n) for n in saved["features"])
            centre, scale = (tuple(float(v) for v in saved[k]) for k in ("centre", "scale"))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"normalisation: expected features, centre and scale, got {error}") from error
        if (
            not len(features) == len(centre) == len(scale)
            or not np.isfinite([*centre, *scale]).all()
            or 0.0 in scale
        ):
            raise ValueError(
                "normalisation: expected a finite centre and a scale other than 0 for each feature"
            )
        return cls(features, centre, scale)


def _moments(x: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each column, in double precision."""
    if isinstance(x, np.ndarray):
        return x.mean(axis=0, dtype="f8"), x.std(axis=0, dtype="f8")
    require("dask_ml")
    from dask_ml.preprocessing import StandardScaler

    scaler = StandardScaler().fit(x.astype("f8"))
    return np.asarray(scaler.mean_), np.sqrt(np.asarray(scaler.var_))
