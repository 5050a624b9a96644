"""Arrays in, numbers out: no table, no label names and no words of a page."""
