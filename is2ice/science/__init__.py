"""Science on arrays and Datasets, from photons to freeboard and maps."""
