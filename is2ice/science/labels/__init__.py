"""Labels of segments from images: ice drift, transfer, corrections by hand."""
