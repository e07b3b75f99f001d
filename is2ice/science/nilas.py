r"""Runs of dim, smooth cells that carry the sea surface where no lead is in reach.

New ice and rough water send back as little light, and both are flat: light cannot tell them apart. Nilas stands 0 to
4 cm above the water (:data:`is2ice.science.surface_process.NILAS`), the darker the lower: a run is taken to stand
anywhere between 0 and :func:`is2ice.science.lead_evidence.film_height` above the sea, which by the mean is 1.2 cm at a
brightness of 0.3 of the ice about it, 0.8 cm at 0.2 and 0.4 cm at 0.1. How high the nilas of a pass really stands is
not known, and since its ice has one history, that error is shared by all runs of a stretch. So :data:`ERROR`, the
standard deviation of heights anywhere between 0 and 4 cm, is added (in squares) to the error of the surface.

Where leads are, nilas is better not used. Where none is in reach it is worth far more than nothing, as long as it is
said: such surfaces have the flag ``from_nilas``.

A run counts if all its cells are thin ice or water to the classifier, as dim as nilas and water are (:data:`DIM`, mean
over a footprint, over the median of the ice within 5 km), if it is longer than two footprints, smooth, and not above
the lowest surface about it. Brighter runs are thicker ice. In the melt season of the Arctic none counts
(:mod:`is2ice.science.melt_season`): a pond is as dim and flat, and on a floe without leads it is the lowest surface.
`benchmarks/sea_surface.py` prints the errors by flag, and those where no beam has a lead.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from . import lead_evidence
from .along_track import running_sum

__all__ = ["ERROR", "PRIOR", "are_nilas", "cells"]

F8 = NDArray[np.float64]

#: Brightest mean over a footprint, over the ice about; least length of a run, m.
DIM, LONG = 0.30, 24.0
#: Least log-odds of smoothness, and most height over the low level in its errors.
SMOOTH, HIGH = 0.0, 2.5
#: Probability that such a run is no thicker than nilas, and the standard error that all runs of a stretch share, m:
#: that of heights anywhere between 0 and 4 cm.
PRIOR, ERROR = 0.85, 0.012


def cells(columns: Mapping[str, F8], half: int) -> NDArray[np.bool_]:
    """Cells that may be nilas or dark water.

    Parameters
    ----------
    columns : mapping
        brightness, and ``thin_or_water``: 1 where the classifier says thin ice or open water.
    half : int
        Cells on both sides that brightness is averaged over.
    """
    known = np.isfinite(columns["brightness"])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = running_sum(columns["brightness"], half) / running_sum(known.astype(float), half)
    return np.asarray((columns["thin_or_water"] > 0) & (mean < DIM))


def are_nilas(runs: xr.Dataset) -> NDArray[np.bool_]:
    """Choose the runs that may carry the surface.

    Parameters
    ----------
    runs : xarray.Dataset
        Runs of such cells as :func:`is2ice.science.lead_evidence.terms` takes leads.
    """
    tolerance = np.hypot(np.minimum(runs["sigma"].values, lead_evidence.MOST_SIGMA), lead_evidence.SLOPE)
    above = (runs["height"].values - runs["low_level"].values) / tolerance
    with np.errstate(invalid="ignore"):
        return np.asarray(
            (runs["length"].values >= LONG)
            & (runs["flatness"].values >= SMOOTH)
            & (np.nan_to_num(above) < HIGH)
        )
