"""Engine and its options from the command line, the same for all commands that compute many tracks."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from is2ice import engines
from is2ice.workflows.run_record import read

__all__ = ["CLASSIFIER_HELP", "EngineFlags", "OverwriteFlag", "engine_options", "refuse_changes"]

CLASSIFIER_HELP = (
    "default (trained), radiometric (tree), or a model folder; paper_lstm and paper_mlp are there to be compared with "
    "the paper, not for use (they miss most of the water)."
)

OverwriteFlag = Annotated[
    str, typer.Option("--overwrite", help="Replace stored tracks: different, always or never.")
]


@dataclass(frozen=True)
class EngineFlags:
    """Flags of the engine."""

    engine: Annotated[
        str | None, typer.Option("--engine", help="serial (default), processes, dask, gateway or spark.")
    ] = None
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Number of workers (serial uses none).")
    ] = None
    address: Annotated[
        str | None,
        typer.Option("--address", help="Address of a Dask scheduler, a Gateway or a Spark master."),
    ] = None
    conf: Annotated[
        list[str] | None,
        typer.Option("--conf", help="Setting key=value for Spark or the Gateway; repeatable."),
    ] = None

    def keywords(self, resuming: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """Return the keywords ``engine`` and ``engine_options`` of a run.

        Parameters
        ----------
        resuming : path, optional
            Store of a run to resume: flags that are not given stay as in that run.

        Raises
        ------
        ValueError
            An unknown engine, or an option that it does not take.
        """
        if resuming is None or self.engine:
            name = self.engine or "serial"
            engines.check(name)
            return {"engine": name, "engine_options": self._options(name)}
        if not (self.workers or self.address or self.conf):
            return {}
        return {"engine_options": self._options(read(resuming)[0]["engine"])}

    def _options(self, engine: str) -> dict[str, Any]:
        return engine_options(engine, self.workers, self.address, self.conf or ())


def engine_options(
    engine: str, workers: int | None = None, address: str | None = None, conf: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the options of an engine for the flags of a command.

    Raises
    ------
    ValueError
        An option that the engine does not take.
    """
    if address and engine not in ("dask", "gateway", "spark"):
        raise ValueError(
            f"--address names a Dask scheduler, a Gateway or a Spark master; add --engine dask (got {engine})"
        )
    if conf and engine not in ("spark", "gateway"):
        raise ValueError(f"--conf is for spark and gateway (got --engine {engine})")
    pairs = {}
    for text in conf:
        key, sign, value = text.partition("=")
        if not sign:
            raise ValueError(f"--conf {text!r}: expected key=value")
        pairs[key] = value
    options: dict[str, Any] = {} if workers is None else {"workers": workers}
    if address:
        options["master" if engine == "spark" else "address"] = address
    if pairs:
        options["conf" if engine == "spark" else "cluster_options"] = pairs
    return options


def refuse_changes(context: Any, parameters: Iterable[str]) -> None:
    """Refuse flags that would change the request of a resumed run.

    Raises
    ------
    ValueError
    """
    given = [
        name
        for name in parameters
        if (how := context.get_parameter_source(name)) is not None and how.name == "COMMANDLINE"
    ]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(
            f"{flags}: --resume repeats the request of the store's last run; leave that out, or leave out --resume to "
            "begin a new run"
        )
