"""The twin: a physical simulator that writes what the archives serve, with the truth beside it.

No stage of the package reads the twin's truth or parameters.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .atl03 import make_granule as make_granule
    from .presets import PRESETS as PRESETS
    from .presets import Preset as Preset
    from .scene import KINDS as KINDS
    from .scene import Scene as Scene
    from .scene import SurfaceSample as SurfaceSample
    from .truth import open_truth as open_truth

_HOME = {
    "KINDS": "scene",
    "PRESETS": "presets",
    "Preset": "presets",
    "Scene": "scene",
    "SurfaceSample": "scene",
    "make_granule": "atl03",
    "open_truth": "truth",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
