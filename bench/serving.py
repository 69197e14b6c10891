"""Answers requests for measurements, in a process that `peers.Worker` has started.

Each line of the input is a request in JSON, ``{"name": ..., "size": ..., "budget": ...}`` to
measure or ``{"forget": ...}`` to let go what was built; each is answered by one line:
``{"seconds": ...}`` or ``{"failure": ...}``. This module needs the standard library only, since it
runs beside older libraries.
"""

import gc
import json
import os
import sys


def serve(measures):
    """Answer until the input ends, with *measures*: by name, what builds a measure of a size."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not look like an answer
    built = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "forget" in request:
            built.clear()
            gc.collect()
            answers.write(json.dumps({"seconds": 0.0}) + "\n")
            continue
        key = request["name"], request["size"]
        try:
            if key not in built:
                built[key] = measures[request["name"]](request["size"])
            gc.collect()
            answer = {"seconds": built[key](request["budget"])}
        except Exception as error:
            built.pop(key, None)
            answer = {"failure": f"{type(error).__name__}: {str(error)[:200]}"}
        answers.write(json.dumps(answer) + "\n")
