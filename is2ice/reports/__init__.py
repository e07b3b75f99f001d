"""Results for readers and other programs: figures, comparison with NASA's products, tables, export."""
