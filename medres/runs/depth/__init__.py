"""Networks of several depths on one cohort and the same folds: what depth costs there, and what it brings."""
