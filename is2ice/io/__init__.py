"""Reading, writing, searching and publishing: remote files, stores, ICESat-2 products, catalogues."""
