"""Workflows that join the rooms: runs over tracks, labels, training, maps, and their records."""
