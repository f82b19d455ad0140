"""sloctl: an SRE observability and SLO controller daemon for inference engines."""

__version__ = "0.1.0"
