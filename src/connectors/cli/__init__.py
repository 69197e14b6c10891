"""``connectors``, the program: what is installed, why it behaves as it does, and `run`.

```text
main ─▶ one of  list show config explain check doctor ─▶ a table, or JSON
                run ─▶ items ─▶ stream ─▶ executor ─▶ results, as they come
```

One file per command; each adds its arguments and has a function that returns the exit code: 0 if
all went well, 1 if something that ran failed, 2 if what was asked for cannot be done.
"""

from ._main import main

__all__ = ["main"]
