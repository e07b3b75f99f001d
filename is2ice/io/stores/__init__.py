"""Zarr stores of tracks and their declarations."""
