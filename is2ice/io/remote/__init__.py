"""Remote files: byte ranges, chunks of HDF5, credentials."""
