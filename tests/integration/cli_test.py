"""`gradoracle` as its users meet it: a process, a real oracle, the house-price data, exit codes and files."""

import json
import math
import os
import pathlib
import pty
import select
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import numpy as np

from oracle_process import PATIENCE_SECONDS, OracleProcess, clean_environment, run, wait_until

CLIENT = os.environ["GRADORACLE_TEST_CLIENT"]
DATA = pathlib.Path(os.environ["GRADORACLE_TEST_DATA"]) / "lucas_house.csv.gz"


def client(*arguments, environment=None):
  return subprocess.run([CLIENT, *map(str, arguments)], env=clean_environment(environment), capture_output=True, text=True,
                        timeout=PATIENCE_SECONDS)


class HousePrices(unittest.TestCase):
  """One calibrated oracle on the bundled data for all tests."""

  @classmethod
  def setUpClass(cls):
    cls.server = OracleProcess("--data", DATA)
    cls.addClassCleanup(cls.server.close)

  def setUp(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def ask(self, verb, *arguments, exit_code=0):
    """Runs a verb with --json against the oracle; returns what it printed, which must be one JSON object."""
    result = client(verb, "--oracle", self.server.address, "--json", *arguments)
    self.assertEqual(result.returncode, exit_code, result.stdout + result.stderr)
    return json.loads(result.stdout)

  def files(self):
    return sorted(path.name for path in self.folder.iterdir())

  def start(self, *arguments):
    process = subprocess.Popen([CLIENT, *map(str, arguments)], env=clean_environment(), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    self.addCleanup(process.wait)
    self.addCleanup(process.kill)
    return process

  def test_info(self):
    info = self.ask("info")
    self.assertEqual((info["dimension"], info["row_count"]), (31, 25357))
    self.assertEqual(info["scaling"], "standardised")
    self.assertEqual(info["noise"], {"rule": "calibrated", "extra": [], "curvature_probe": False})
    self.assertEqual(info["limits"],
                     {"min_batch_size": 32, "max_batch_size": 25357, "max_count": 1000000, "max_weights_norm": 100})

  def test_the_oracle_may_come_from_the_environment(self):
    result = client("info", environment={"GRADORACLE_ORACLE": self.server.address})
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertIn("25357 rows, dimension 31", result.stdout)
    # The flag is stronger: nobody listens on port 1.
    self.assertEqual(client("info", "--oracle", "127.0.0.1:1", "--deadline", "1",
                            environment={"GRADORACLE_ORACLE": self.server.address}).returncode, 4)

  def test_query(self):
    weights = self.folder / "w.npy"
    np.save(weights, np.linspace(-1, 1, 31))
    out = self.folder / "g.npy"
    answer = self.ask("query", "--weights", weights, "--batch-size", 64, "--count", 1500, "--out", out)
    self.assertEqual((answer["dimension"], answer["batch_size"], answer["count"]), (31, 64, 1500))
    gradients = np.load(out)
    self.assertEqual((gradients.shape, gradients.dtype), ((1500, 31), np.float64))
    self.assertTrue(np.isfinite(gradients).all())
    self.assertEqual(len(np.unique(gradients, axis=0)), 1500)
    self.assertEqual(self.files(), ["g.npy", "w.npy"])

  def test_estimate_agrees_with_numpy_and_with_the_owner(self):
    hessian_file, gradients_file = self.folder / "h.npy", self.folder / "g.npy"
    answer = self.ask("estimate", "--weights", "zeros", "--batch-size", 256, "--count", 2048, "--out", hessian_file,
                      "--gradients-out", gradients_file, "--no-unit-diagonal")
    gradients, hessian = np.load(gradients_file), np.load(hessian_file)
    self.assertEqual(answer["gradients"], 2048)
    self.assertEqual(answer["total_noise_variance"], 256)
    np.testing.assert_allclose(hessian, np.cov(gradients.T), rtol=0, atol=1e-12)
    eigenvalues = np.linalg.eigvalsh(hessian)[::-1]
    np.testing.assert_allclose(answer["eigenvalues"], eigenvalues, rtol=0, atol=1e-10)
    self.assertAlmostEqual(answer["trace"], np.trace(hessian))
    self.assertAlmostEqual(answer["effective_rank"], np.trace(hessian) / eigenvalues[0])
    self.assertAlmostEqual(answer["mean_gradient_norm"], np.linalg.norm(gradients.mean(0)))
    # The owner's check: the truth is the correlation matrix of the features.
    owner = run("inspect", "--data", DATA, "--compare", hessian_file)
    self.assertEqual(owner.returncode, 0, owner.stderr)
    rows = np.loadtxt(DATA, delimiter=",", skiprows=1)
    truth = np.corrcoef(rows[:, :-1].T)
    error = np.linalg.norm(hessian - truth, 2) / np.linalg.norm(truth, 2)
    self.assertAlmostEqual(json.loads(owner.stdout)["relative_error"], error, places=9)
    # Not the limit's own test (tests/estimation): ten times the limit would be a scale wrong somewhere.
    self.assertLess(error, 10 * answer["relative_error"]["estimate"])

  def test_a_recording_gives_the_same_estimate(self):
    gradients, first, second = (self.folder / name for name in ("g.npy", "h.npy", "h2.npy"))
    streamed = self.ask("estimate", "--weights", "zeros", "--batch-size", 64, "--count", 1000, "--out", first,
                        "--gradients-out", gradients, "--no-unit-diagonal")
    recorded = client("estimate", "--from", gradients, "--batch-size", 64, "--total-noise-variance", 64, "--out", second,
                      "--json")
    self.assertEqual(recorded.returncode, 0, recorded.stderr)
    np.testing.assert_allclose(np.load(second), np.load(first), rtol=0, atol=1e-13)
    for key in ("trace", "effective_rank", "mean_gradient_norm"):
      self.assertAlmostEqual(json.loads(recorded.stdout)[key], streamed[key], places=12)

  def test_refusals(self):
    """Exit code 3, the oracle's code, reason and field; nothing written."""
    zeros = {"--weights": "zeros", "--batch-size": 64, "--count": 8}
    far, short, bad = (self.folder / name for name in ("far.npy", "short.npy", "bad.npy"))
    np.save(far, np.full(31, 1e3))
    np.save(short, np.zeros(30))
    np.save(bad, np.full(31, math.nan))
    cases = {
        "batch below": ({"--batch-size": 31}, "OUT_OF_RANGE", "batch_size"),
        "batch above": ({"--batch-size": 25358}, "OUT_OF_RANGE", "batch_size"),
        "batch zero": ({"--batch-size": 0}, "INVALID_ARGUMENT", "batch_size"),
        "batch negative": ({"--batch-size": -3}, "INVALID_ARGUMENT", "batch_size"),
        "count zero": ({"--count": 0}, "INVALID_ARGUMENT", "count"),
        "count above": ({"--count": 1000001}, "OUT_OF_RANGE", "count"),
        "count enormous": ({"--count": 2**63 - 1}, "OUT_OF_RANGE", "count"),
        "far away": ({"--weights": far}, "OUT_OF_RANGE", "weights"),
        "too short": ({"--weights": short}, "INVALID_ARGUMENT", "weights"),
        "not finite": ({"--weights": bad}, "INVALID_ARGUMENT", "weights"),
    }
    before = self.files()
    for verb in ("query", "estimate"):
      for name, (changes, code, field) in cases.items():
        with self.subTest(verb=verb, case=name):
          arguments = [str(word) for item in {**zeros, **changes}.items() for word in item]
          error = self.ask(verb, *arguments, "--out", self.folder / "out.npy", exit_code=3)["error"]
          self.assertEqual((error["code"], error["field"]), (code, field))
          self.assertRegex(error["reason"], "^[A-Z_]+$")
          self.assertIn(field, error["message"])
          self.assertEqual(self.files(), before)

  def test_usage_errors(self):
    good = ["--oracle", self.server.address, "--weights", "zeros", "--batch-size", "64"]
    for words in (["frobnicate"], [], ["info", "--oracle", self.server.address, "--frob"], ["estimate", *good],
                  ["estimate", *good, "--count", "1e3"], ["estimate", *good, "--count", str(2**63)],
                  ["estimate", *good, "--count", "8", "--estimator", "oas"],
                  ["estimate", *good, "--count", "8", "--target-error", "-1"],
                  ["estimate", *good, "--count", "8", "--tls-cert", "t"],
                  ["query", *good, "--count", "8", "--out", "/nonexistent/g.npy"],
                  ["estimate", "--from", self.folder / "none.npy", "--batch-size", 8, "--total-noise-variance", 8]):
      with self.subTest(words=words):
        result = client(*words, "--json")
        self.assertEqual(result.returncode, 2, result.stdout)
        self.assertEqual(json.loads(result.stdout)["error"]["code"].split("_")[-1],
                         "FOUND" if "--from" in words else "ARGUMENT")
        self.assertTrue(result.stderr.startswith("gradoracle: "))
        plain = client(*words)
        self.assertEqual((plain.returncode, plain.stdout), (2, ""))

  def test_help_and_version(self):
    for words in (["--help"], ["info", "--help"], ["query", "--help"], ["estimate", "--help"], ["--version"]):
      result = client(*words)
      self.assertEqual((result.returncode, result.stderr), (0, ""))
      self.assertIn("gradoracle", result.stdout)

  def test_nobody_there(self):
    with socket.socket() as taken:  # bound, not listening: connections are refused
      taken.bind(("127.0.0.1", 0))
      address = "127.0.0.1:%d" % taken.getsockname()[1]
      for words in (["info"], ["query", "--weights", "zeros", "--out", self.folder / "g.npy"],
                    ["estimate", "--weights", "zeros"]):
        with self.subTest(words=words):
          more = [] if words == ["info"] else ["--batch-size", 64, "--count", 8]
          result = client(*words, *more, "--oracle", address, "--deadline", 1, "--json")
          self.assertEqual(result.returncode, 4, result.stdout)
          self.assertIn(json.loads(result.stdout)["error"]["code"], ("UNAVAILABLE", "DEADLINE_EXCEEDED"))
    self.assertEqual(self.files(), [])

  def interrupt_after_gradients(self, process, pattern):
    # The temporary file of the recording tells that gradients are arriving.
    wait_until(lambda: any(path.stat().st_size > 100_000 for path in self.folder.glob(pattern)), "gradients")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    self.assertEqual(process.returncode, 130, err)
    return json.loads(out)

  def test_ctrl_c_keeps_what_was_gathered(self):
    # A million gradients of large batches: hours, unless interrupted.
    common = ("--oracle", self.server.address, "--weights", "zeros", "--batch-size", 20000, "--count", 1000000, "--json")
    process = self.start("query", *common, "--out", self.folder / "g.npy")
    answer = self.interrupt_after_gradients(process, "*g.npy*")
    self.assertEqual(np.load(self.folder / "g.npy").shape, (answer["count"], 31))
    self.assertLess(answer["count"], 1000000)

    process = self.start("estimate", *common, "--out", self.folder / "h.npy", "--gradients-out", self.folder / "e.npy",
                         "--no-unit-diagonal")
    answer = self.interrupt_after_gradients(process, "*e.npy*")
    gradients = np.load(self.folder / "e.npy")
    self.assertEqual(gradients.shape, (answer["gradients"], 31))
    np.testing.assert_allclose(np.load(self.folder / "h.npy"), np.cov(gradients.T), rtol=0, atol=1e-12)
    self.assertEqual(self.files(), ["e.npy", "g.npy", "h.npy"])

  def test_ctrl_c_while_waiting(self):
    """Nothing arrives: the address accepts connections and never answers."""
    with socket.socket() as silent:
      silent.bind(("127.0.0.1", 0))
      silent.listen()
      process = self.start("info", "--oracle", "127.0.0.1:%d" % silent.getsockname()[1], "--json")
      silent.settimeout(PATIENCE_SECONDS)
      connection, _ = silent.accept()
      with connection:
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)
        self.assertEqual(process.returncode, 130, out)
        self.assertLess(time.monotonic() - begin, 25)  # not the 30 s deadline
        self.assertEqual(json.loads(out)["error"]["code"], "CANCELLED")

  def test_a_server_killed_midway(self):
    with OracleProcess("--data", DATA) as server:
      process = self.start("query", "--oracle", server.address, "--weights", "zeros", "--batch-size", 20000, "--count",
                           1000000, "--out", self.folder / "g.npy", "--deadline", 2, "--json")
      wait_until(lambda: any(path.stat().st_size > 100_000 for path in self.folder.iterdir()), "gradients")
      server.process.kill()
      out, _ = process.communicate(timeout=PATIENCE_SECONDS)
      self.assertEqual(process.returncode, 4, out)
      kept = np.load(self.folder / "g.npy")
      self.assertIn(f"{len(kept)} of 1000000 gradients had arrived", json.loads(out)["error"]["message"])

  def test_progress_is_for_terminals(self):
    common = ("--oracle", self.server.address, "--weights", "zeros", "--batch-size", 20000, "--count", 1000000)
    terminal, end = pty.openpty()
    process = subprocess.Popen([CLIENT, "estimate", *map(str, common)], env=clean_environment({"TERM": "xterm"}),
                               stdout=subprocess.PIPE, stderr=end, text=True)
    self.addCleanup(process.wait)
    self.addCleanup(process.kill)
    os.close(end)
    self.addCleanup(os.close, terminal)
    shown = ""
    while "of 1000000 gradients" not in shown:  # what arrives may be part of a line; the end would raise
      self.assertTrue(select.select([terminal], [], [], PATIENCE_SECONDS)[0], shown)
      shown += os.read(terminal, 1000).decode()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    self.assertEqual(process.returncode, 130)
    self.assertNotIn("\x1b", out)
    self.assertIn("interrupted after", out)


class OtherNoise(unittest.TestCase):

  def test_the_rule_none_needs_the_variance(self):
    with OracleProcess("--data", DATA, "--noise-rule", "none") as server:
      common = ("estimate", "--oracle", server.address, "--weights", "zeros", "--batch-size", 64, "--count", 500, "--json")
      result = client(*common)
      self.assertEqual(result.returncode, 2)
      self.assertEqual(json.loads(result.stdout)["error"]["field"], "total_noise_variance")
      self.assertIn("--total-noise-variance", result.stderr)
      # Told that the noise were calibrated, the estimate is far too small, and says so: the diagonal should be one.
      result = client(*common, "--total-noise-variance", 64)
      self.assertEqual(result.returncode, 0, result.stderr)
      self.assertIn("diagonal", json.loads(result.stdout)["bias_warning"])

  def test_scaled_noise_is_known(self):
    with OracleProcess("--data", DATA, "--noise-rule", "scaled", "--noise-scale", 4) as server:
      result = client("estimate", "--oracle", server.address, "--weights", "zeros", "--batch-size", 64, "--count", 4000,
                      "--json")
      self.assertEqual(result.returncode, 0, result.stderr)
      answer = json.loads(result.stdout)
      self.assertEqual(answer["total_noise_variance"], 256)
      self.assertAlmostEqual(answer["trace"], 31, delta=4)


if __name__ == "__main__":
  unittest.main()
