"""Cost of a run per granule, from its receipts, and a projection to a whole archive."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .receipts import Run

__all__ = ["Cost", "cost_of"]

#: Amounts as receipts write them: "read 12.3 MB of 1.2 GB in 45 requests".
_TRAFFIC = re.compile(r"read ([\d.e+]+) (B|kB|MB|GB) of .* in (\d+) requests")
_UNITS = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}


@dataclass(frozen=True)
class Cost:
    """Cost of the granules of a run.

    Attributes
    ----------
    granules, tracks : int
        Computed in this run; those that were there, or failed, do not count.
    seconds : float
        Seconds of all workers together, reading and waiting for the network included.
    processor : float or None
        Processor seconds of all workers, where they could be measured.
    read, requests : float
        Bytes and requests over the network; 0 for local files.
    stored : float
        Bytes written.
    km : float
        Length of the tracks.
    """

    granules: int
    tracks: int
    seconds: float
    processor: float | None
    read: float
    requests: int
    stored: float
    km: float

    def per_granule(self) -> dict[str, float]:
        """Return the cost of one granule, by name."""
        n = max(self.granules, 1)
        out = {
            "worker seconds": self.seconds / n,
            "bytes read": self.read / n,
            "requests": self.requests / n,
            "bytes stored": self.stored / n,
            "km of track": self.km / n,
        }
        return out if self.processor is None else {"processor seconds": self.processor / n, **out}

    def project(self, granules: int, km: float | None = None) -> dict[str, float]:
        """Project to more granules.

        Parameters
        ----------
        granules : int
        km : float, optional
            Length of the tracks of one granule; by default as measured. Seconds and bytes grow with it. Requests lie
            between two bounds: those for metadata do not grow, those for photons do where ranges are long (each of
            4 MiB is a request) or lie apart, and receipts do not tell the two from each other.

        Returns
        -------
        dict
            Amounts by name: hours, bytes, ``requests`` (with another `km` than measured ``requests at least`` and
            ``requests at most``), km.
        """
        own = self.km / max(self.granules, 1)
        longer = 1.0 if km is None or not own else km / own
        one = self.per_granule()
        grow = {k: v * granules * longer for k, v in one.items()}
        if longer != 1.0:
            bounds = sorted([self.requests / max(self.granules, 1) * granules, grow.pop("requests")])
            grow |= dict(zip(("requests at least", "requests at most"), bounds, strict=True))
        return {k.replace("seconds", "hours"): v / 3600 if "seconds" in k else v for k, v in grow.items()}

    def report(self, granules: int, km: float | None = None) -> str:
        """Tabulate the cost of one granule and of a number of them, as text."""
        lines = [f"measured on {self.granules} granules ({self.tracks} tracks, {self.km:,.0f} km of track)"]
        lines += [f"  a granule: {_text(k, v)}" for k, v in self.per_granule().items()]
        length = "" if km is None else f" of {km:,.0f} km of track"
        lines.append(f"projected to {granules:,} granules{length}, not measured")
        lines += [f"  in all: {_text(k, v)}" for k, v in self.project(granules, km).items()]
        return "\n".join(lines)


def _text(name: str, value: float) -> str:
    if name.startswith("bytes"):
        size, unit = next(
            (s, u) for s, u in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")) if value >= s or u == "MB"
        )
        return f"{value / size:,.2f} {unit} {name.removeprefix('bytes ')}"
    return f"{value:,.1f} {name}"


def cost_of(run: Run, processor: float | None = None) -> Cost:
    """Sum the receipts of a run.

    Parameters
    ----------
    run : Run
    processor : float, optional
        Processor seconds of all workers, measured by the caller.
    """
    read, requests = 0.0, 0
    for receipt in run.done:
        if (found := _TRAFFIC.search(str(receipt.get("traffic", "")))) is not None:
            read += float(found[1]) * _UNITS[found[2]]
            requests += int(found[3])
    return Cost(
        len({r["granule"] for r in run.done}),
        len(run.done),
        sum(sum(r["seconds"].values()) for r in run.done),
        processor,
        read,
        requests,
        float(sum(r["bytes"] for r in run.done)),
        sum(float(r.get("length_km", 0.0)) for r in run.done),
    )
