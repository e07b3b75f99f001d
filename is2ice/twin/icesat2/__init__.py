"""Simulated ICESat-2 products."""
