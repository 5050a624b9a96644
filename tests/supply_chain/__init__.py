"""What users install with medres: a bill of materials, its licences, its known weaknesses; `.ci/run` asks."""
