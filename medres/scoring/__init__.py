"""Folders of files become one row per file."""
