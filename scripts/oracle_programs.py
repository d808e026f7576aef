"""Runs gradoracle and gradoracle-server for the scripts beside it. Python's standard library only."""

import array
import contextlib
import json
import os
import signal
import subprocess
import sys
import time

SECONDS_TO_START = 60
SECONDS_TO_STOP = 30


def run_json(command):
    """Runs a program that prints one JSON object; its own message is the error when it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"exit {done.returncode} from: {' '.join(command)}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout)


@contextlib.contextmanager
def serving(program, folder, *flags):
    """gradoracle-server with these flags on a free loopback port while the block runs; yields HOST:PORT."""
    port_file = os.path.join(folder, f"port.{time.monotonic_ns()}")
    log_path = port_file + ".log"
    with open(log_path, "w") as log:
        server = subprocess.Popen(
            [program, "serve", *flags, "--listen", "127.0.0.1:0", "--port-file", port_file],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while not os.path.exists(port_file):
            if server.poll() is not None or time.monotonic() > deadline:
                with open(log_path) as log:
                    sys.exit(f"the server did not start (exit {server.poll()}):\n{log.read()}")
            time.sleep(0.02)
        with open(port_file) as file:
            yield file.read().strip()
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
                print(f"the server did not stop within {SECONDS_TO_STOP} s of SIGTERM; killed", file=sys.stderr)


def write_npy(path, values):
    """A float64 vector in NumPy's format, version 1.0 (for scripts that do without NumPy)."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({len(values)},), }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    numbers = array.array("d", values)
    if sys.byteorder == "big":
        numbers.byteswap()
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + numbers.tobytes())
