"""What `import medres` offers to notebooks and scripts: the verbs as functions, and a finished run as an object."""
