"""Networks for questions about residual networks: small ones with and without shortcuts, and what families cost.

No recipe uses them; `notebooks/04_why_residual_networks.py` does.
"""
