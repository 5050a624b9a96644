"""What train, crossval, evaluate and compare do with many fits, up to their tables and typed results."""
