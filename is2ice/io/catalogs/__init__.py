"""Search for granules and scenes, areas of the oceans, orbits and orders."""
