"""measurement: identify a resonator from noisy recordings, with a network of blocks.

A complete measurement chain, on data that it simulates::

    Noise ──► Recorder ──► Spectra ──┐
    Noise ──► Recorder ──► Spectra ──┼──► TransferFunction ──► Comparison ──► error
     ...                      ▲  ...─┘           │                 │ truth
                   Window ────┘                  └──► Plot ◄───────┘

`Recorder` works in plain Python, sample by sample, and wishes to run in another process; for
`Spectra`, which is NumPy, a thread will do. ``--executor`` says what runs them. After a first
reading one parameter at a time is changed, and only what depends on it is computed again.
"""

from __future__ import annotations

import argparse
import cmath
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from svgplot import Plot

import connectors
from connectors import Input, MacroInput, MacroOutput, MultiInput, MultiInputData, Output
from connectors import Parallelization as Level

Array = npt.NDArray[Any]

RATE = 8192.0  # samples per second
NOISE = 0.05  # the amplitude of what the recorder adds; that of the excitation is 1
BAND = (20.0, 2000.0)  # in Hz, where the estimate is compared with the truth
SHOWN = (20.0, 4000.0)  # in Hz, what the picture shows

# What flows from block to block


@attrs.frozen(eq=False)
class Curve:
    """A complex function of the frequency in Hz."""

    frequencies: Array
    values: Array

    @property
    def decibels(self) -> Array:
        """Its magnitude in dB."""
        return np.asarray(20 * np.log10(np.abs(self.values)))

    def within(self, low: float, high: float) -> Curve:
        """Return the part of it between two frequencies."""
        inside = (self.frequencies >= low) & (self.frequencies <= high)
        return Curve(self.frequencies[inside], self.values[inside])

    def __iter__(self) -> Iterator[tuple[float, float]]:
        """Iterate over its points: frequency and magnitude in dB."""
        return zip(self.frequencies.tolist(), self.decibels.tolist(), strict=True)


@attrs.frozen
class Resonator:
    """A resonance of second order, as a digital filter: y[n] = g x[n] + a y[n-1] + b y[n-2]."""

    frequency: float = 440.0
    damping: float = 0.02

    def coefficients(self) -> tuple[float, float, float]:
        """Return g, a and b; the gain is 1 at 0 Hz."""
        step = 2 * math.pi * self.frequency / RATE
        pole = cmath.exp(step * complex(-self.damping, math.sqrt(1 - self.damping**2)))
        a, b = 2 * pole.real, -(abs(pole) ** 2)
        return 1 - a - b, a, b

    def transfer_function(self, frequencies: Array) -> Curve:
        """Return what the measurement has to find."""
        g, a, b = self.coefficients()
        delay = np.exp(-2j * np.pi * frequencies / RATE)
        return Curve(frequencies, g / (1 - a * delay - b * delay**2))


# The blocks


class Noise:
    """A source of white noise."""

    def __init__(self, seed: int, samples: int) -> None:
        self._seed = seed
        self._samples = samples

    @Output()
    def signal(self) -> Array:
        return np.random.default_rng(self._seed).standard_normal(self._samples)


class Recorder:
    """Excites a resonator, and records two channels: excitation and response."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._resonator = Resonator()
        self._excitation: Array = np.zeros(0)

    @Input("channels")
    def set_excitation(self, signal: Array) -> None:
        self._excitation = signal

    @Input("channels")
    def set_resonator(self, resonator: Resonator) -> None:
        self._resonator = resonator

    @Output(parallelization=Level.PROCESS)
    def channels(self) -> Array:
        g, a, b = self._resonator.coefficients()
        now = before = 0.0
        response = []
        for sample in self._excitation.tolist():
            now, before = g * sample + a * now + b * before, now
            response.append(now)
        noise = np.random.default_rng(self._seed).standard_normal(len(response))
        return np.array([self._excitation, response + NOISE * noise])


class Window:
    """A Hann window."""

    def __init__(self, length: int) -> None:
        self._length = length

    @Input("window")
    def set_length(self, length: int) -> None:
        self._length = length

    @Output()
    def window(self) -> Array:
        return np.hanning(self._length)


class Spectra:
    """Cuts two channels into windows that overlap by half, and averages over their spectra."""

    def __init__(self) -> None:
        self._channels = self._window = np.zeros(0)

    @Input("spectra")
    def set_channels(self, channels: Array) -> None:
        self._channels = channels

    @Input("spectra")
    def set_window(self, window: Array) -> None:
        self._window = window

    @Output(parallelization=Level.THREAD)
    def spectra(self) -> Array:
        """Return the auto-spectrum of the first channel, and the cross-spectrum of both."""
        length = len(self._window)
        pieces = np.lib.stride_tricks.sliding_window_view(self._channels, length, axis=1)
        x, y = np.fft.rfft(pieces[:, :: length // 2] * self._window)
        return np.array([np.mean(np.conj(x) * x, axis=0), np.mean(np.conj(x) * y, axis=0)])


class TransferFunction:
    """Estimates a transfer function (H1) from the spectra of all recordings."""

    def __init__(self) -> None:
        self._spectra = MultiInputData()

    @MultiInput("estimate")
    def add_spectra(self, spectra: Array) -> int:
        return self._spectra.add(spectra)

    @add_spectra.remove
    def remove_spectra(self, data_id: int) -> None:
        del self._spectra[data_id]

    @add_spectra.replace
    def replace_spectra(self, data_id: int, spectra: Array) -> int:
        self._spectra[data_id] = spectra
        return data_id

    @Output()
    def estimate(self) -> Curve:
        auto, cross = sum(self._spectra.values())
        return Curve(np.linspace(0, RATE / 2, len(auto)), cross / auto)


class Comparison:
    """Tells how far an estimate is from the transfer function that the resonator really has."""

    def __init__(self) -> None:
        self._resonator = Resonator()
        self._estimate = Curve(np.zeros(0), np.zeros(0))

    @Input(("truth", "error"))
    def set_resonator(self, resonator: Resonator) -> None:
        self._resonator = resonator

    @Input("error")
    def set_estimate(self, estimate: Curve) -> None:
        self._estimate = estimate

    @Output()
    def truth(self) -> Curve:
        return self._resonator.transfer_function(np.geomspace(*SHOWN, 1000))

    @Output()
    def error(self) -> float:
        """Return the largest difference of the magnitudes within the band, in dB."""
        estimate = self._estimate.within(*BAND)
        truth = self._resonator.transfer_function(estimate.frequencies)
        return float(np.max(np.abs(estimate.decibels - truth.decibels)))


# The network, and what is done with it


class Measurement:
    """The whole chain, which is a block as well: its macros export what is set and read."""

    def __init__(self, recordings: int, seconds: float) -> None:
        # Who delivers keeps alive who receives, but not the other way round.
        self._sources = [Noise(seed, round(seconds * RATE)) for seed in range(recordings)]
        self._recorders = [Recorder(recordings + number) for number in range(recordings)]
        self._window = Window(4096)
        self._comparison = Comparison()
        title = "Transfer function of a resonator, from noisy recordings"
        self._plot = Plot(title, "frequency in Hz", SHOWN, "magnitude in dB", (-50, 40))
        transfer = TransferFunction()
        for source, recorder in zip(self._sources, self._recorders, strict=True):
            spectra = Spectra()
            source.signal.connect(recorder.set_excitation)
            recorder.channels.connect(spectra.set_channels)
            self._window.window.connect(spectra.set_window)
            spectra.spectra.connect(transfer.add_spectra)
        transfer.estimate.connect(self._comparison.set_estimate)
        transfer.estimate.connect(self._plot.add_curve["estimated"])
        self._comparison.truth.connect(self._plot.add_curve["true"])

    @MacroInput()
    def set_resonator(self) -> Iterator[Any]:
        yield from (recorder.set_resonator for recorder in self._recorders)
        yield self._comparison.set_resonator

    @MacroInput()
    def set_window_length(self) -> Iterator[Any]:
        yield self._window.set_length

    @MacroOutput()
    def error(self) -> Any:
        return self._comparison.error

    @MacroOutput()
    def picture(self) -> Any:
        return self._plot.svg


CHANGES: dict[str, Callable[[Measurement], object]] = {
    "at first": lambda _: None,
    "window 2,048": lambda measurement: measurement.set_window_length(2048),
    "now 600 Hz": lambda measurement: measurement.set_resonator(Resonator(600.0)),
}


@attrs.frozen
class Reading:
    """What an executor made of the measurement after a change, and what it ran for that."""

    change: str
    seconds: float = attrs.field(eq=False)
    error: float
    picture: str
    ran: Counter[str]


def measure(executor: str, recordings: int, seconds: float) -> list[Reading]:
    """Measure on the executor of that name, and again after each change of a parameter."""
    measurement = Measurement(recordings, seconds)
    readings = []
    with connectors.executor(executor) as running:
        # What is read decides for the whole chain.
        measurement.picture.set_executor(running)
        measurement.error.set_executor(running)
        for name, change in CHANGES.items():
            change(measurement)
            start = time.perf_counter()
            with connectors.observe() as seen:
                picture, error = measurement.picture(), measurement.error()
            took = time.perf_counter() - start
            finished: Iterable[Any] = seen.of(connectors.events.CallFinished)
            ran = Counter(event.label for event in finished)
            readings.append(Reading(name, took, error, picture, ran))
    return readings


def show(readings: Sequence[Reading]) -> None:
    """Print how often each method ran for each reading."""

    def row(title: str, cells: Iterable[object]) -> None:
        print(f"{title:32}", *(f"{cell:>14}" for cell in cells))

    row("runs of each method", [one.change for one in readings])
    for method in readings[0].ran:
        row(method, [one.ran[method] or "-" for one in readings])
    row("seconds", [f"{one.seconds:.3f}" for one in readings])
    row("largest error in dB", [f"{one.error:.2f}" for one in readings])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the measurement and return its exit code: 1 if two executors differ."""
    parser = argparse.ArgumentParser(prog="measurement", description="Identify a resonator.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--executor", default="threading_multiprocessing", metavar="NAME")
    choice.add_argument("--compare", action="store_true", help="run on every built-in executor")
    parser.add_argument("--recordings", type=int, default=8, metavar="N")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a recording")
    parser.add_argument("--picture", type=Path, default="transfer.svg", metavar="FILE")
    given = parser.parse_args(argv)
    if given.recordings < 1 or given.seconds < 1:
        parser.error("it takes at least one recording of at least one second")
    names = [given.executor]
    if given.compare:
        names = [info.name for info in connectors.available_executors() if info.builtin]
    try:
        results = {name: measure(name, given.recordings, given.seconds) for name in names}
    except connectors.ConnectorsError as error:
        print(f"measurement: {error}", file=sys.stderr)
        return 2
    first = next(iter(results.values()))
    show(first)
    given.picture.write_text(first[0].picture, encoding="utf-8")
    print(f"\nthe picture of the first reading is {given.picture}\n")
    for name, readings in results.items():
        same = "same results" if readings == first else "OTHER RESULTS"
        took = sum(one.seconds for one in readings)
        print(f"{name:32} {took:12.2f} s {same if given.compare else '':>16}")
    return int(any(readings != first for readings in results.values()))


if __name__ == "__main__":
    sys.exit(main())
