"""Nothing of the data, and no credential, in any log line, error text or reply that is not a gradient."""

import pathlib
import re
import unittest

import grpc
import numpy as np

from gradoracle.v1 import oracle_pb2
from oracle_process import PATIENCE_SECONDS, OracleProcess, least_squares, run, standardise, stream_request
from refusals_test import GOOD, REFUSALS
from with_data import WithData

# Of a number's digits, this many in a row are taken as a leak: 2 000 values and a few 10^4 digits of output make a
# chance of about 1e-5 that unrelated digits agree.
DIGITS = 9
TOKEN = "canary-token-5b1f"


def digits(number):
  return re.sub(r"[^0-9]", "", f"{abs(number):.17e}".split("e")[0])[:DIGITS]


class LeaksTest(WithData):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    features, targets = cls.features, cls.targets
    secrets = [features, targets, features.mean(axis=0), features.std(axis=0), targets.mean(), targets.std()]
    for units in (standardise(features, targets), (features, targets)):
      weights, residual_variance, hessian = least_squares(*units)
      secrets += [*units, weights, residual_variance, hessian, np.linalg.eigvalsh(hessian)]
    values = np.concatenate([np.atleast_1d(secret).ravel() for secret in secrets])
    # Round numbers (the unit diagonal of H) have nothing to recognise.
    cls.canaries = {digits(value) for value in values if len(set(digits(value))) > 4}

  def assert_no_leak(self, text):
    found = re.sub(r"[.\-]", "", text)
    for run_of_digits in re.findall(r"[0-9]+", found):
      for start in range(len(run_of_digits) - DIGITS + 1):
        self.assertNotIn(run_of_digits[start:start + DIGITS], self.canaries, text)
    self.assertNotIn(TOKEN, text)

  def test_the_check_can_fail(self):
    with self.assertRaises(AssertionError):
      self.assert_no_leak(self.data.read_text())
    with self.assertRaises(AssertionError):
      self.assert_no_leak(f"residual variance {run('inspect', '--data', self.data).stdout}")

  def test_serving_and_refusing(self):
    for flags in ([], ["--no-standardise", "--log-format", "json"]):
      # gRPC's own tracing would print metadata, credentials included: the program must switch it off.
      environment = {"GRPC_VERBOSITY": "DEBUG", "GRPC_TRACE": "all"}
      with OracleProcess("--data", self.data, "--log-level", "debug", *flags, environment=environment) as server:
        metadata = [("authorization", f"Bearer {TOKEN}")]
        info = server.stub.GetInfo(oracle_pb2.GetInfoRequest(), timeout=PATIENCE_SECONDS, metadata=metadata)
        self.assert_no_leak(str(info))
        for name, (changes, *_) in REFUSALS.items():
          request = stream_request(**{**GOOD, **changes})
          with self.subTest(name), self.assertRaises(grpc.RpcError) as raised:
            list(server.stub.StreamGradients(request, timeout=PATIENCE_SECONDS, metadata=metadata))
          self.assert_no_leak(raised.exception.details())
          for _, value in raised.exception.trailing_metadata():
            self.assert_no_leak(value.decode("latin1") if isinstance(value, bytes) else value)
        list(server.stub.StreamGradients(stream_request(**GOOD), timeout=PATIENCE_SECONDS, metadata=metadata))
        limits = pathlib.Path(f"/proc/{server.process.pid}/limits").read_text()
        self.assertRegex(limits, r"Max core file size +0 +0 ")
        server.signal()
        self.assertEqual(server.wait(), 0)
        self.assertIn("stopped", server.log())
        self.assert_no_leak(server.log())

  # Owners paste these into tickets: broken data must be described without being quoted.
  def test_refusing_to_start(self):
    lines = self.data.read_text().splitlines()
    broken = {
        "ragged": lines[:100] + [lines[100] + ",1"] + lines[101:],
        "text": lines[:100] + [lines[100].replace(lines[100].split(",")[0], "secret0")] + lines[101:],
        "overflow": lines[:100] + ["1e999," + lines[100].split(",", 1)[1]] + lines[101:],
    }
    for name, text in broken.items():
      with self.subTest(name):
        path = self.folder / f"{name}.csv"
        path.write_text("\n".join(text) + "\n")
        completed = run("--data", path, "--listen", "127.0.0.1:0")
        self.assertEqual(completed.returncode, 2, completed.stderr)
        self.assertIn(f"{path}:101", completed.stderr)
        self.assertNotIn("secret0", completed.stderr)
        self.assert_no_leak(completed.stderr)
    for flags in (["--target", "none"], ["--noise-rule", "fixed"], ["--max-batch-size", "501"],
                  ["--extra-noise-variances", "1e-6"]):
      completed = run("--data", self.data, *flags, "--listen", "127.0.0.1:0")
      self.assertEqual(completed.returncode, 2, completed.stderr)
      self.assert_no_leak(completed.stderr)


if __name__ == "__main__":
  unittest.main()
