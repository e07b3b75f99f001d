"""Commands of ``is2ice``, a file each."""
