"""The five built-in executors, each built as a stranger would build one: from public names."""
