"""What the scripts of this folder share: data, processes for a while, workers that measure again and again."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np

SECONDS_TO_START = 600


def progress(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def write_data(path, rows, dimension):
    """Uniform features, linear targets, noise of deviation 0.1; the last column is the target."""
    random = np.random.default_rng(1)
    data = np.empty((rows, dimension + 1))
    data[:, :-1] = random.random((rows, dimension)) - 0.5
    data[:, -1] = data[:, :-1] @ random.random(dimension) + 0.1 * random.standard_normal(rows)
    np.save(path, data)


def idle_shares(seconds=1.0):
    """Share of time each CPU was idle over the last moment."""
    def read():
        with open("/proc/stat") as file:
            lines = [line.split() for line in file if line.startswith("cpu") and line[3].isdigit()]
        return {line[0]: (int(line[4]) + int(line[5]), sum(map(int, line[1:9]))) for line in lines}
    before = read()
    time.sleep(seconds)
    after = read()
    return [(after[cpu][0] - before[cpu][0]) / max(1, after[cpu][1] - before[cpu][1]) for cpu in before]


@contextlib.contextmanager
def running(command, ready, **options):
    """A process for the duration of the block; `ready(process)` says when it has started."""
    process = subprocess.Popen(command, **options)
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while not ready(process):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"bench: did not start (exit {process.poll()}): {' '.join(command)}")
            time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def server(command, folder, name):
    port_file = os.path.join(folder, name)
    with running(command + ["--port-file", port_file], lambda _: os.path.exists(port_file), stdout=subprocess.DEVNULL):
        with open(port_file) as file:
            yield file.read().strip()
    os.unlink(port_file)


class Worker:
    """end_to_end_bench: runs once for each line on stdin and answers with a line of JSON."""

    def __init__(self, process):
        self.process = process

    def run(self):
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"bench: {self.process.args} ended (exit {self.process.wait()})")
        return json.loads(line)


@contextlib.contextmanager
def worker(command):
    def ready(process):
        return process.stdout.readline().strip() == "ready"
    with running(command, ready, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Worker(process)
