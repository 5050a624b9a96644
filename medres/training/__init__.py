"""Fitting one network: what happens between its first weights and its best epoch."""
