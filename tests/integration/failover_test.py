"""A ledger in a PostgreSQL whose primary dies under load and whose standby takes over."""

import threading
import time
import unittest

import grpc

from gradoracle.v1 import oracle_pb2_grpc
from ledger_model import DIMENSION, WEIGHTS, PostgresqlLedger, unary
from oracle_process import PATIENCE_SECONDS, Details, OracleProcess, channel_to, stream_request, wait_until
from postgresql_process import PostgresqlProcess
from with_data import WithData


class Caller(threading.Thread):
  """Asks one named request after the other; each again under its name until it was answered to its end. What is refused
  on the way must be the ledger's absence, and what comes again the same bytes."""

  def __init__(self, address, name, count, stop):
    super().__init__()
    self.address, self.prefix, self.count, self.stop = address, name, count, stop
    self.answered = []  # bytes of each request's gradients
    self.refusals = set()
    self.failure = None

  def run(self):
    try:
      with channel_to(self.address) as channel:
        stub = oracle_pb2_grpc.OracleServiceStub(channel)
        while not self.stop.is_set():
          self.answered.append(self.ask(stub, f"{self.prefix}-{len(self.answered)}"))
    except BaseException as error:  # pylint: disable=broad-except
      self.failure = error

  def ask(self, stub, name):
    first = b""  # what came of an attempt that broke off
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
      received = b""
      try:
        if self.count == 1:
          received = stub.GetGradient(unary(name), timeout=PATIENCE_SECONDS).gradient
        else:
          request = stream_request(WEIGHTS, 40, self.count, request_id=name, max_chunk_gradients=7)
          for chunk in stub.StreamGradients(request, timeout=PATIENCE_SECONDS):
            received += chunk.gradients
        self.compare(received, first)
        return received
      except grpc.RpcError as error:
        self.refusals.add(Details(error).reason)
        self.compare(received, first)
        first = max(first, received, key=len)
        if time.monotonic() > deadline:
          raise
        time.sleep(0.01)

  @staticmethod
  def compare(received, first):
    common = min(len(received), len(first))
    if received[:common] != first[:common]:
      raise AssertionError("a request asked again under its name brought other gradients")


class FailoverTest(WithData):
  shape = {"dimension": DIMENSION}

  # Would catch: an answer whose charge the standby does not know; a server that does not find the standby; a retry that
  # is charged anew, or answered with other noise, after the change.
  def test_a_synchronous_standby_takes_over_under_load(self):
    with PostgresqlProcess() as primary, PostgresqlProcess(primary) as standby:
      primary.commit_only_with_standby()
      wait_until(lambda: primary.sql("SELECT sync_state FROM pg_stat_replication") == "sync", "replication")
      url = f"postgresql://owner@/postgres?host={primary.folder},{standby.folder}"
      with OracleProcess("--data", self.data, "--ledger", url) as server:
        stop = threading.Event()
        callers = [Caller(server.address, f"caller-{i}", count, stop) for i, count in enumerate([1, 1, 1, 20, 60])]
        for caller in callers:
          caller.start()
        progress = lambda: [len(caller.answered) for caller in callers]
        try:
          wait_until(lambda: min(progress()) > 5, "load")
          primary.kill()
          wait_until(lambda: all(caller.refusals for caller in callers), "refusals")
          standby.promote()
          before = progress()
          wait_until(lambda: all(now > then + 5 for now, then in zip(progress(), before)), "answers after the change")
        finally:
          stop.set()
          for caller in callers:
            caller.join()
        for caller in callers:
          self.assertIsNone(caller.failure, caller.prefix)
          self.assertEqual(caller.refusals, {"LEDGER_UNAVAILABLE"})
        gradients = [answer[at:at + 8 * DIMENSION] for caller in callers for answer in caller.answered
                     for at in range(0, len(answer), 8 * DIMENSION)]
        self.assertEqual(len(set(gradients)), len(gradients), "every answer is another gradient")
        ledger = PostgresqlLedger(standby)
        ledger.check(self)
        # Every request was answered to its end, so each gradient was charged exactly once: nothing lost, nothing free.
        self.assertEqual(ledger.spent(), len(gradients))

  # PostgreSQL says COMMIT, with a warning, when the wait for the standby is ended by hand.
  # Would catch: an answer whose charge is on the primary alone.
  def test_a_commit_without_its_standby_is_none(self):
    with PostgresqlProcess() as primary, PostgresqlProcess(primary) as standby:
      primary.commit_only_with_standby()
      wait_until(lambda: primary.sql("SELECT sync_state FROM pg_stat_replication") == "sync", "replication")
      with OracleProcess("--data", self.data, "--ledger", primary.url) as server:
        server.stub.GetGradient(unary(), timeout=PATIENCE_SECONDS)
        standby.kill()
        call = server.stub.GetGradient.future(unary("lonely"), timeout=PATIENCE_SECONDS)
        wait_until(lambda: primary.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == "1",
                   "a commit that waits for the standby")
        primary.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        with self.assertRaises(grpc.RpcError) as raised:
          call.result()
        self.assertEqual(Details(raised.exception).reason, "LEDGER_UNAVAILABLE")
        self.assertIn("may not have stored", server.log())


if __name__ == "__main__":
  unittest.main()
