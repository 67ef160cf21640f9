"""Overlays, contact sheets and panels, from arrays."""
