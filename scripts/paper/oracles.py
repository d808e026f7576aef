"""Data sets with their truth, oracles that serve them, and the client's verbs as functions."""

import contextlib
import csv
import gzip
import os
import subprocess
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from oracle_programs import run_json, serving  # noqa: E402


class Data:
    """A data set in a file, with what its owner knows: standardised features, targets, hessian, optimum."""

    def __init__(self, path, rows):
        self.path = path
        standardised = (rows - rows.mean(axis=0)) / rows.std(axis=0)
        self.features, self.targets = standardised[:, :-1], standardised[:, -1]
        self.row_count, self.dimension = self.features.shape
        self.hessian = self.features.T @ self.features / self.row_count
        self.gradient_at_zero = -self.features.T @ self.targets / self.row_count
        self.optimum = np.linalg.lstsq(self.features, self.targets, rcond=None)[0]
        self.norm = np.linalg.norm(self.hessian, 2)
        self.effective_rank = np.trace(self.hessian) / self.norm

    def relative_error(self, estimate):
        return float(np.linalg.norm(estimate - self.hessian, 2) / self.norm)

    def excess_risk(self, weights):
        distance = weights - self.optimum
        return float(distance @ self.hessian @ distance / 2)

    def residuals(self, weights):
        return self.targets - self.features @ weights

    def away(self, distance_squared, generator):
        """Weights with (w - w*)'H(w - w*) = distance_squared, in a random direction."""
        direction = generator.standard_normal(self.dimension)
        direction *= np.sqrt(distance_squared / (direction @ self.hessian @ direction))
        return self.optimum + direction


def read_csv(path):
    """The last column is the target, as the server takes it."""
    with gzip.open(path, "rt") as file:
        rows = list(csv.reader(file))[1:]
    return Data(path, np.array(rows, dtype=float))


def make_data(folder, name, features, generator, signal_share=0.5):
    """targets = features' direction + noise, written as .npy; `signal_share` is R^2."""
    weights = generator.standard_normal(features.shape[1])
    signal = features @ weights
    signal *= np.sqrt(signal_share / signal.var())
    targets = signal + np.sqrt(1 - signal_share) * generator.standard_normal(len(signal))
    rows = np.column_stack([features, targets])
    path = os.path.join(folder, name + ".npy")
    np.save(path, rows)
    return Data(path, rows)


class Programs:
    """gradoracle-server and gradoracle out of one folder of binaries."""

    def __init__(self, binaries, folder):
        self.server = os.path.join(binaries, "gradoracle-server")
        self.client = os.path.join(binaries, "gradoracle")
        self.folder = folder

    @contextlib.contextmanager
    def oracle(self, data, *flags, farthest=None):
        """The server's defaults and these flags; `farthest` weights are allowed if the default limit forbids them."""
        norm = max(100.0, 1.01 * float(np.linalg.norm(farthest))) if farthest is not None else 100.0
        with serving(self.server, self.folder, "--data", data.path, "--max-weights-norm", f"{norm:.0f}", *flags) as address:
            yield Oracle(self, address)

    def run(self, *words):
        return run_json([self.client, *map(str, words), "--json"])

    def weights_file(self, weights, name="weights.npy"):
        path = os.path.join(self.folder, name)
        np.save(path, weights)
        return path


class Oracle:
    """An oracle that is being served."""

    def __init__(self, programs, address):
        self.programs = programs
        self.address = address

    def estimate(self, weights, batch_size, count, *flags):
        """(hessian, the client's JSON)."""
        out = os.path.join(self.programs.folder, "hessian.npy")
        report = self.programs.run("estimate", "--oracle", self.address, "--weights", self.programs.weights_file(weights),
                                   "--batch-size", batch_size, "--count", count, "--out", out, *flags)
        return np.load(out), report

    def plain(self, weights, batch_size, count, *flags):
        """The paper's estimator and nothing else."""
        return self.estimate(weights, batch_size, count, "--estimator", "covariance", "--no-unit-diagonal", *flags)

    def verb(self, *words):
        return self.programs.run(*words[:1], "--oracle", self.address, *words[1:])


def owner(programs, *words):
    """A verb of the owner's program, as JSON."""
    return run_json([programs.server, *map(str, words), "--json"])


def version(programs):
    done = subprocess.run([programs.client, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip()
