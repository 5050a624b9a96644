"""Fitting, cross-validating and comparing networks."""
