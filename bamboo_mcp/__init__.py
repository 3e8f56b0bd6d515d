"""The front page: what plugin authors may import, and nothing else."""
