"""The command line: one module a command, and the root that composes everything else."""
