"""Which images, which patients, which labels."""
