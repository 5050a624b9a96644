"""A DICOM file becomes a tensor here, and nowhere else."""
