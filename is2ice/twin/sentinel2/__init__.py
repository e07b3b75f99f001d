"""Simulated Sentinel-2 images and their STAC items."""
