#!/usr/bin/env python3
"""Prints the tables of docs/shrinkage.md: what shrinkage and trimming do, measured through the programs.

  tests/bench/shrinkage_table.py BIN inverse RUNS    condition number of the shrunk Hessian's inverse times the truth
  tests/bench/shrinkage_table.py BIN trimming RUNS   relative error with faulty gradients, on real and synthetic data

BIN holds gradoracle and gradoracle-server. Draws fresh numbers on every run.
"""

import contextlib
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

DATA = pathlib.Path(__file__).resolve().parents[2] / "examples/data/lucas_house.csv.gz"
METHODS = ["none", "ledoit_wolf", "oas", "nonlinear", "spiked"]
FAULTY_SHARE, FACTOR, TRIM = 0.02, 10, "0.05"


class Program:
  """gradoracle on gradients in memory."""

  def __init__(self, bin_folder, folder):
    self.bin, self.folder = pathlib.Path(bin_folder), pathlib.Path(folder)

  def run(self, program, *arguments):
    subprocess.run([self.bin / program, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)

  def estimate(self, gradients, batch_size, *arguments):
    np.save(self.folder / "gradients.npy", gradients)
    self.run("gradoracle", "estimate", "--from", self.folder / "gradients.npy", "--batch-size", batch_size,
             "--total-noise-variance", batch_size, "--out", self.folder / "hessian.npy", *arguments)
    return np.load(self.folder / "hessian.npy")


  @contextlib.contextmanager
  def oracle(self, data):
    """A server on `data`: yields the true Hessian and a function from batch size and count to gradients at zero."""
    truth, port_file = self.folder / "truth.npy", self.folder / "port"
    self.run("gradoracle-server", "inspect", "--data", data, "--hessian-out", truth)
    port_file.unlink(missing_ok=True)
    server = subprocess.Popen([self.bin / "gradoracle-server", "--data", data, "--listen", "127.0.0.1:0", "--port-file",
                               port_file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def query(batch_size, count):
      self.run("gradoracle", "query", "--oracle", port_file.read_text().strip(), "--weights", "zeros", "--batch-size",
               batch_size, "--count", count, "--out", self.folder / "query.npy")
      return np.load(self.folder / "query.npy")

    try:
      while not port_file.exists() and server.poll() is None:
        time.sleep(0.1)
      yield np.load(truth), query
    finally:
      server.terminate()
      server.wait()


def relative_condition(estimate, truth):
  factor = np.linalg.cholesky(truth)
  eigenvalues = np.linalg.eigvalsh(np.linalg.solve(factor, np.linalg.solve(factor, estimate).T))
  return eigenvalues[-1] / eigenvalues[0]


def print_conditions(program, runs, name, truth, count, gradients):
  """gradients: function that draws a set of them, anew for each run."""
  conditions = []
  for _ in range(runs):
    drawn = gradients()
    conditions.append([
        relative_condition(program.estimate(drawn, 256, "--shrinkage", method), truth)
        if method != "none" or count > len(truth) else np.inf for method in METHODS
    ])
  cells = ["none" if np.isinf(value) else f"{value:.3g}" for value in np.median(conditions, axis=0)]
  print(f"| {name} | {count} | " + " | ".join(cells) + " |", flush=True)


def inverse(program, runs):
  generator = np.random.default_rng()
  dimension = 100
  spectra = {"identity": np.ones(dimension), "1/j": 1 / np.arange(1, dimension + 1), "5 spikes": np.ones(dimension)}
  spectra["5 spikes"][:5] = [20, 16, 12, 8, 5]
  print("| Hessian | m | " + " | ".join(METHODS) + " |\n|" + " --- |" * (len(METHODS) + 2))
  for name, spectrum in spectra.items():
    for count in (50, 200, 1000):
      draw = lambda: generator.standard_normal((count, dimension)) * np.sqrt(spectrum)
      print_conditions(program, runs, name, np.diag(spectrum), count, draw)
  with program.oracle(DATA) as (truth, query):
    for count in (64, 128, 1024):
      print_conditions(program, runs, "lucas (real)", truth, count, lambda: query(256, count))


def heavy_tails(folder):
  """Features of multivariate t with 5 degrees of freedom, spectrum 1/j in a random basis, and a linear target."""
  generator = np.random.default_rng()
  basis = np.linalg.qr(generator.standard_normal((50, 50)))[0]
  radius = np.sqrt(3 / generator.chisquare(5, 50_000))[:, None]
  features = generator.standard_normal((50_000, 50)) * radius @ (basis / np.sqrt(np.arange(1, 51))).T
  targets = features @ generator.standard_normal(50) + generator.standard_normal(50_000)
  np.save(folder / "t5.npy", np.c_[features, targets])
  return folder / "t5.npy"


def trimming(program, runs):
  generator = np.random.default_rng()
  unit = lambda matrix: matrix / np.sqrt(np.outer(np.diag(matrix), np.diag(matrix)))
  print("| data | n | gradients | plain | plain, unit diagonal | trimmed | trimmed, unit diagonal |\n|" + " --- |" * 7)
  for name, path in (("lucas (real)", DATA), ("t5 (synthetic)", heavy_tails(program.folder))):
    with program.oracle(path) as (truth, query):
      error = lambda matrix: np.linalg.norm(matrix - truth, 2) / np.linalg.norm(truth, 2)
      for batch_size in (256, 32):
        errors = {"honest": [], "2 % times ten": []}
        for _ in range(runs):
          gradients = query(batch_size, 4096)
          for kind, values in errors.items():
            if kind != "honest":
              faulty = generator.permutation(len(gradients))[:int(FAULTY_SHARE * len(gradients))]
              gradients[faulty] *= FACTOR
            plain = program.estimate(gradients, batch_size)
            trimmed = program.estimate(gradients, batch_size, "--trim", TRIM)
            values.append([error(plain), error(unit(plain)), error(trimmed), error(unit(trimmed))])
        for kind, values in errors.items():
          cells = " | ".join(f"{value:.3f}" for value in np.mean(values, axis=0))
          print(f"| {name} | {batch_size} | {kind} | {cells} |", flush=True)


def main():
  if len(sys.argv) != 4 or sys.argv[2] not in ("inverse", "trimming"):
    sys.exit(__doc__)
  with tempfile.TemporaryDirectory() as folder:
    {"inverse": inverse, "trimming": trimming}[sys.argv[2]](Program(sys.argv[1], folder), int(sys.argv[3]))


if __name__ == "__main__":
  main()
