"""What a viewer needs of a radiograph beside a picture."""
