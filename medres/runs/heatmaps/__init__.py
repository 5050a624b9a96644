"""Heatmaps of held-out images, measured; and the licences that follow."""
