"""What a model is worth, with its uncertainty."""
