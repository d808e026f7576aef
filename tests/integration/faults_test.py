"""The ledger among kills, full disks, failing syncs, restored copies and databases that restart: nothing is answered that
was not charged, nothing charged is lost."""

import json
import os
import random
import shutil
import subprocess
import threading
import time
import unittest

import grpc

from gradoracle.v1 import oracle_pb2_grpc
from ledger_model import DIMENSION, WEIGHTS, History, PostgresqlLedger, SqliteLedger, unary
from oracle_process import PATIENCE_SECONDS, SERVER, Details, OracleProcess, channel_to, run, stream_request, wait_until
from postgresql_process import PostgresqlProcess
from with_data import WithData

LONG = os.environ.get("GRADORACLE_LONG_TESTS") == "1"
FAILPOINT_SERVER = os.environ["GRADORACLE_TEST_FAILPOINT_SERVER"]
FAILPOINTS = ["before_charge", "before_commit", "after_commit", "after_sync", "after_sample", "mid_reply"]


class FaultsTest(WithData):
  shape = {"dimension": DIMENSION}

  def assert_refused(self, call, reason):
    with self.assertRaises(grpc.RpcError) as raised:
      call()
    self.assertEqual(Details(raised.exception).reason, reason)

  def ask(self, server, request_id=""):
    return server.stub.GetGradient(unary(request_id), timeout=PATIENCE_SECONDS).gradient

  # Would catch: a limit that is checked, then spent, with somebody in between.
  def count_answers(self, servers, queries):
    answers, refusals, others = [], [], []

    def client(number):
      stub = oracle_pb2_grpc.OracleServiceStub(channel_to(servers[number % len(servers)].address))
      for k in range(queries):
        try:
          answers.append(stub.GetGradient(unary(f"{number}-{k}" if k % 2 else ""), timeout=PATIENCE_SECONDS).gradient)
        except grpc.RpcError as error:
          (refusals if Details(error).reason == "BUDGET_EXHAUSTED" else others).append(error)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(64)]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    self.assertEqual(others, [])
    self.assertEqual(len(answers) + len(refusals), 64 * queries)
    self.assertEqual(len(set(answers)), len(answers), "every answer is another gradient")
    return len(answers)

  def test_64_clients_get_exactly_the_budget(self):
    ledger = SqliteLedger(self.folder)
    with OracleProcess("--data", self.data, "--ledger", ledger.location, "--default-limit", "500") as server:
      self.assertEqual(self.count_answers([server], 1000 if LONG else 100), 500)
    self.assertEqual(ledger.spent(), 500)

  def test_three_servers_share_one_budget(self):
    with PostgresqlProcess() as database:
      arguments = ["--data", self.data, "--ledger", database.url, "--default-limit", "500"]
      with OracleProcess(*arguments) as a, OracleProcess(*arguments) as b, OracleProcess(*arguments) as c:
        self.assertEqual(self.count_answers([a, b, c], 1000 if LONG else 60), 500)
      self.assertEqual(PostgresqlLedger(database).spent(), 500)

  def load(self, address, history, prefix, stop):
    """Unary calls, streams and retries until the server is gone."""
    generator = random.Random(prefix)
    with channel_to(address) as channel:
      stub = oracle_pb2_grpc.OracleServiceStub(channel)
      for k in range(10_000):
        if stop.is_set():
          return
        name = f"{prefix}-{k}"
        try:
          if generator.random() < 0.5:
            history.ask(1)
            history.answer(name, stub.GetGradient(unary(name), timeout=10).gradient)
          else:
            count = generator.randint(1, 60)
            history.ask(count)
            for chunk in stub.StreamGradients(
                stream_request(WEIGHTS, 40, count, request_id=name, max_chunk_gradients=7), timeout=10):
              history.answer(name, chunk.gradients)
        except grpc.RpcError:
          return

  def kill_loop(self, ledger, rounds):
    generator = random.Random(20261123)
    history = History()
    audit = self.folder / "audit.jsonl"
    reached = set()
    for number in range(rounds):
      failpoint = FAILPOINTS[number % len(FAILPOINTS)]
      before = set(history.answered)
      with OracleProcess("--data", self.data, "--ledger", ledger.location, "--audit-log", audit, program=[FAILPOINT_SERVER],
                         environment={"GRADORACLE_TEST_FAILPOINT": f"{failpoint}:{generator.randint(1, 40)}"}) as server:
        if before:  # answered by an earlier process: never again
          old = generator.choice(sorted(before))
          try:
            server.stub.GetGradient(unary(old), timeout=10)
            self.fail(f"{old} was answered twice, by two processes")
          except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:  # killed meanwhile
              self.assertIn(Details(error).reason, ("REQUEST_LOST", "REQUEST_ID_REUSED"))
        stop = threading.Event()
        threads = [threading.Thread(target=self.load, args=(server.address, history, f"{number}-{i}", stop))
                   for i in range(3)]
        for thread in threads:
          thread.start()
        deadline = time.monotonic() + 5
        while server.process.poll() is None and time.monotonic() < deadline:
          time.sleep(0.005)
        if server.process.poll() is None:
          server.process.kill()  # a failpoint that was not reached: killed anyway
        else:
          reached.add(failpoint)
        stop.set()
        for thread in threads:
          thread.join()
      spent = ledger.spent()
      ledger.check(self)
      self.assertLessEqual(len(history.seen), spent, f"round {number}: {failpoint}")
      self.assertLessEqual(spent, history.attempted, f"round {number}: {failpoint}")
    self.assertEqual(reached, set(FAILPOINTS))
    self.assertGreater(len(history.seen), rounds)
    # The survivor of all that starts, with its audit log, and goes on.
    with OracleProcess("--data", self.data, "--ledger", ledger.location, "--audit-log", audit) as server:
      self.ask(server)

  # Would catch: an answer before its charge is durable; a charge lost by a crash; a torn file.
  def test_kills_with_sqlite(self):
    self.kill_loop(SqliteLedger(self.folder), 200 if LONG else 24)

  def test_kills_with_postgresql(self):
    with PostgresqlProcess() as database:
      self.kill_loop(PostgresqlLedger(database), 200 if LONG else 12)

  # Would catch: a failed sync taken for a durable one, or a server that never recovers from it.
  def test_a_failing_sync_refuses_and_recovers(self):
    ledger = SqliteLedger(self.folder)
    # -D: the tracer is the grandchild, the process started is the server itself.
    strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e"]
    with OracleProcess("--data", self.data, "--ledger", ledger.location,
                       program=[*strace, "inject=fdatasync:error=EIO:when=20", SERVER]) as server:
      answered, refused = 0, 0
      deadline = time.monotonic() + PATIENCE_SECONDS
      while (refused == 0 or answered < 30) and time.monotonic() < deadline:
        try:
          self.ask(server)
          answered += 1
        except grpc.RpcError as error:
          self.assertEqual(Details(error).reason, "LEDGER_UNAVAILABLE")
          refused += 1
          time.sleep(0.02)
      self.assertGreater(refused, 0)
      self.assertGreaterEqual(answered, 30, server.log())
      self.assertIn("the ledger works again", server.log())
    ledger.check(self)
    self.assertLessEqual(answered, ledger.spent())
    self.assertLessEqual(ledger.spent(), answered + refused)

  # Would catch: service going on over a full disk, a log that wedges itself, charges lost when it is emptied.
  def test_a_full_disk_refuses_and_recovers(self):
    disk = self.folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode != 0:
      self.skipTest(f"needs to mount a file system: {mounted.stderr}")
    try:
      ledger = SqliteLedger(disk)
      with OracleProcess("--data", self.data, "--ledger", ledger.location) as server:
        self.ask(server, "before")
        with open(disk / "filler", "wb", buffering=0) as filler:
          try:
            while True:
              filler.write(bytes(4096))
          except OSError:
            pass
        answered, refused = 1, 0
        deadline = time.monotonic() + PATIENCE_SECONDS
        while refused < 3 and time.monotonic() < deadline:
          try:
            self.ask(server, f"{answered}-{refused}-" + "x" * 100)
            answered += 1
          except grpc.RpcError as error:
            self.assertEqual(Details(error).reason, "LEDGER_UNAVAILABLE")
            refused += 1
        self.assertEqual(refused, 3, "the disk never filled")
        os.remove(disk / "filler")

        def works():
          try:
            self.ask(server)
            return True
          except grpc.RpcError:
            return False

        wait_until(works, "the ledger works again")
        answered += 1
      ledger.check(self)
      self.assertLessEqual(answered, ledger.spent())
    finally:
      subprocess.run(["umount", disk], check=True)

  # Would catch: a budget returned by putting back an old copy.
  def test_a_restored_ledger_is_refused(self):
    ledger = SqliteLedger(self.folder)
    arguments = ["--data", self.data, "--ledger", ledger.location, "--audit-log", self.folder / "audit.jsonl"]
    with OracleProcess(*arguments) as server:
      self.ask(server)
      server.signal()
      self.assertEqual(server.wait(), 0)
    verified = run("audit-log", "verify", self.folder / "audit.jsonl", "--json")
    self.assertEqual(verified.returncode, 0, verified.stderr)
    self.assertEqual(json.loads(verified.stdout)["spent"], {"anonymous": 1})
    shutil.copy(ledger.path, self.folder / "backup")
    with OracleProcess(*arguments) as server:
      self.ask(server)
      server.signal()
      self.assertEqual(server.wait(), 0)
    os.rename(ledger.path, self.folder / "latest")
    shutil.copy(self.folder / "backup", ledger.path)
    completed = run(*arguments, "--listen", "127.0.0.1:0")
    self.assertEqual(completed.returncode, 1, completed.stderr)
    self.assertIn("forgotten charges", completed.stderr)
    os.rename(self.folder / "latest", ledger.path)
    with OracleProcess(*arguments) as server:
      self.ask(server)
      second = run(*arguments, "--listen", "127.0.0.1:0")  # while the first has the ledger
      self.assertEqual(second.returncode, 1)
      self.assertIn("another process", second.stderr)

  # Would catch: a new version of the data giving the budget back.
  def test_a_new_version_of_the_data_keeps_what_was_spent(self):
    ledger = SqliteLedger(self.folder)
    arguments = ["--data", self.data, "--ledger", ledger.location, "--default-limit", "2"]
    with OracleProcess(*arguments, "--dataset-version", "one") as server:
      self.ask(server)
      self.ask(server)
    with OracleProcess(*arguments, "--dataset-version", "two") as server:
      self.assert_refused(lambda: self.ask(server), "BUDGET_EXHAUSTED")
    self.assertEqual(ledger.query("SELECT count(*) FROM dataset_version"), 2)

  # Would catch: first chunks that are charged and drawn for a stream that the budget does not pay for to its end.
  def test_a_stream_beyond_the_budget_is_refused_whole(self):
    ledger = SqliteLedger(self.folder)
    with OracleProcess("--data", self.data, "--ledger", ledger.location, "--dataset-limit", "100") as server:
      received = 0

      def read(count):
        nonlocal received
        for chunk in server.stub.StreamGradients(stream_request(WEIGHTS, 40, count, max_chunk_gradients=9),
                                                 timeout=PATIENCE_SECONDS):
          received += chunk.gradient_count

      self.assert_refused(lambda: read(101), "DATASET_BUDGET_EXHAUSTED")
      self.assertEqual(received, 0)
      read(100)
      self.assertEqual(received, 100)
    self.assertEqual(ledger.spent(), 100)

  # Would catch: answers while the database is away, a server that does not find back, and double charges of retries.
  def test_postgresql_restarts_under_load(self):
    with PostgresqlProcess() as database:
      ledger = PostgresqlLedger(database)
      with OracleProcess("--data", self.data, "--ledger", database.url) as server:
        answered, refused = 0, 0
        for round_number in range(3):
          for mode in ("fast", "immediate"):
            stopper = threading.Thread(target=database.stop, args=(mode,))
            stopper.start()
            name = 0
            while stopper.is_alive() or refused == 0:
              try:
                self.ask(server, f"{round_number}-{mode}-{name}")
                answered += 1
                name += 1  # what was refused is asked again by the same name: charged once
              except grpc.RpcError as error:
                self.assertEqual(Details(error).reason, "LEDGER_UNAVAILABLE")
                refused += 1
            stopper.join()
            self.assert_refused(lambda: self.ask(server), "LEDGER_UNAVAILABLE")
            self.assertEqual(server.health(), "NOT_SERVING")
            self.assertEqual(server.health(""), "SERVING")  # the process lives: a restart would not help
            database.start()

            def works():
              nonlocal answered
              try:
                self.ask(server, f"{round_number}-{mode}-{name}")
                answered += 1
                return True
              except grpc.RpcError:
                return False

            wait_until(works, "the ledger works again")
            self.assertEqual(server.health(), "SERVING")
      ledger.check(self)
      self.assertEqual(ledger.spent(), answered)


if __name__ == "__main__":
  unittest.main()
