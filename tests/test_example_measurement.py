"""The example application measurement finds what it simulates, wherever it runs."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import connectors

MEASUREMENT = Path(__file__).parents[1] / "examples" / "measurement.py"
SMALL = ("--recordings", "4", "--seconds", "8")
BOUND = 1.5  # dB; what is left of the noise with recordings as few and short as these


@pytest.fixture(scope="module")
def measurement():
    """The module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(MEASUREMENT.parent)
        for name in ("measurement", "svgplot"):
            patch.delitem(sys.modules, name, raising=False)
        yield importlib.import_module("measurement")


@pytest.fixture(scope="module")
def readings(measurement):
    """What two executors made of the measurement."""
    return {
        name: measurement.measure(name, recordings=4, seconds=8)
        for name in ("threading", "multiprocessing")
    }


@pytest.fixture
def run(tmp_path):
    """A function that runs the measurement as a user does, without anybody's settings."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("CONNECTORS_")
    }

    def run(*arguments):
        return subprocess.run(
            [sys.executable, MEASUREMENT, *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment | {"CONNECTORS_CONFIG": "none"},
        )

    return run


def test_error(readings):
    """The estimate is near the transfer function that the resonator has, at each setting."""
    assert 3 == len(readings["threading"])
    assert all(0 < one.error < BOUND for one in readings["threading"])


def test_two_executors(readings):
    """Threads and processes give equal results, and run the same methods equally often."""
    assert readings["threading"] == readings["multiprocessing"]


def test_only_what_depends_runs(readings):
    """After a change nothing runs that does not depend on what was changed."""
    first, window, resonance = (one.ran for one in readings["multiprocessing"])

    assert 4 == first["Noise.signal"] == first["Recorder.channels"] == first["Spectra.spectra"]
    assert 0 == window["Noise.signal"] == window["Recorder.channels"] == window["Comparison.truth"]
    assert (1, 4, 1) == (window["Window.window"], window["Spectra.spectra"], window["Plot.svg"])
    assert 0 == resonance["Noise.signal"] == resonance["Window.window"]
    assert (4, 4) == (resonance["Recorder.channels"], resonance["Spectra.spectra"])


def test_processes(measurement):
    """The recorders run in worker processes where there are any."""
    chain = measurement.Measurement(recordings=1, seconds=1)
    with (
        connectors.executor("multiprocessing", processes=1) as executor,
        connectors.observe() as seen,
    ):
        chain.error.set_executor(executor)
        chain.error()

    levels = {event.label: event.level for event in seen.of(connectors.events.CallFinished)}
    assert connectors.Parallelization.PROCESS is levels["Recorder.channels"]
    assert connectors.Parallelization.SEQUENTIAL is levels["Spectra.spectra"]


def test_transfer_function(measurement):
    """The transfer function of the resonator is that of its impulse response."""
    resonator = measurement.Resonator(frequency=1000.0, damping=0.1)
    recorder = measurement.Recorder(seed=0)
    recorder.set_resonator(resonator)
    recorder.set_excitation(np.eye(1, 4096)[0] * 1e6)  # an impulse far above the noise

    _, response = recorder.channels()

    frequencies = np.fft.rfftfreq(4096, 1 / measurement.RATE)
    expected = resonator.transfer_function(frequencies).values
    np.testing.assert_allclose(np.fft.rfft(response) / 1e6, expected, atol=1e-4)
    assert 1000 == pytest.approx(frequencies[np.argmax(np.abs(expected))], rel=0.02)


def test_picture(readings, measurement):
    """The picture is well-formed, and its curves stay within the frame."""
    plot = measurement.Plot
    root = ET.fromstring(readings["threading"][0].picture)
    lines = [
        [tuple(map(float, point.split(","))) for point in one.get("points").split()]
        for one in root.iter("{http://www.w3.org/2000/svg}polyline")
    ]

    assert 2 == sum(len(points) > 100 for points in lines)
    assert all(
        plot.LEFT <= x <= plot.RIGHT and plot.TOP <= y <= plot.BOTTOM
        for points in lines
        for x, y in points
    )
    texts = {one.text for one in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"frequency in Hz", "magnitude in dB", "estimated", "true", "1,000"} <= texts


def test_run(run, tmp_path):
    """It prints what ran and the error, and writes the picture where it was told to."""
    done = run("--executor", "threading", "--picture", "out.svg", *SMALL)

    assert (0, "") == (done.returncode, done.stderr)
    assert "largest error in dB" in done.stdout
    assert "Recorder.channels" in done.stdout
    assert (tmp_path / "out.svg").read_text().startswith("<svg")


def test_compare(run):
    """All built-in executors give the same results."""
    done = run("--compare", *SMALL)

    assert (0, "") == (done.returncode, done.stderr)
    assert 5 == done.stdout.count("same results")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--executor", "thredding"], "no executor 'thredding'"),
        (["--recordings", "0"], "at least one recording"),
        (["--compare", "--executor", "trio"], "not allowed with argument"),
    ],
)
def test_wrong_usage(run, arguments, message):
    """Wrong usage gets a message that names the value, and exit code 2."""
    done = run(*arguments)

    assert 2 == done.returncode
    assert message in done.stderr
    assert "Traceback" not in done.stderr
