"""What the benchmarks of process pools call; importable in workers of every engine."""

import time


def increment(x):
    return x + 1


def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def total(array):
    return float(array[0])


def echo(value):
    return value


class Camera:
    def __init__(self, first, second):
        self.first = first
        self.second = second

    def read(self, index):
        return float(self.first[index] + self.second[index])


def read(camera, index):
    return camera.read(index)
