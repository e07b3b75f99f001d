"""The twin: a physical simulator that writes what the archives serve, with the truth beside it.

No stage of the package reads the twin's truth or parameters.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .atl03 import make_granule as make_granule
    from .atl07 import make_atl07 as make_atl07
    from .atl10 import make_atl10 as make_atl10
    from .presets import PRESETS as PRESETS
    from .presets import Preset as Preset
    from .scene import KINDS as KINDS
    from .scene import Scene as Scene
    from .scene import SurfaceSample as SurfaceSample
    from .scores import Score as Score
    from .scores import score as score
    from .scores import truth_for as truth_for
    from .truth import open_truth as open_truth

_HOME = {
    "KINDS": "scene",
    "PRESETS": "presets",
    "Preset": "presets",
    "Scene": "scene",
    "Score": "scores",
    "SurfaceSample": "scene",
    "make_atl07": "atl07",
    "make_atl10": "atl10",
    "make_granule": "atl03",
    "open_truth": "truth",
    "score": "scores",
    "truth_for": "scores",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
