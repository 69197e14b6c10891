"""Pictures of graphs: blocks and their connectors, works and their queues.

```text
_graph     Graph: the value that renders itself
_dot       ... as the language of Graphviz
_mermaid   ... as the language of Mermaid
_svg       ... as a picture, for which
_layout    finds a place for each box and a way for each edge, and
_layers    brings the boxes into columns
_looks     what a state looks like, and which characters are text
_model     Node, Port, Edge and State
```
"""

from __future__ import annotations

from ._graph import Graph
from ._model import Edge, Node, Port, State

__all__ = ["Edge", "Graph", "Node", "Port", "State"]
