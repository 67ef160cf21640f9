"""Overlays, contact sheets and panels, drawn from arrays."""
