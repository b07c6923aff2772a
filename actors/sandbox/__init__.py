"""Sandboxes: where a project's files are installed and served. The port is in `base.py`."""
