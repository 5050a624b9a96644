"""What heatmaps of held-out images are worth: one measure a file, their list, and the rule that licenses maps."""
