"""Sentinel-2: a STAC item becomes reflectance, and reflectance becomes a map of surface classes."""

from is2ice.sentinel2.scene import class_map, open_scene

__all__ = ["class_map", "open_scene"]
