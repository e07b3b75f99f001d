"""One track: photons to segments, classes, sea surface and freeboard of one beam, in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from is2ice import engines, schema
from is2ice.errors import ModelError
from is2ice.io.catalogs.icesat2 import resolve_granule
from is2ice.io.remote.source import Source
from is2ice.io.stores import store as stores
from is2ice.io.urls import public_url
from is2ice.science import epoch
from is2ice.version import __version__

from . import segment_blocks
from .options import Options, as_options, pin_classifier
from .receipts import absences

__all__ = ["Chain", "Item", "classes", "derive", "finish", "load", "one_track", "survey"]


@dataclass(frozen=True)
class Item:
    """The unit of work: one beam of one granule.

    Attributes
    ----------
    source : path, URL, file object or earthaccess granule
    granule, beam : str
    origin : mapping
        Marks of the version of the source: size and time of change of a local file. For a URL only the URL itself
        counts, so a file that changed behind it is computed again with ``overwrite="always"``.
    release : str
        Release of ATL03, with which a trained model must agree.
    """

    source: Any = field(repr=False)
    granule: str
    beam: str
    origin: Mapping[str, Any] = field(default_factory=dict)
    release: str = "unknown"

    def __str__(self) -> str:
        return f"{self.granule} {self.beam}".rstrip()


def survey(source: Any, beams: str | Iterable[str] | None) -> list[Item]:
    """List the tracks of a granule or store that a selection of beams names, under names that a store can hold."""
    from is2ice.io.icesat2.atl03 import Granule

    from .stored_segments import select

    if stores.is_store(source):
        return [Item(*found) for found in select(source, beams)]
    source = resolve_granule(source)
    where = Source.of(source)
    origin: dict[str, Any] = {}
    if where.path is not None:
        stat = os.stat(where.path)
        origin = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    elif where.url is not None:
        origin = {"url": public_url(where.url)}
    with Granule(where) as granule:
        names = granule.resolve_beams(beams)
        return [Item(source, stores.group_name(granule.id), b, origin, str(granule.release)) for b in names]


def load(source: Any, beam: str, options: Options, **how: Any) -> xr.Dataset:
    """Load the segments of one beam: from the photons of a granule, or from a stored track unchanged.

    Further keywords go to :meth:`is2ice.io.icesat2.atl03.Granule.track`; ``threads`` is its number of workers.
    """
    from is2ice.io.icesat2.atl03 import Granule, Subset, open_granule

    if stores.is_store(source):
        from .stored_segments import segments

        return segments(source, options, beam)
    threads = how.pop("threads", 2)
    try:
        granule = open_granule(resolve_granule(source), beam)
    except Exception as error:
        engines.release(error)
        raise
    try:
        subset = Subset(options.bbox, options.time, options.x_atc)
        return granule.track(beam, subset, workers=threads, **segment_blocks.segmenting(options), **how)
    except Exception as error:
        engines.release(error)
        raise
    finally:
        if not isinstance(source, Granule):
            granule.close()


def classes(segments: xr.Dataset, options: Options) -> xr.Dataset:
    """Add the surface class to segments."""
    from is2ice.classifiers import by_name

    return by_name(options.classifier, options.classifier_checksum).predict(segments)


def derive(
    segments: xr.Dataset,
    options: Options,
    classify: Callable[[xr.Dataset, Options], xr.Dataset] = classes,
) -> xr.Dataset:
    """Add surface class, local sea surface and freeboard to segments, up to the last step asked for.

    Raises
    ------
    ModelError
        The trained model was replaced during the run.
    """
    from is2ice.science import freeboard, seasurface

    if options.until == "segments":
        return segments
    classified = classify(segments, options)
    trained = options.classifier_checksum
    if trained and trained != classified.attrs.get("classifier_checksum", ""):
        raise ModelError(
            f"classifier {options.classifier}: checksum {classified.attrs.get('classifier_checksum')}, expected "
            f"{options.classifier_checksum}; the model was replaced during the run. Run again"
        )
    if options.until == "classes":
        return classified
    surface = seasurface.estimate(classified, options.method, **options.seasurface)
    return freeboard.compute(surface, **options.freeboard)


@dataclass(frozen=True)
class Chain:
    """The steps of a track, each replaceable: by another reader, or by a stand-in in a test."""

    survey: Callable[[Any, Any], list[Item]] = survey
    load: Callable[..., xr.Dataset] = load
    derive: Callable[[xr.Dataset, Options], xr.Dataset] = derive
    #: Sea surface and freeboard of the classified beams of a granule together; without it each beam is on its own.
    join: Callable[[list[xr.Dataset], Options], list[xr.Dataset]] | None = None

    def joins(self, options: Options) -> bool:
        """Return True if the beams of a granule are computed together: by evidence, unless asked for alone."""
        together = options.seasurface.get("beams", "joint") == "joint"
        return (
            self.join is not None
            and options.until == "freeboard"
            and options.method == "evidence"
            and together
        )


def one_track(source: Any, beam: str, options: Options | Mapping[str, Any] | None = None) -> xr.Dataset:
    """Process one beam of a granule from photons to freeboard, in memory.

    Parameters
    ----------
    source : path, URL, file object, earthaccess granule or Granule
        Or a store, whose segments are then used.
    beam : str
    options : Options or mapping, optional

    Returns
    -------
    xarray.Dataset
        Dims ``(x_atc,)``, with the variables of the stages segments, classified, seasurface and freeboard;
        ``attrs["notes"]`` names what is absent.

    Raises
    ------
    GranuleError, NoSignalError
        As :meth:`is2ice.io.icesat2.atl03.Granule.track`.
    ValueError
        As :func:`is2ice.workflows.options.pin_classifier`.
    """
    options = pin_classifier(as_options(options))
    return schema.with_coordinates(finish(derive(load(source, beam, options), options), options))


def finish(track: xr.Dataset, options: Options) -> xr.Dataset:
    """Add notes and history to a track."""
    classifier = track.attrs.get("classifier", options.classifier)
    step = (
        f"{epoch.now()} is2ice {__version__}: ATL03 photons (confidence >= {options.confidence}) to "
        f"{options.length:g} m segments"
    )
    if options.until != "segments":
        step += f"; class {classifier}"
    if options.until == "freeboard":
        step += f"; sea surface {options.method}; freeboard"
    history = [line for line in (track.attrs.get("history", ""), step) if line]
    notes = dict.fromkeys([*track.attrs.get("notes", ()), *absences(track)])
    return track.assign_attrs(history="\n".join(history), notes=list(notes))
