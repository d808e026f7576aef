"""The machine's clock is set ten days forward and back while a server runs, and between two servers (threats 26).

libfaketime (Debian's package faketime) sits between the server and the wall clock. The monotonic clock is left alone: nobody
can set that one on a real machine either.
"""

import glob
import json
import os
import unittest

import grpc

from gradoracle.v1 import oracle_pb2
from oracle_process import PATIENCE_SECONDS, Details, OracleProcess, run, stream_request, wait_until
from operations_test import get, samples
from with_data import WithData

DIMENSION = 4
WEIGHTS = [0.1] * DIMENSION
LIBRARY = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)
# Of a stream of which the caller reads the first chunk only, more than any flow control lets through.
LONG_STREAM = 200_000


@unittest.skipIf(os.environ.get("GRADORACLE_TEST_SANITIZER"), "libfaketime cannot be loaded before a sanitizer")
@unittest.skipIf(LIBRARY is None, "needs Debian's package faketime")
class ClockTest(WithData):
  shape = {"dimension": DIMENSION}

  def setUp(self):
    super().setUp()
    self.ledger = f"sqlite:{self.folder / 'ledger.db'}"
    self.short = self.create("short", "--expires", "5d")
    self.lasting = self.create("lasting")

  def create(self, principal, *arguments):
    out = self.folder / f"{principal}.token"
    created = run("token", "create", "--ledger", self.ledger, "--principal", principal, "--limit", "1000000", "--out", out,
                  *arguments)
    self.assertEqual(created.returncode, 0, created.stderr)
    return [("authorization", f"Bearer {out.read_text().strip()}")]

  def set_clock(self, offset):
    file = self.folder / "offset"
    (self.folder / "offset.new").write_text(offset + "\n")
    os.rename(self.folder / "offset.new", file)
    return {"LD_PRELOAD": LIBRARY, "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

  def serve(self, environment):
    server = OracleProcess("--data", self.data, "--ledger", self.ledger, "--auth", "tokens", "--admin-listen", "127.0.0.1:0",
                           "--log-format", "json", environment=environment)
    self.addCleanup(server.close)
    return server

  def lines(self, server, message):
    found = [json.loads(line) for line in server.log().splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in found if line["msg"] == message]

  def ask(self, server, token):
    """The reason of a refusal, or None."""
    try:
      server.stub.GetGradient(oracle_pb2.GetGradientRequest(weights=WEIGHTS, batch_size=40), metadata=token,
                              timeout=PATIENCE_SECONDS)
      return None
    except grpc.RpcError as error:
      return Details(error).reason

  def spent(self, server):
    budget = server.stub.GetBudget(oracle_pb2.GetBudgetRequest(), metadata=self.lasting, timeout=PATIENCE_SECONDS)
    return budget.spent

  def start_stream(self, server):
    """A stream of which one chunk was read; the server cannot send it to its end until somebody reads on."""
    call = server.stub.StreamGradients(stream_request(WEIGHTS, 40, LONG_STREAM), metadata=self.lasting,
                                       timeout=PATIENCE_SECONDS)
    return next(call).gradient_count, call

  def finish_stream(self, started):
    received, call = started
    self.assertEqual(received + sum(chunk.gradient_count for chunk in call), LONG_STREAM)

  def assert_sane_durations(self, server):
    # Would catch: a duration taken from the wall clock: ten days long, or negative.
    wait_until(lambda: len(self.lines(server, "call")) >= 4, "log lines")
    for line in self.lines(server, "call"):
      self.assertGreaterEqual(line["duration_ms"], 0, line)
      self.assertLess(line["duration_ms"], 1000 * PATIENCE_SECONDS, line)
    status, text = get(self.lines(server, "admin port")[0]["address"], "/metrics")
    self.assertEqual(status, 200)
    sums = {name: value for name, value in samples(text).items() if "_seconds_sum" in name}
    self.assertIn("gradoracle_ledger_commit_seconds_sum", sums)
    for name, value in sums.items():
      self.assertGreaterEqual(value, 0, name)
      self.assertLess(value, 10 * PATIENCE_SECONDS, name)

  # Would catch: a budget that time refills, calls that end because the clock was set, and an expired token that lives
  # again when the clock goes back, in the same process or in the next.
  def test_ten_days_forward(self):
    server = self.serve(self.set_clock("+0d"))
    self.assertIsNone(self.ask(server, self.short))
    stream = self.start_stream(server)
    self.set_clock("+10d")
    self.assertEqual(self.ask(server, self.short), "TOKEN_EXPIRED")
    self.finish_stream(stream)
    self.assertIsNone(self.ask(server, self.lasting))
    spent = LONG_STREAM + 1
    self.assertEqual(self.spent(server), spent)
    self.set_clock("+0d")
    self.assertEqual(self.ask(server, self.short), "TOKEN_EXPIRED")
    self.assertEqual(self.spent(server), spent)
    self.assert_sane_durations(server)
    server.signal()
    self.assertEqual(server.wait(), 0)
    for offset in ("+0d", "-10d"):
      server = self.serve(self.set_clock(offset))
      self.assertEqual(self.ask(server, self.short), "TOKEN_EXPIRED", offset)
      self.assertIsNone(self.ask(server, self.lasting))
      spent += 1
      self.assertEqual(self.spent(server), spent)
      server.close()

  # Would catch: the same, with the first jump backwards.
  def test_ten_days_back(self):
    server = self.serve(self.set_clock("+0d"))
    stream = self.start_stream(server)
    self.set_clock("-10d")
    self.assertIsNone(self.ask(server, self.short))
    self.finish_stream(stream)
    self.assertIsNone(self.ask(server, self.lasting))
    self.assertEqual(self.spent(server), LONG_STREAM + 1)
    self.assert_sane_durations(server)
    server.signal()  # draining must neither be cut short nor last ten days
    stopping = self.set_clock("+0d")
    self.assertEqual(server.wait(), 0)
    server = self.serve(stopping)
    self.assertIsNone(self.ask(server, self.short))
    self.assertEqual(self.spent(server), LONG_STREAM + 1)


if __name__ == "__main__":
  unittest.main()
