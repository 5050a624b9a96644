"""`medres explain`: where the scores of files come from, as pictures, as arrays and as a table."""
