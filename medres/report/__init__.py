"""Words and pages: shows what a run's tables and results say, and computes nothing."""
