"""What keeps a decoder that a hostile file has taken over from doing harm: what it may do, and what it may answer."""
