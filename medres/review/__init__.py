"""What clinicians see of a scored folder, and what they say of it."""
