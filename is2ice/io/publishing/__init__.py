"""Publish a store: versions, STAC items, Icechunk repositories."""
