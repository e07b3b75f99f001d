"""The twin: a physical simulator that writes what the archives serve, with the truth beside it.

No stage of the package reads the twin's truth or parameters.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .icesat2.atl03 import make_granule as make_granule
    from .icesat2.atl07 import make_atl07 as make_atl07
    from .icesat2.atl10 import make_atl10 as make_atl10
    from .scene.presets import PRESETS as PRESETS
    from .scene.presets import Preset as Preset
    from .scene.scene import KINDS as KINDS
    from .scene.scene import Scene as Scene
    from .scene.scene import SurfaceSample as SurfaceSample
    from .scores import Score as Score
    from .scores import score as score
    from .scores import truth_for as truth_for
    from .truth import open_truth as open_truth

_HOME = {
    "KINDS": "scene.scene",
    "PRESETS": "scene.presets",
    "Preset": "scene.presets",
    "Scene": "scene.scene",
    "Score": "scores",
    "SurfaceSample": "scene.scene",
    "make_atl07": "icesat2.atl07",
    "make_atl10": "icesat2.atl10",
    "make_granule": "icesat2.atl03",
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
