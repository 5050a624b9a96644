"""Ways to draw where a score comes from, beside the exact class-activation map."""
