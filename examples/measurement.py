"""measurement: identify a resonator from noisy recordings, with a network of blocks.

A complete measurement chain, on data that it simulates::

    Noise ───────┬──► Recorder ──┐
      (seed)     │               ├──► Spectra ──┐
                 └───────────────┤              ├──► TransferFunction ──┬──► Plot ──► SVG
    Window ──────────────────────┘      ...  ───┘                      │      ▲
                   once for each recording                    Deviation ◄┘  Truth

`Recorder` computes in plain Python, sample by sample, and wishes to run in another process;
`Spectra` is NumPy, for which a thread will do; ``--executor`` says what runs them. Afterwards one
parameter at a time is changed, and only what depends on it is computed again.
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
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt

import connectors
from connectors import Input, MacroInput, MacroOutput, MultiInput, MultiInputData, Output
from connectors import Parallelization as Level

Array = npt.NDArray[Any]

RATE = 8192.0  # samples per second
BAND = (20.0, 2000.0)  # where the estimate is compared with the truth, in Hz
NOISE = 0.02  # what the recorder adds, beside an excitation of 1
DAMPING = 0.02

# What flows from block to block


@attrs.frozen(eq=False)
class Curve:
    """A complex function of the frequency in Hz."""

    frequencies: Array
    values: Array

    def within(self, low: float, high: float) -> Curve:
        """Return the part of the curve between two frequencies."""
        inside = (self.frequencies >= low) & (self.frequencies <= high)
        return Curve(self.frequencies[inside], self.values[inside])

    @property
    def decibels(self) -> Array:
        """Its magnitude in dB."""
        decibels: Array = 20 * np.log10(np.abs(self.values))
        return decibels


@attrs.frozen
class Resonator:
    """A resonance of second order, as a filter: y[n] = g x[n] + a y[n-1] + b y[n-2]."""

    frequency: float
    damping: float = DAMPING

    @property
    def coefficients(self) -> tuple[float, float, float]:
        """Its g, a and b; the gain is 1 at 0 Hz."""
        turn = 2 * math.pi * self.frequency / RATE
        pole = cmath.exp(turn * complex(-self.damping, math.sqrt(1 - self.damping**2)))
        a, b = 2 * pole.real, -(abs(pole) ** 2)
        return 1 - a - b, a, b

    def transfer(self, frequencies: Array) -> Curve:
        """Return its transfer function: what the measurement has to find."""
        g, a, b = self.coefficients
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
    """Excites a resonator and records its response, with some noise of its own."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._excitation: Array = np.zeros(0)
        self._resonator = Resonator(0)

    @Input("response")
    def set_excitation(self, signal: Array) -> Self:
        self._excitation = signal
        return self

    @Input("response")
    def set_resonance(self, frequency: float) -> Self:
        self._resonator = Resonator(frequency)
        return self

    @Output(parallelization=Level.PROCESS)
    def response(self) -> Array:
        g, a, b = self._resonator.coefficients
        now = before = 0.0
        response = []
        for sample in self._excitation.tolist():
            now, before = g * sample + a * now + b * before, now
            response.append(now)
        noise = np.random.default_rng(self._seed).standard_normal(len(response))
        return np.array(response) + NOISE * noise


class Window:
    """A Hann window."""

    def __init__(self, length: int) -> None:
        self._length = length

    @Input("window")
    def set_length(self, length: int) -> Self:
        self._length = length
        return self

    @Output()
    def window(self) -> Array:
        return np.hanning(self._length)


class Spectra:
    """Cuts two channels into overlapping windows, and averages their spectra over these."""

    def __init__(self) -> None:
        self._excitation = self._response = self._window = np.zeros(0)

    @Input("spectra")
    def set_excitation(self, signal: Array) -> Self:
        self._excitation = signal
        return self

    @Input("spectra")
    def set_response(self, signal: Array) -> Self:
        self._response = signal
        return self

    @Input("spectra")
    def set_window(self, window: Array) -> Self:
        self._window = window
        return self

    @Output(parallelization=Level.THREAD)
    def spectra(self) -> Array:
        """Return the auto-spectrum of the excitation, and its cross-spectrum with the response."""
        x, y = self._transform(self._excitation), self._transform(self._response)
        return np.array([np.mean(np.conj(x) * x, axis=0), np.mean(np.conj(x) * y, axis=0)])

    def _transform(self, signal: Array) -> Array:
        length = len(self._window)
        pieces = np.lib.stride_tricks.sliding_window_view(signal, length)[:: length // 2]
        transformed: Array = np.fft.rfft(pieces * self._window)
        return transformed


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
    """Compares an estimate with the transfer function that the resonator really has."""

    def __init__(self) -> None:
        self._resonator = Resonator(0)
        self._estimate = Curve(np.zeros(0), np.zeros(0))

    @Input(("truth", "deviation"))
    def set_resonance(self, frequency: float) -> Self:
        self._resonator = Resonator(frequency)
        return self

    @Input("deviation")
    def set_estimate(self, estimate: Curve) -> Self:
        self._estimate = estimate
        return self

    @Output()
    def truth(self) -> Curve:
        return self._resonator.transfer(np.geomspace(*Plot.HERTZ, 1000))

    @Output()
    def deviation(self) -> float:
        """Return the largest difference within the band, in dB."""
        estimate = self._estimate.within(*BAND)
        truth = self._resonator.transfer(estimate.frequencies)
        return float(np.max(np.abs(estimate.decibels - truth.decibels)))


class Plot:
    """Draws the magnitudes of curves as an SVG picture."""

    SIZE = (760, 440)
    FRAME = (76, 56, 736, 380)  # left, top, right, bottom
    HERTZ = (20, 4000)
    DECIBELS = (-50, 40)
    STYLES = (
        'stroke="#86c1e8" stroke-width="4.5"',
        'stroke="#b3261e" stroke-width="1.4" stroke-dasharray="7 4"',
    )

    def __init__(self, title: str) -> None:
        self._title = title
        self._curves = MultiInputData()

    @MultiInput("svg")
    def add_curve(self, curve: Curve) -> Any:
        return self._curves.add(curve)

    @add_curve.remove
    def remove_curve(self, name: Any) -> None:
        del self._curves[name]

    @add_curve.replace
    def replace_curve(self, name: Any, curve: Curve) -> Any:
        self._curves[name] = curve
        return name

    @Output(parallelization=Level.SEQUENTIAL)
    def svg(self) -> str:
        left, top, right, bottom = self.FRAME
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.SIZE[0]} '
                f'{self.SIZE[1]}" font-family="sans-serif" font-size="13" fill="#333">',
                '<rect width="100%" height="100%" fill="white"/>',
                *self._grid(),
                *self._lines(),
                f'<g font-size="16">{text(left, 34, "start", self._title)}</g>',
                text((left + right) / 2, bottom + 46, "middle", "frequency in Hz"),
                f'<g transform="translate(26 {(top + bottom) / 2}) rotate(-90)">',
                text(0, 0, "middle", "magnitude in dB"),
                "</g></svg>\n",
            ]
        )

    def _grid(self) -> Iterator[str]:
        left, top, right, bottom = self.FRAME
        for hertz in (step * 10**decade for decade in (1, 2, 3) for step in range(1, 10)):
            if self.HERTZ[0] <= hertz <= self.HERTZ[1]:
                x, _ = self._place(hertz, 0)
                named = str(hertz)[0] in "125"
                yield line(GREY if named else PALE, (x, top), (x, bottom))
                yield text(x, bottom + 20, "middle", f"{hertz:,}" if named else "")
        for decibels in range(self.DECIBELS[0], self.DECIBELS[1] + 1, 10):
            _, y = self._place(1, decibels)
            yield line(PALE if decibels else GREY, (left, y), (right, y))
            yield text(left - 10, y + 4, "end", f"{decibels}".replace("-", "\u2212"))

    def _lines(self) -> Iterator[str]:
        x, y = self.FRAME[0] + 20, self.FRAME[1] + 4
        for (name, curve), style in zip(self._curves.items(), self.STYLES, strict=True):
            seen = curve.within(*self.HERTZ)
            yield line(style, *map(self._place, seen.frequencies, seen.decibels))
            y += 22
            yield line(style, (x, y), (x + 36, y))
            yield text(x + 46, y + 4, "start", name)

    def _place(self, hertz: float, decibels: float) -> tuple[float, float]:
        left, top, right, bottom = self.FRAME
        across = math.log(hertz / self.HERTZ[0]) / math.log(self.HERTZ[1] / self.HERTZ[0])
        up = (decibels - self.DECIBELS[0]) / (self.DECIBELS[1] - self.DECIBELS[0])
        return left + across * (right - left), bottom - up * (bottom - top)


GREY, PALE = 'stroke="#b0b0b0"', 'stroke="#e8e8e8"'


def line(style: str, *points: tuple[float, float]) -> str:
    """Return a line in SVG."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline fill="none" stroke-linejoin="round" {style} points="{path}"/>'


def text(x: float, y: float, anchor: str, words: str) -> str:
    """Return a text in SVG."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


# The network, and what is done with it


class Measurement:
    """The whole chain. Seen from outside it is a block as well: its macros export what it needs."""

    def __init__(self, recordings: int, seconds: float) -> None:
        # Who delivers keeps alive who receives, not the other way round: these have to be kept.
        self._sources = [Noise(seed, round(seconds * RATE)) for seed in range(recordings)]
        self._recorders = [Recorder(recordings + number) for number in range(recordings)]
        self._window = Window(4096)
        self._transfer = TransferFunction()
        self._comparison = Comparison()
        self._plot = Plot("Transfer function of a resonator, from noisy recordings")
        for source, recorder in zip(self._sources, self._recorders, strict=True):
            spectra = Spectra()
            source.signal.connect(recorder.set_excitation)
            source.signal.connect(spectra.set_excitation)
            recorder.response.connect(spectra.set_response)
            self._window.window.connect(spectra.set_window)
            spectra.spectra.connect(self._transfer.add_spectra)
        self._transfer.estimate.connect(self._plot.add_curve["estimated (H1)"])
        self._comparison.truth.connect(self._plot.add_curve["true"])
        self._transfer.estimate.connect(self._comparison.set_estimate)
        self.set_resonance(440.0)

    @MacroInput()
    def set_resonance(self) -> Iterator[Any]:
        yield from (recorder.set_resonance for recorder in self._recorders)
        yield self._comparison.set_resonance

    @MacroInput()
    def set_window_length(self) -> Iterator[Any]:
        yield self._window.set_length

    @MacroOutput()
    def deviation(self) -> Any:
        return self._comparison.deviation

    @MacroOutput()
    def svg(self) -> Any:
        return self._plot.svg


@attrs.frozen
class Reading:
    """What one executor made of the measurement at one setting.

    Attributes:
        setting: The parameter that was changed before.
        seconds: How long it took, the start of workers included.
        deviation: The largest error of the estimate, in dB.
        svg: The picture.
        ran: How often each method ran.
    """

    setting: str
    seconds: float
    deviation: float
    svg: str
    ran: Counter[str]


def measure(executor: str, recordings: int, seconds: float) -> list[Reading]:
    """Measure on the executor of that name: once, and again after each change of a parameter."""
    measurement = Measurement(recordings, seconds)
    changes: dict[str, Callable[[], object]] = {
        "at first": lambda: None,
        "window 2,048": lambda: measurement.set_window_length(2048),
        "resonance 600 Hz": lambda: measurement.set_resonance(600.0),
    }
    readings = []
    with connectors.executor(executor) as running:
        measurement.svg.set_executor(running)  # the one that is read decides for the whole chain
        measurement.deviation.set_executor(running)
        for setting, change in changes.items():
            change()
            start = time.perf_counter()
            with connectors.observe() as seen:
                svg, deviation = measurement.svg(), measurement.deviation()
            took = time.perf_counter() - start
            ran = Counter(event.label for event in seen.of(connectors.events.CallFinished))
            readings.append(Reading(setting, took, deviation, svg, ran))
    return readings


def show(readings: Sequence[Reading]) -> None:
    """Print which methods ran for each reading."""
    print("how often each method ran", *(f"{one.setting:>18}" for one in readings), sep="")
    for method in readings[0].ran:
        print(f"{method:25}", *(f"{one.ran[method] or '-':>18}" for one in readings), sep="")
    print(f"{'seconds':25}", *(f"{one.seconds:>18.3f}" for one in readings), sep="")
    print(f"{'largest error in dB':25}", *(f"{one.deviation:>18.2f}" for one in readings), sep="")


def compare(names: Iterable[str], recordings: int, seconds: float) -> int:
    """Measure on each of the executors, print the times and return 1 if the results differ."""
    results = {name: measure(name, recordings, seconds) for name in names}
    first = next(iter(results.values()))
    print(f"{'executor':26}{'seconds':>8}{'largest error in dB':>22}{'same picture':>15}")
    code = 0
    for name, readings in results.items():
        same = [one.svg for one in readings] == [one.svg for one in first]
        code |= not same
        took = sum(one.seconds for one in readings)
        print(f"{name:26}{took:8.2f}{readings[0].deviation:22.4f}{'yes' if same else 'NO':>15}")
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the measurement and return its exit code."""
    parser = argparse.ArgumentParser(prog="measurement", description="Identify a resonator.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--executor", default="threading_multiprocessing", metavar="NAME")
    choice.add_argument("--compare", action="store_true", help="run on every built-in executor")
    parser.add_argument("--recordings", type=int, default=8, metavar="N")
    parser.add_argument("--seconds", type=float, default=16.0, help="length of a recording")
    parser.add_argument("--picture", type=Path, default="transfer.svg", metavar="FILE")
    given = parser.parse_args(argv)
    try:
        if given.compare:
            builtin = (info.name for info in connectors.available_executors() if info.builtin)
            return compare(builtin, given.recordings, given.seconds)
        readings = measure(given.executor, given.recordings, given.seconds)
    except connectors.ConnectorsError as error:
        print(f"measurement: {error}", file=sys.stderr)
        return 2
    show(readings)
    given.picture.write_text(readings[0].svg, encoding="utf-8")
    print(f"on {given.executor}; the first picture is {given.picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
