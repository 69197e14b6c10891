"""What the pictures of a graph promise, as text and to the eye."""

import html
import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from connectors._graph import Edge, Graph, Node, Port, State

pytestmark = pytest.mark.slow

NASTY = [
    'say "hi"',
    "back\\slash\\",
    "<b>&amp;</b>",
    "{a|b} | [c] (d)",
    "two\nlines\r\nor three",
    "]]> --> %%{init: {}}%% #quot; `code` 1. end",
    "日本語 é e\u0301 \U0001f600",
    "\x00\x1b\ud800\uffff\u2028",
    "",
    "   ",
    "w" * 500,
]
texts = st.one_of(st.text(max_size=40), st.sampled_from(NASTY))
states = st.sampled_from(State)


@st.composite
def graphs(draw, labels=texts):
    """Any graph: cycles, self-loops, parallel edges, parts that hang together with nothing."""
    nodes = []
    for number in range(draw(st.integers(0, 12))):
        kinds = draw(st.lists(st.sampled_from(["input", "output"]), max_size=4))
        ports = [
            Port(str(i), draw(labels), kind, draw(states), draw(labels))
            for i, kind in enumerate(kinds)
        ]
        nodes.append(Node(str(number), draw(labels), ports, draw(states), draw(labels)))
    edges = []
    for _ in range(draw(st.integers(0, 24)) if nodes else 0):
        source, target = draw(st.sampled_from(nodes)), draw(st.sampled_from(nodes))
        source_port = draw(st.sampled_from([None, *(port.id for port in source.outputs)]))
        target_port = draw(st.sampled_from([None, *(port.id for port in target.inputs)]))
        ends = (source.id, target.id, source_port, target_port)
        edges.append(Edge(*ends, draw(labels), draw(states)))
    return Graph(nodes, edges, draw(labels))


plain_graphs = graphs(st.sampled_from(["", "image", "a rather long label", "x" * 60]))
many = settings(deadline=None, suppress_health_check=list(HealthCheck))


def network():
    camera = Node("camera", "Camera", (Port("frame", "frame", "output", State.CACHED),))
    ports = (Port("image", "image", "input", State.PENDING, "THREAD"), Port("b", "boxes", "output"))
    detector = Node("detector", "Detector", ports, State.RUNNING, "PROCESS")
    edge = Edge("camera", "detector", "frame", "image", "frames", State.PENDING)
    return Graph((camera, detector, Node("log", "Log")), (edge, Edge("detector", "log")), "demo")


# What is drawn


@attrs.frozen
class Box:
    left: float
    top: float
    right: float
    bottom: float
    title: str
    texts: tuple
    ports: dict


@attrs.frozen
class Drawing:
    root: ET.Element
    boxes: list
    lines: list
    legend: list

    @classmethod
    def of(cls, graph):
        root = ET.fromstring(graph.to_svg())
        for element in root.iter():
            element.tag = element.tag.removeprefix("{http://www.w3.org/2000/svg}")
        canvas = root.find("g")
        groups = canvas.findall("g")
        boxes = [box_of(group) for group in groups if group.find("rect") is not None]
        lines = [group for group in groups if group.get("stroke")]
        after = list(root)[list(root).index(canvas) + 1 :]
        return cls(root, boxes, lines, [e.text for e in after if e.tag == "text"])


def box_of(group):
    rect = group.find("rect")
    x, y, width, height = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
    ports = {}
    spans = [span_of(text) for text in group.findall("text")]
    for port in group.findall("g"):
        spans += [span_of(text) for text in port.findall("text")]
        mark = list(port)[-1]
        numbers = [float(n) for n in re.findall(r"-?\d+", mark.get("d") or "")]
        top = float(mark.get("cy")) if mark.tag == "circle" else numbers[1]
        ports[port.find("title").text] = (mark.tag, mark.get("d"), top)
    title = group.find("title").text
    return Box(x, y, x + width, y + height, title, tuple(spans), ports)


def span_of(text):
    """From where to where a text goes, in a font whose characters are 0.6 of its size wide."""
    x, size = float(text.get("x")), float(text.get("font-size"))
    width = float(text.get("textLength") or len(text.text) * 0.6 * size)
    return (x - width, x) if text.get("text-anchor") == "end" else (x, x + width)


def steps_of(line):
    """The pieces of a line, each as the points that enclose it."""
    here = None
    for command, numbers in re.findall(r"([MHC])([-\d .]+)", line.find("path").get("d")):
        values = [float(number) for number in numbers.split()]
        if command == "M":
            here = tuple(values)
        elif command == "H":
            yield [here, (values[0], here[1])]
            here = (values[0], here[1])
        else:
            points = [here, *pairs(values)]
            yield points
            here = points[-1]


def pairs(values):
    return list(zip(values[::2], values[1::2], strict=True))


def test_a_graph_takes_any_iterables_and_is_a_value():
    """Nodes, edges and ports become tuples; equal graphs are equal and can be keys."""
    one = Graph(iter([Node("a", "A", [Port("p", "p", "input")])]), [Edge("a", "a")])
    other = Graph((Node("a", "A", (Port("p", "p", "input"),)),), (Edge("a", "a"),))

    assert one == other
    assert {one: 1}[other] == 1


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Graph([Node("a", ""), Node("a", "")]), "two nodes have the id 'a'"),
        (lambda: Node("n", "", [Port("p", "", "input")] * 2), "node 'n' has two ports 'p'"),
        (lambda: Port("p", "", "inlet"), "port 'p' is of kind 'inlet'; allowed: input, output"),
        (
            lambda: Graph([Node("camera", "")], [Edge("camera", "camra")]),
            "to 'camra' ends at 'camra', which is no node. Did you mean 'camera'?",
        ),
        (
            lambda: Graph(network().nodes, [Edge("camera", "detector", "image")]),
            "ends at 'image', which is no output of node 'camera'; there: frame.",
        ),
        (
            lambda: Graph(network().nodes, [Edge("camera", "detector", None, "b")]),
            "ends at 'b', which is no input of node 'detector'; there: image.",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_once(make, sentence):
    """A graph whose ids or ends do not fit is an error that names the id."""
    with pytest.raises(ValueError, match=re.escape(sentence)):
        make()


def test_a_graph_as_text_is_short():
    """What is printed tells how much there is and how much of it is active, also as repr."""
    assert str(network()) == "demo: 3 nodes, 2 edges; 1 running"
    assert repr(network()) == "<Graph demo: 3 nodes, 2 edges; 1 running>"
    assert str(Graph([Node("a", "A")], [Edge("a", "a")])) == "1 node, 1 edge"


def test_a_notebook_shows_the_picture():
    """The rich representation is the picture."""
    assert network()._repr_svg_() == network().to_svg()


@pytest.mark.parametrize(
    ("name", "render"),
    [
        ("g.svg", Graph.to_svg),
        ("g.SVG", Graph.to_svg),
        ("g.dot", Graph.to_dot),
        ("g.gv", Graph.to_dot),
        ("g.mmd", Graph.to_mermaid),
    ],
)
def test_the_suffix_of_a_file_is_its_format(tmp_path, name, render):
    """A file holds what the method of its format gives, in UTF-8, whatever the labels are."""
    graph = Graph([Node(str(i), text) for i, text in enumerate(NASTY)])
    graph.save(tmp_path / name)
    graph.save(str(tmp_path / name))

    assert (tmp_path / name).read_bytes().decode() == render(graph)


def test_an_unknown_suffix_is_refused(tmp_path):
    """The error names the suffixes that are allowed, and nothing is written."""
    with pytest.raises(ValueError, match=r"allowed suffixes: \.svg, \.dot, \.gv, \.mmd"):
        network().save(tmp_path / "graph.png")
    assert not list(tmp_path.iterdir())


@given(graphs())
@many
def test_a_picture_is_a_document_whatever_the_texts_are(graph):
    """It is well-formed, is described for those who cannot see it, and refers to nothing."""
    root = Drawing.of(graph).root

    assert root.find("title").text
    assert "node" in root.find("desc").text
    assert [float(n) for n in root.get("viewBox").split()[2:]] == [
        float(root.get("width")),
        float(root.get("height")),
    ]
    assert {e.tag for e in root.iter()} <= {
        *("svg", "g", "title", "desc", "rect", "path", "circle", "text")
    }
    assert not {"id", "href", "class", "style"} & {key for e in root.iter() for key in e.attrib}
    graph.to_svg().encode()


def test_a_text_is_shown_as_it_is():
    """Nothing in a label is taken for markup."""
    drawing = Drawing.of(Graph([Node("n", "<b>&amp;</b>", details='"quoted"')]))

    assert "<b>&amp;</b>" in [text.text for text in drawing.root.iter("text")]
    assert [box.title for box in drawing.boxes] == ['<b>&amp;</b>\nidle\n"quoted"']


def test_a_long_label_is_cut_and_told_by_the_tooltip():
    """A box stays small; what was left out of it is in its title."""
    (box,) = Drawing.of(Graph([Node("n", "w" * 500)])).boxes

    assert box.right - box.left < 300
    assert "w" * 500 in box.title


def test_tooltips_tell_the_details():
    """Resting on a port, a node or an edge tells its state and what it is."""
    titles = [title.text for title in Drawing.of(network()).root.iter("title")]

    assert "image\ninput, pending\nTHREAD" in titles
    assert "Detector\nrunning\nPROCESS" in titles
    assert "Camera.frame \u2192 Detector.image\nframes\npending" in titles


@given(plain_graphs)
@many
def test_boxes_are_apart_and_hold_their_texts(graph):
    """No two boxes overlap, each text is inside of its box, and all is inside of the picture."""
    drawing = Drawing.of(graph)
    width, height = float(drawing.root.get("width")), float(drawing.root.get("height"))

    assert len(drawing.boxes) == len(graph.nodes)
    for one, other in itertools.combinations(drawing.boxes, 2):
        assert (
            one.right < other.left
            or other.right < one.left
            or one.bottom < other.top
            or other.bottom < one.top
        )
    for box in drawing.boxes:
        assert all(box.left < left <= right < box.right for left, right in box.texts)
        assert box.left >= 0 <= box.top
        assert box.right + 40 <= width
        assert box.bottom + 40 <= height


@given(plain_graphs, st.sampled_from([0, 5, 4_000]))
@many
def test_edges_run_from_output_to_input_and_around_boxes(graph, passages):
    """A line begins on the right of its source, ends on the left of its target, crosses no box.

    That holds as well for those that are too many for passages of their own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("connectors._graph._layers._PASSAGES", 0)
        patch.setattr("connectors._graph._layers._LEAST_PASSAGES", passages)
        drawing = Drawing.of(graph)
    boxes = dict(zip((node.id for node in graph.nodes), drawing.boxes, strict=True))
    order = list(State)
    edges = sorted(graph.edges, key=lambda edge: order.index(edge.state))

    assert len(drawing.lines) == len(edges)
    for edge, line in zip(edges, drawing.lines, strict=True):
        steps = list(steps_of(line))
        source, target = boxes[edge.source], boxes[edge.target]
        for end, (x, y), side, box in (
            (edge.source_port, steps[0][0], "right", source),
            (edge.target_port, steps[-1][-1], "left", target),
        ):
            assert x == getattr(box, side)
            assert box.top < y < box.bottom
            if end is not None:
                node = graph.nodes[drawing.boxes.index(box)]
                ports = node.outputs if side == "right" else node.inputs
                row = [port.id for port in ports].index(end)
                assert y == box.top + 42 + 20 * row
        for points, box in itertools.product(steps, drawing.boxes):
            xs, ys = zip(*points, strict=True)
            assert (
                max(xs) <= box.left
                or min(xs) >= box.right
                or max(ys) < box.top
                or min(ys) > box.bottom
            )


def test_inputs_are_on_the_left_and_outputs_on_the_right():
    """Time runs from left to right."""
    camera, detector, log = Drawing.of(network()).boxes

    assert camera.right < detector.left
    assert detector.right < log.left


def test_states_differ_without_colours():
    """Whoever sees no colours tells the states apart by their marks, in picture and legend."""
    marks = set()
    for state in State:
        drawing = Drawing.of(Graph([Node("n", "n", [Port("p", "p", "input", state)])]))
        (mark,) = drawing.boxes[0].ports.values()
        marks.add(mark)
        assert state in drawing.legend
    assert len(marks) == len(State)


def test_the_legend_has_what_occurs():
    """States that do not occur are not explained, and an empty picture has no legend."""
    assert Drawing.of(network()).legend == ["idle", "cached", "pending", "running"]
    assert Drawing.of(Graph([Node("a", "a", state=State.CACHED)])).legend == ["cached"]
    assert Drawing.of(Graph()).legend == []


def test_edges_that_end_at_one_port_share_their_text():
    """No label is printed over another one."""
    nodes = (Node("a", "a"), Node("b", "b", [Port("p", "p", "input")]))
    edges = [Edge("a", "b", None, "p", label) for label in ("one", "", "two")]
    shown = [text.text for text in Drawing.of(Graph(nodes, edges)).root.iter("text")]

    assert shown.count("one, two") == 1


def test_parallel_edges_are_seen():
    """Two queues between the same works are two lines."""
    graph = Graph([Node("a", "a"), Node("b", "b")], [Edge("a", "b"), Edge("a", "b")])
    one, other = (line.find("path").get("d") for line in Drawing.of(graph).lines)

    assert one != other


def test_a_chain_is_straight():
    """What needs no bend has none."""
    nodes = [Node(str(i), "n" * i) for i in range(9)]
    graph = Graph(nodes, [Edge(str(i), str(i + 1)) for i in range(8)])

    assert all("C" not in line.find("path").get("d") for line in Drawing.of(graph).lines)


def test_a_long_chain_is_drawn():
    """The depth of a graph is no limit: 20,000 nodes in a row, and a cycle of them."""
    nodes = [Node(str(i), str(i)) for i in range(20_000)]
    edges = [Edge(str(i), str((i + 1) % len(nodes))) for i in range(len(nodes))]

    assert Graph(nodes, edges[:-1]).to_svg().count("<title>") == 2 * len(nodes)
    assert Graph(nodes, edges).to_svg().count("<title>") == 2 * len(nodes) + 1


@pytest.mark.timeout(30)
def test_large_graphs_are_drawn_in_seconds():
    """2,000 nodes with edges of any length, and every pair of 100, are no long work."""
    nodes = [Node(str(i), str(i)) for i in range(2_000)]
    far = [Edge(str(i), str(i * 7919 % 2_000)) for i in range(2_000)]
    near = [Edge(str(i), str(min(i + 1 + i % 9, 1_999))) for i in range(2_000)]
    dense = [Edge(a.id, b.id) for a, b in itertools.combinations(nodes[:100], 2)]

    for edges in (far, near, far + near, dense):
        assert Graph(nodes, edges).to_svg()


# DOT


def tokens_of(dot):
    """The tokens of a text in DOT; an HTML-like string ends where its brackets are even."""
    space = re.compile(r"\s+")
    token = re.compile(r'"(?:[^"\\]|\\.)*"|->|[][{}=;,:]|[\w.]+', re.ASCII)
    place = 0
    while place < len(dot):
        if found := space.match(dot, place):
            place = found.end()
        elif dot[place] == "<":
            depth = 0
            for end in range(place, len(dot)):
                depth += {"<": 1, ">": -1}.get(dot[end], 0)
                if not depth:
                    break
            assert not depth
            yield dot[place : end + 1]
            place = end + 1
        else:
            found = token.match(dot, place)
            assert found, dot[place : place + 40]
            yield found[0]
            place = found.end()


def statements_of(dot):
    """The statements of a text in DOT, each as its subject and its attributes."""
    tokens = list(tokens_of(dot))
    assert tokens[:2] == ["digraph", "{"]
    assert tokens[-1] == "}"
    for ends, group in itertools.groupby(tokens[2:-1], ";".__eq__):
        if ends:
            continue
        statement = list(group)
        bracket = statement.index("[") if "[" in statement else len(statement)
        body = statement[bracket + 1 : -1]
        assert body[1::4] == ["="] * len(body[1::4])
        assert set(body[3::4]) <= {","}
        yield statement[:bracket], dict(zip(body[::4], body[2::4], strict=True))


@given(graphs())
@many
def test_dot_is_well_formed_whatever_the_texts_are(graph):
    """A statement for each node and edge, and edges end at ports that their nodes have."""
    ports, edges = {}, []
    for subject, attributes in statements_of(graph.to_dot()):
        if "->" in subject:
            edges.append(subject)
        elif re.fullmatch(r"n\d+", subject[0]):
            table = ET.fromstring(attributes["label"][1:-1])
            ports[subject[0]] = {cell.get("PORT") for cell in table.iter("TD")}

    assert len(ports) == len(graph.nodes)
    assert len(edges) == len(graph.edges)
    for subject in edges:
        arrow = subject.index("->")
        for end, side in ((subject[:arrow], "oe"), (subject[arrow + 1 :], "iw")):
            assert end[0] in ports
            if len(end) > 1:
                assert end[2] in ports[end[0]]
                assert (end[2][0], end[4]) == tuple(side)


def test_dot_shows_texts_as_they_are():
    """Quotes, backslashes, brackets and line ends of a label reach the picture of Graphviz."""
    dot = Graph([Node("n", '<"&\\N">\nnext')], [Edge("n", "n", label='a\\l"b"\n&lt;')]).to_dot()
    *_, (_, node), (_, edge) = statements_of(dot)
    cell = ET.fromstring(node["label"][1:-1]).find("TR/TD/B")

    assert list(cell.itertext()) == ['<"&\\N">', "next"]
    assert edge["label"] == r'"a\\l\"b\"\n&amp;lt;"'


def test_dot_tells_states_without_colours():
    """A state that is not idle is a word beside a label, and a style of an edge."""
    edges = {}
    for state in State:
        node = Node("n", "n", [Port("p", "p", "input", state)], state)
        dot = Graph([node], [Edge("n", "n", state=state)]).to_dot()
        assert dot.count(f"({state})") == (0 if state is State.IDLE else 2)
        *_, (_, edge) = statements_of(dot)
        edges[state] = (edge["style"], edge.get("arrowtail"))
    assert len(set(edges.values())) == len(State)


# Mermaid

LABEL = r'"((?:[\w ,:/()=\x80-\U0010ffff]|#\d+;|<br/>)*)"'
MERMAID = [
    ("node", rf"n\d+\[{LABEL}\]:::[a-z]+"),
    ("port", rf"n\d+[io]\d+\(\[{LABEL}\]\):::[a-z]+"),
    ("whole", r'n\d+all\(\(" "\)\):::[a-z]+'),
    ("subgraph", rf"subgraph n\d+\[{LABEL}\]"),
    ("end", "end"),
    ("order", r"n\d+i\d+(?: & n\d+i\d+)* ~~~ n\d+o\d+(?: & n\d+o\d+)*"),
    ("class", r"class n\d+ [a-z]+"),
    ("classDef", r"classDef [a-z]+ [\w:#,. -]+"),
    ("edge", rf"(n\d+\w*) (-->|--o|-\.->|==>)(?:\|{LABEL}\|)? (n\d+\w*)"),
]


def lines_of(mermaid):
    """The lines of a text in Mermaid, each as its kind and its groups."""
    lines = mermaid.removesuffix("\n").split("\n")
    if lines[0] == "---":
        assert re.fullmatch(r'title: "(?:[^"\\]|\\u[0-9a-f]{4})*"', lines[1])
        assert lines[2] == "---"
        del lines[:3]
    assert lines[0] == "flowchart LR"
    for line in lines[1:]:
        found = [(kind, re.fullmatch(form, line.strip())) for kind, form in MERMAID]
        (kind, match), *more = [(kind, match) for kind, match in found if match]
        assert not more
        yield kind, match.groups()


@given(graphs())
@many
def test_mermaid_is_well_formed_whatever_the_texts_are(graph):
    """A box for each node, a node for each port, an arrow for each edge; labels are harmless."""
    kinds = [kind for kind, _ in lines_of(graph.to_mermaid())]

    assert kinds.count("node") == sum(not node.ports for node in graph.nodes)
    assert kinds.count("subgraph") == kinds.count("end") == sum(bool(n.ports) for n in graph.nodes)
    assert kinds.count("port") == sum(len(node.ports) for node in graph.nodes)
    assert kinds.count("edge") == len(graph.edges)


def test_mermaid_shows_texts_as_they_are():
    """Decoding the entities of a label gives the label."""
    text = '"#quot; `1.` <b>&\\n</b> _x_ 1. {%%}'
    ((_, (label,)), *_) = lines_of(Graph([Node("n", text)]).to_mermaid())

    assert html.unescape(re.sub(r"#(\d+);", r"&#\1;", label)) == text


def test_mermaid_tells_states_without_colours():
    """A state that is not idle is a word beside a label, and an arrow of its own."""
    arrows = set()
    for state in State:
        mermaid = Graph([Node("n", "n", state=state)], [Edge("n", "n", state=state)]).to_mermaid()
        (_, (label,)), (_, (_, arrow, *_)), _ = lines_of(mermaid)
        assert label == ("n" if state is State.IDLE else f"n ({state})")
        arrows.add(arrow)
    assert len(arrows) == len(State)


def test_the_same_graph_gives_the_same_texts():
    """Texts can be compared and committed: they do not depend on the seed of hashes."""
    code = (
        "import hashlib; from connectors._graph import *\n"
        "ports = [Port('i', 'i', 'input'), Port('o', 'o', 'output')]\n"
        "nodes = [Node(str(i), f'n{i}', ports if i % 2 else (), list(State)[i % 4])"
        " for i in range(60)]\n"
        "edges = [Edge(str(i), str(i * 37 % 60), 'o' if i % 2 else None) for i in range(60)]\n"
        "edges += [Edge(str(i), str(i * 11 % 60)) for i in range(60)]\n"
        "graph = Graph(nodes, edges, 'title')\n"
        "text = graph.to_svg() + graph.to_dot() + graph.to_mermaid()\n"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }

    assert len(digests) == 1
