"""Lab score files in a drop folder, to the Canary Speech API, each exactly once."""

__version__ = "0.1.0"
