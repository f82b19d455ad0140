"""Configuration: YAML in, typed models out, every error with its place, all of them at once."""
