"""Local servers that behave as NASA's archive and STAC catalogues do."""
