"""Does a score need the anatomy? What is left of it without, and what metadata alone give."""
