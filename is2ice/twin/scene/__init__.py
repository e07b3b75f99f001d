"""The simulated sea ice, its optics and the tracks over it."""
