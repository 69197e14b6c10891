"""What is wrong with what was typed."""

from __future__ import annotations

from connectors import ConnectorsError


class UsageError(ConnectorsError, ValueError):
    """The command line, or an input that it names, cannot be used as it is."""
