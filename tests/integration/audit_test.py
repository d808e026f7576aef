"""`gradoracle audit` as an owner runs it: against a real oracle, of its recorded gradients, with the truth and without."""

import json
import math
import os
import pathlib
import stat
import subprocess
import tempfile
import unittest

import numpy as np

from oracle_process import (PATIENCE_SECONDS, OracleProcess, clean_environment, least_squares, regression_data,
                            standardise, write_csv)

CLIENT = os.environ["GRADORACLE_TEST_CLIENT"]
FINDINGS = {"support_leak", "row_reconstruction", "batch_recovery", "miscalibration", "differencing", "weights_norm"}


class AuditTest(unittest.TestCase):
  """One calibrated oracle on small data for all tests."""

  @classmethod
  def setUpClass(cls):
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.data = pathlib.Path(folder.name) / "data.csv"
    features, targets = regression_data()
    write_csv(cls.data, features, targets)
    cls.hessian = least_squares(*standardise(features, targets))[2]
    cls.server = OracleProcess("--data", cls.data)
    cls.addClassCleanup(cls.server.close)

  def setUp(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def audit(self, *arguments, exit_code=0):
    """What it wrote, after a look at what every audit must hold."""
    out = self.folder / "out"
    result = subprocess.run([CLIENT, "audit", *map(str, arguments), "--out", out, "--json"], env=clean_environment(),
                            capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    self.assertEqual(result.returncode, exit_code, result.stdout[-2000:] + result.stderr)
    report = json.loads((out / "report.json").read_text())
    self.assertEqual(json.loads(result.stdout), report)
    self.assertEqual(set(report["findings"]), FINDINGS)
    self.assertIn("<script", (out / "report.html").read_text())
    for name in ("report.json", "report.html", "audit.state.json"):
      self.assertEqual(stat.S_IMODE((out / name).stat().st_mode), 0o600, name)
    return report

  def over_the_network(self, *arguments, exit_code=0, server=None):
    server = server or self.server
    return self.audit("--oracle", server.address, "--batch-size", 64, "--budget", 1000, *arguments,
                      exit_code=exit_code)

  # Would catch: truth in other units than the oracle serves, an attack that the wire breaks, a prediction left out.
  def test_an_oracle_against_the_owners_truth(self):
    report = self.over_the_network("--data", self.data)
    self.assertEqual((report["mode"], report["complete"], report["repetitions"]), ("oracle", True, 1))
    self.assertEqual(report["dataset"]["row_count"], 500)
    np.testing.assert_allclose(report["spectrum"]["true"], np.sort(np.linalg.eigvalsh(self.hessian))[::-1], rtol=1e-9)
    available = {attack["name"] for attack in report["attacks"] if attack["available"]}
    self.assertLessEqual({"covariance", "covariance_at_model", "active_large_batch", "averaging"}, available)
    self.assertNotIn("probe", available)
    # Theory 1.2b: covariance of m = 1000 gradients of d = 4, with probability 1e-6 of more; heavier tails than Gaussian
    # ones by sqrt(1 + 2/n) and the bias at w = 0, at most 1/n of E xx'y^2, which is below 1/4 here.
    eta = math.sqrt(4 / 1000) + math.sqrt(2 * math.log(2 / 1e-6) / 1000)
    watching = next(attack for attack in report["attacks"] if attack["name"] == "covariance")["curve"][-1]
    self.assertEqual(watching["gradients"], 1000)
    self.assertLess(watching["relative_error"], 1.1 * (2 * eta + eta**2) + 0.25)
    strongest = report["strongest"][-1]["relative_error"]
    self.assertLess(strongest, 0.1)
    self.assertLessEqual(strongest, watching["relative_error"])
    predicted = report["accountant"]["curve"]
    self.assertEqual([point["gradients"] for point in predicted], [10, 32, 100, 316, 1000])
    self.assertTrue(report["accountant"]["assumptions"])
    self.assertTrue(report["findings"]["miscalibration"]["found"] is False, report["findings"]["miscalibration"])
    self.assertIsNone(report["findings"]["differencing"]["found"])
    self.assertFalse(report["label_privacy"]["applicable"])

  def test_an_oracle_without_truth(self):
    report = self.over_the_network()
    self.assertTrue(all(point["relative_error"] is None for point in report["strongest"]))
    self.assertIsNone(report["accountant"])
    self.assertIsNone(report["recommended_budget"])
    self.assertEqual(len(report["spectrum"]["recovered"]), 4)

  # Would catch: a gate that never closes, or that closes on whoever asks little.
  def test_the_gate(self):
    self.over_the_network("--data", self.data, "--fail-if-error-below", 0.3, exit_code=5)
    self.over_the_network("--data", self.data, "--fail-if-error-below", 1e-9)

  # Would catch: noise of three quarters of n being called calibrated because the rule does not tell its total.
  def test_a_miscalibrated_oracle_is_told(self):
    with OracleProcess("--data", self.data, "--noise-rule", "fixed", "--noise-variance", 48) as server:
      report = self.audit("--oracle", server.address, "--data", self.data, "--batch-size", 64, "--budget", 20000)
    finding = report["findings"]["miscalibration"]
    self.assertIs(finding["found"], True, finding)
    self.assertIn("the noise is not calibrated", report["verdict"])

  # Would catch: a refusal by the ledger that ends the audit, or that is told as an attack's failure to learn.
  def test_a_budget_that_runs_out(self):
    with OracleProcess("--data", self.data, "--curvature-floor", 0.02) as server:
      report = self.over_the_network("--data", self.data, server=server)
    reasons = [attack["reason"] for attack in report["attacks"] if not attack["available"]]
    self.assertTrue(any("of the curvature" in reason for reason in reasons), reasons)
    self.assertIn("Not decided", report["verdict"])
    self.assertIsNone(report["recommended_budget"])
    with OracleProcess("--data", self.data, "--curvature-floor", 0.02) as server:  # a gate must not open on what failed
      self.over_the_network("--data", self.data, "--fail-if-error-below", 1e-9, server=server, exit_code=1)

  def test_recorded_gradients(self):
    recording = self.folder / "g.npy"
    query = subprocess.run([CLIENT, "query", "--oracle", self.server.address, "--weights", "zeros", "--batch-size", "64",
                            "--count", "1000", "--out", recording], env=clean_environment(), capture_output=True,
                           text=True, timeout=PATIENCE_SECONDS)
    self.assertEqual(query.returncode, 0, query.stderr)
    recorded = ("--from", recording, "--batch-size", 64, "--total-noise-variance", 64)
    report = self.audit(*recorded, "--data", self.data)
    self.assertEqual((report["mode"], report["budget"]), ("recording", 1000))
    gradients = np.load(recording)
    centred = gradients - gradients.mean(axis=0)
    error = np.linalg.norm(centred.T @ centred / 999 - self.hessian, 2) / np.linalg.norm(self.hessian, 2)
    watching = next(attack for attack in report["attacks"] if attack["name"] == "covariance")["curve"][-1]
    self.assertAlmostEqual(watching["relative_error"], error, places=9)
    self.assertIs(report["findings"]["miscalibration"]["found"], False)
    self.assertIn("recording", report["label_privacy"]["reason"])
    self.assertTrue(all(point["relative_error"] is None for point in self.audit(*recorded)["strongest"]))

  def test_data_of_another_oracle_is_refused(self):
    other = self.folder / "other.csv"
    write_csv(other, *regression_data(dimension=6))
    result = subprocess.run([CLIENT, "audit", "--oracle", self.server.address, "--data", other, "--batch-size", "64",
                             "--budget", "100", "--out", self.folder / "out", "--json"], env=clean_environment(),
                            capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    self.assertEqual(result.returncode, 2, result.stdout)
    self.assertEqual(json.loads(result.stdout)["error"]["reason"], "DATA_MISMATCH")


if __name__ == "__main__":
  unittest.main()
