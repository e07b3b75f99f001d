"""Table of the commands: home, help, and the command that usually comes next.

The help of each is repeated here, so that ``is2ice --help`` loads no command.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["CHECKOUT", "COMMANDS", "RENAMED", "Entry"]

#: True if the package runs from a checkout, with its benchmarks beside it.
CHECKOUT = (Path(__file__).resolve().parents[2] / "benchmarks").is_dir()

#: Commands that scripts may still call by an earlier name.
RENAMED = {"info": "show", "grid": "map"}

_WORK, _LEARN, _STORES, _MORE = "Work, in this order", "Labels and training", "Stores", "More"


@dataclass(frozen=True)
class Entry:
    """A command.

    Attributes
    ----------
    home : str
        Module of ``cli`` and name of its application, as ``module:app``.
    panel, help : str
        Its place and its line in ``is2ice --help``.
    next : str
        Next step, in which ``{name}`` is the value of a parameter; of a group, the one of commands without their own.
    inner : mapping
        Next steps of the commands of a group.
    """

    home: str
    panel: str
    help: str
    next: str = ""
    inner: dict[str, str] = field(default_factory=dict)


COMMANDS = {
    "search": Entry(
        "search:app",
        _WORK,
        "Find ICESat-2 granules that meet an area; needs no login.",
        "is2ice run GRANULE --store tracks.zarr   (its name is enough; downloads need a login)",
    ),
    "order": Entry(
        "order:app",
        _WORK,
        "Order parts of granules from NASA (Harmony), wait for them and fetch them; needs an Earthdata login.",
        "is2ice products FILE",
    ),
    "run": Entry(
        "run:app",
        _WORK,
        "Process granules into a store: 2 m segments, surface class, local sea surface and freeboard.",
        "is2ice show {store}",
    ),
    "show": Entry(
        "show:show_app",
        _WORK,
        "List the contents of a store or granule and what they lack, or show the card of a trained model.",
        "is2ice quicklook {source}",
    ),
    "quicklook": Entry(
        "show:quicklook_app",
        _WORK,
        "Draw one beam: of a granule, which is processed without a store, or of a store.",
        "is2ice run GRANULE --store tracks.zarr   (all beams, kept)",
    ),
    "explore": Entry(
        "explore:app",
        _WORK,
        "Write a page with a polar map of the tracks of a store; a click on a track shows its profile.",
        "is2ice compare {store} BEAM --atl10 FILE",
    ),
    "stats": Entry(
        "stats:app",
        _WORK,
        "Measure leads, openings (widths, spacing), floe chords, ridges and roughness, track by track.",
        "is2ice map {store} --out map.nc",
    ),
    "compare": Entry(
        "compare:app",
        _WORK,
        "Compare a track with ATL07 or ATL10: heights, sea surface, freeboard, points, leads, classes.",
        "is2ice map STORE --out map.nc",
    ),
    "products": Entry(
        "products:app",
        _WORK,
        "Check an ATL07 or ATL10 granule against its own data, or describe a product and list its variables.",
        "is2ice compare GRANULE BEAM --atl10 FILE",
    ),
    "map": Entry(
        "maps:app",
        _WORK,
        "Map stores or ATL10 granules: length-weighted means, spread, counts, lead fraction, uncertainty.",
        "is2ice publish {sources[0]} s3://bucket/name --dry-run",
    ),
    "export": Entry(
        "export:app",
        _WORK,
        "Write tracks of a store or granule as NetCDF, GeoParquet, GeoPackage, FlatGeobuf or CSV.",
        "is2ice map STORE --out map.nc",
    ),
    "publish": Entry(
        "publish:publish_app",
        _WORK,
        "Publish a store: check it, copy what is new, and move the pointer last.",
        "is2ice show {target}",
    ),
    "labels": Entry(
        "labels:app",
        _LEARN,
        "Labels from coincident images, and their correction by hand.",
        "is2ice labels review STORE",
        {
            "make": "is2ice labels review {store}",
            "many": "is2ice labels review {store}",
            "review": "is2ice train train.toml   (labelled = [STORE])",
            "correct": "is2ice labels check {file}",
            "check": "is2ice labels make GRANULE ITEM --corrections {file}",
        },
    ),
    "train": Entry(
        "models:train_app",
        _LEARN,
        "Train a classifier on labelled stores and save it with its card.",
        "is2ice classify STORE --classifier MODEL --store classified.zarr",
    ),
    "classify": Entry(
        "models:classify_app",
        _LEARN,
        "Classify stored tracks; sea surface and freeboard follow. For granules see `is2ice run --classifier`.",
        "is2ice show {store}",
    ),
    "unet": Entry(
        "unet:app",
        _LEARN,
        "U-Net for Sentinel-2 scenes, trained on automatic labels.",
        "is2ice labels make GRANULE ITEM --store STORE --classifier MODEL",
    ),
    "classmaps": Entry(
        "classmaps:app",
        _LEARN,
        "Map the surface classes of many Sentinel-2 scenes on an engine.",
        "is2ice labels make GRANULE ITEM --store labelled.zarr",
    ),
    "report": Entry(
        "report:app",
        _STORES,
        "Report a run: engine, workers, seconds per step, slowest tracks, failures. JSON holds every receipt.",
        "is2ice show {run}",
    ),
    "verify": Entry(
        "care:verify_app",
        _STORES,
        "Read every track of a store and its versions, and report the damaged ones; exit code 1 if there are any.",
        "is2ice publish {store} TARGET",
    ),
    "prune": Entry(
        "care:prune_app",
        _STORES,
        "Remove replaced tracks that no version holds, and what writers that died left more than a day ago.",
        "is2ice verify {store}",
    ),
    "declarations": Entry(
        "publish:declarations_app",
        _STORES,
        "List the declared stores: contents, address, licence, citation and update policy of each.",
        "is2ice publish STORE TARGET --declaration NAME",
    ),
    "demo": Entry(
        "demo:app",
        _MORE,
        "Simulate a pass, run the whole chain on it, score it against the truth and draw it.",
        "is2ice show {out}/demo.zarr",
    ),
    "twin": Entry(
        "twin:app",
        _MORE,
        "The twin: simulated granules and images with known truth, and a server for them.",
        "is2ice run GRANULE --store twin.zarr",
        {
            "statistics": "is2ice twin make ross_sea_november --out twin",
            "serve": "is2ice run URL --store twin.zarr",
            "sample": "is2ice show {folder}",
        },
    ),
    "doctor": Entry(
        "doctor:app",
        _MORE,
        "Check this installation: versions, extras, login, cache, disk and configuration.",
        "is2ice demo",
    ),
    "schema": Entry(
        "show:schema_app", _MORE, "Print the table of variables as Markdown.", "is2ice show STORE"
    ),
    "versions": Entry(
        "show:versions_app",
        _MORE,
        "Print the versions of the package and of its dependencies.",
        "is2ice doctor",
    ),
}
if CHECKOUT:
    COMMANDS["bench"] = Entry(
        "bench:app", _MORE, "Measure and project the scaling of a run.", "python recipes/paper.py --offline"
    )
