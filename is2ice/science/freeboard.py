r"""Total freeboard: height of the (snow) surface above the local sea surface.

The uncertainty is :math:`(\sigma_h^2 + \sigma_{ref}^2)^{1/2}`: the noise of a segment and the error of
the sea surface are taken as independent. That is exact outside leads. A segment of a lead shares its own
noise with h_ref in proportion to its weight c in it (covariance :math:`c\,\sigma_h^2`), so its true variance is
smaller by :math:`2c\,\sigma_h^2`; c is below 1/10 in all but the shortest lonely leads, and the stated
uncertainty there is on the safe side. Neighbouring segments share the error of the sea surface: averaging n
of them reduces :math:`\sigma_h` by :math:`n^{1/2}` but not :math:`\sigma_{ref}`.

Freeboard is not clipped by default: half of the noise over water and thin ice is below zero, and cutting it off raises
every mean.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr

from is2ice import schema
from is2ice.errors import SchemaError

__all__ = ["POSSIBLE", "compute"]

#: Least and greatest freeboard that can be, m: waves and noise below, icebergs above.
POSSIBLE = (-2.0, 100.0)


def compute(
    segments: xr.Dataset,
    *,
    flags: Iterable[int] = (0, 1, 2, 3, 4, 5),
    max_uncertainty: float | None = None,
    clip: bool = False,
) -> xr.Dataset:
    """Freeboard and its uncertainty.

    Parameters
    ----------
    segments : xarray.Dataset
        With dims (beam, x_atc) or (x_atc,): height, height_uncertainty and, from
        :func:`is2ice.science.seasurface.estimate`, h_ref, h_ref_uncertainty and h_ref_flag. Lazy arrays stay lazy.
    flags : iterable of int
        Values of h_ref_flag accepted; elsewhere the freeboard is NaN. (0,) keeps only windows that have leads.
    max_uncertainty : float, optional
        Freeboard less certain than this, m, is NaN.
    clip : bool
        Set negative freeboard to zero, as some products do.

    Returns
    -------
    xarray.Dataset
        The segments with freeboard and freeboard_uncertainty, m; NaN together. Freeboards that cannot be (outside
        :data:`POSSIBLE`) are NaN, with the bit ``freeboard_impossible`` in ``segment_quality``.

    Raises
    ------
    SchemaError
        A variable is missing.

    Examples
    --------
    >>> ds = schema.mock_segments(3, stages=("seasurface",))
    >>> compute(ds).freeboard.dims
    ('x_atc',)
    """
    schema.check_dataset(segments, "freeboard")
    needed = ("height", "height_uncertainty", "h_ref", "h_ref_uncertainty", "h_ref_flag")
    missing = [name for name in needed if name not in segments]
    if missing:
        raise SchemaError(
            f"{', '.join(missing)}: missing; freeboard needs {', '.join(needed)}. "
            "Run is2ice.science.seasurface.estimate on the segments first",
            [f"{name}: missing" for name in missing],
        )
    unknown = set(flags := tuple(flags)) - set(schema.H_REF_FLAGS)
    if unknown:
        raise ValueError(f"flags: unknown {sorted(unknown)}; expected some of {schema.H_REF_FLAGS}")
    freeboard = segments["height"].astype("f8") - segments["h_ref"].astype("f8")
    variance = (
        segments["height_uncertainty"].astype("f8") ** 2 + segments["h_ref_uncertainty"].astype("f8") ** 2
    )
    uncertainty = variance**0.5
    accepted = segments["h_ref_flag"].isin([f for f in flags if f >= 0])
    if max_uncertainty is not None:
        accepted = accepted & (uncertainty <= max_uncertainty)
    impossible = freeboard.notnull() & ~((freeboard >= POSSIBLE[0]) & (freeboard <= POSSIBLE[1]))
    accepted = accepted & freeboard.notnull() & ~impossible
    if clip:
        freeboard = freeboard.clip(min=0.0)
    out = segments.assign(
        freeboard=freeboard.where(accepted).astype("f4"),
        freeboard_uncertainty=uncertainty.where(accepted).astype("f4"),
    )
    if "segment_quality" in segments:
        quality = segments["segment_quality"]
        bit = impossible * np.uint16(schema.Quality.FREEBOARD_IMPOSSIBLE)
        out["segment_quality"] = (quality | bit.astype(quality.dtype)).assign_attrs(quality.attrs)
    out = schema.annotate(out, "freeboard")
    if clip:
        out["freeboard"].attrs["comment"] = "negative values set to zero"
    return out
