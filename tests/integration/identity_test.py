"""Who is answered: certificates, tokens and budgets, with real processes (threats 24 and 25)."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time
import unittest
import urllib.request

import grpc

from certificates import Authority
from gradoracle.v1 import oracle_pb2_grpc
from oracle_process import (PATIENCE_SECONDS, Details, OracleProcess, clean_environment, collect, run, stream_request,
                            wait_until)
from postgresql_process import PostgresqlProcess
from with_data import WithData

CLIENT = os.environ["GRADORACLE_TEST_CLIENT"]
GOOD = {"weights": [0.0] * 4, "batch_size": 64}


def client(*arguments, environment=None):
  return subprocess.run([CLIENT, *map(str, arguments)], env=clean_environment(environment), capture_output=True,
                        text=True, timeout=PATIENCE_SECONDS)


class IdentityTest(WithData):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.ca = Authority(cls.shared, "ca")
    cls.foreign = Authority(cls.shared, "foreign")
    cls.ca.issue("server", "DNS:localhost,IP:127.0.0.1")
    cls.ca.issue("alice", "URI:urn:alice,DNS:alice.example.org")
    cls.ca.issue("bob", "DNS:bob")
    cls.ca.issue("nameless", "")
    cls.ca.issue("expired", "DNS:bob", days=-1)
    cls.foreign.issue("forged", "DNS:bob")

  def setUp(self):
    super().setUp()
    self.ledger = f"sqlite:{self.folder / 'ledger.db'}"

  # --- the owner's side

  def token(self, verb, *arguments, code=0):
    completed = run("token", verb, "--ledger", self.ledger, "--json", *arguments)
    self.assertEqual(completed.returncode, code, completed.stderr)
    return json.loads(completed.stdout)

  def create(self, principal, *arguments):
    out = self.folder / f"{principal.replace(':', '_')}-{time.monotonic_ns()}.token"
    result = self.token("create", "--principal", principal, "--out", out, *arguments)
    self.assertEqual(out.stat().st_mode & 0o777, 0o600)
    return result["id"], out.read_text().strip()

  def spent(self):
    return self.token("list")["dataset"]["spent"]

  def serve(self, auth, client_ca, *flags, **more):
    tls = ["--tls-cert", self.shared / "server.pem", "--tls-key", self.shared / "server.key"]
    tls += ["--client-ca", self.shared / "ca.pem"] if client_ca else []
    return OracleProcess("--data", self.data, "--ledger", self.ledger, "--auth", auth, *tls, *flags, **more)

  # --- a caller's side

  def ask(self, address, certificate=None, token=None, trusts="ca", plaintext=False):
    """"OK", the reason of a refusal, or the code of a call that reached nobody."""
    read = lambda name: (self.shared / name).read_bytes()
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    if plaintext:
      channel = grpc.insecure_channel(address, options)
    else:
      credentials = grpc.ssl_channel_credentials(read(f"{trusts}.pem"), read(f"{certificate}.key") if certificate else None,
                                                 read(f"{certificate}.pem") if certificate else None)
      channel = grpc.secure_channel(address, credentials, options)
    with channel:
      metadata = [("authorization", f"Bearer {token}")] if token else []
      try:
        collect(oracle_pb2_grpc.OracleServiceStub(channel).StreamGradients(
            stream_request(count=1, **GOOD), timeout=PATIENCE_SECONDS, metadata=metadata), 4)
        return "OK"
      except grpc.RpcError as error:
        details = Details(error)
        return details.reason or details.code

  def test_certificates_are_required(self):
    _, alice = self.create("urn:alice", "--limit", "100")
    _, bob = self.create("bob", "--limit", "100")
    with self.serve("mtls", True) as server:
      at = server.address
      self.assertEqual(self.ask(at, "bob"), "OK")
      self.assertEqual(self.ask(at, "alice"), "OK")
      self.assertEqual(self.ask(at, "alice", alice), "OK")
      self.assertEqual(self.spent(), 3)
      for row, expected in {
          (None, None): "UNAVAILABLE",
          (None, bob): "UNAVAILABLE",
          ("forged", None): "UNAVAILABLE",
          ("forged", bob): "UNAVAILABLE",
          ("expired", None): "UNAVAILABLE",
          ("nameless", None): "CERTIFICATE_NAME",
          ("bob", alice): "IDENTITY_MISMATCH",
          ("bob", "nonsense"): "TOKEN_UNKNOWN",
      }.items():
        with self.subTest(row=row):
          self.assertEqual(self.ask(at, *row), expected)
      self.assertEqual(self.ask(at, "bob", trusts="foreign"), "UNAVAILABLE")
      self.assertEqual(self.ask(at, token=bob, plaintext=True), "UNAVAILABLE")
      self.assertEqual(self.spent(), 3, "a refused caller was charged")
      # The owner's own probe needs no account: it shows the server's certificate, which the same authority issued.
      probe = run("healthcheck", "--listen", at, "--auth", "mtls", "--ledger", self.ledger, "--tls-cert",
                  self.shared / "server.pem", "--tls-key", self.shared / "server.key", "--client-ca",
                  self.shared / "ca.pem")
      self.assertEqual((probe.returncode, probe.stdout), (0, "SERVING\n"), probe.stderr)

  def test_tokens_are_required_and_certificates_must_agree(self):
    _, alice = self.create("urn:alice", "--limit", "100")
    _, bob = self.create("bob", "--limit", "100")
    _, short = self.create("bob", "--expires", "1s")
    time.sleep(1)
    with self.serve("tokens", True) as server:
      at = server.address
      self.assertEqual(self.ask(at, token=bob), "OK")
      self.assertEqual(self.ask(at, "bob", bob), "OK")
      for row, expected in {
          (None, None): "TOKEN_MISSING",
          ("bob", None): "TOKEN_MISSING",
          (None, "gradoracle_" + "0" * 64): "TOKEN_UNKNOWN",
          (None, short): "TOKEN_EXPIRED",
          ("bob", alice): "IDENTITY_MISMATCH",
          ("nameless", bob): "CERTIFICATE_NAME",
          ("forged", bob): "UNAVAILABLE",
          ("expired", bob): "UNAVAILABLE",
      }.items():
        with self.subTest(row=row):
          self.assertEqual(self.ask(at, *row), expected)
      self.assertEqual(self.ask(at, token=bob, plaintext=True), "UNAVAILABLE")
      self.assertEqual(self.spent(), 2, "a refused caller was charged")

  def test_old_versions_of_tls_are_refused(self):
    self.create("bob", "--limit", "100")
    with self.serve("tokens", False) as server:
      for version, taken in {"tls1": False, "tls1_1": False, "tls1_2": True, "tls1_3": True}.items():
        with self.subTest(version):
          completed = subprocess.run(
              ["openssl", "s_client", "-connect", server.address, f"-{version}", "-cipher", "DEFAULT:@SECLEVEL=0",
               "-CAfile", self.shared / "ca.pem"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
              timeout=PATIENCE_SECONDS)
          self.assertEqual("Cipher is (NONE)" not in completed.stdout, taken, completed.stdout)

  def test_new_certificates_need_no_restart(self):
    _, bob = self.create("bob", "--limit", "100")
    certificate, key = self.folder / "c.pem", self.folder / "k.pem"
    certificate.write_bytes((self.shared / "server.pem").read_bytes())
    key.write_bytes((self.shared / "server.key").read_bytes())
    self.foreign.issue("next", "IP:127.0.0.1")
    with OracleProcess("--data", self.data, "--ledger", self.ledger, "--auth", "tokens", "--tls-cert", certificate,
                       "--tls-key", key) as server:
      self.assertIn("chmod 600", server.log())
      self.assertEqual(self.ask(server.address, token=bob), "OK")
      for source, target in (("next.pem", certificate), ("next.key", key)):
        # While certificate and key do not fit, the former pair serves.
        self.assertEqual(self.ask(server.address, token=bob), "OK")
        fresh = self.folder / "fresh"
        fresh.write_bytes((self.shared / source).read_bytes())
        fresh.rename(target)
      self.assertEqual(self.ask(server.address, token=bob, trusts="foreign"), "OK")
      self.assertEqual(self.ask(server.address, token=bob), "UNAVAILABLE")
      self.assertIn("serving with new certificates", server.log())

  # The verbs, without a server and with one; what they change counts for the very next call.
  def test_tokens_are_given_and_taken_while_serving(self):
    self.create("early", "--limit", "10")
    with OracleProcess("--data", self.data, "--ledger", self.ledger, "--auth", "tokens") as server:
      ask = lambda token: self.ask(server.address, token=token, plaintext=True)
      first_id, first = self.create("bob", "--limit", "10")
      _, second = self.create("bob")
      self.assertEqual((ask(first), ask(second)), ("OK", "OK"))
      self.token("revoke", "--token", first_id)
      self.assertEqual((ask(first), ask(second)), ("TOKEN_REVOKED", "OK"))
      self.token("revoke", "--principal", "bob")
      self.assertEqual(ask(second), "TOKEN_REVOKED")
      self.token("grant", "--principal", "bob", "--limit", "4")
      _, third = self.create("bob")
      self.assertEqual((ask(third), ask(second)), ("OK", "TOKEN_REVOKED"))  # 4 spent: nothing came back
      self.assertEqual(ask(third), "BUDGET_EXHAUSTED")
      self.token("grant", "--principal", "bob", "--limit", "5")
      self.assertEqual(ask(third), "OK")
      self.token("grant", "--principal", "bob", "--limit", "unlimited")
      self.token("cap", "--limit", "6")
      self.assertEqual((ask(third), ask(third)), ("OK", "DATASET_BUDGET_EXHAUSTED"))
      self.assertEqual(self.token("revoke", "--token", "nonesuch", code=2)["error"]["reason"], "TOKEN_NOT_FOUND")
      socket = self.folder / "ledger.db.admin" / "socket"
      self.assertTrue(socket.is_socket())
      self.assertEqual(socket.parent.stat().st_mode & 0o777, 0o700)
      server.signal()
      self.assertEqual(server.wait(), 0)
      self.assertFalse(socket.parent.exists())
    listing = self.token("list")
    self.assertEqual({account["principal"]: account["spent"] for account in listing["accounts"]}, {"early": 0, "bob": 6})
    self.assertEqual(listing["dataset"], {"limit": 6, "spent": 6, "remaining": 0})
    self.assertEqual([token["state"] for token in listing["tokens"] if token["id"] == first_id], ["revoked"])

  # The verbs write to the database themselves; servers look there every second.
  def test_servers_on_postgresql_notice_what_the_owner_does(self):
    with PostgresqlProcess() as database:
      self.ledger = database.url
      _, early = self.create("early", "--limit", "1000")
      with OracleProcess("--data", self.data, "--ledger", self.ledger, "--auth", "tokens") as server:
        ask = lambda token: self.ask(server.address, token=token, plaintext=True)
        self.assertEqual(ask(early), "OK")
        bob_id, bob = self.create("bob", "--limit", "1000")
        wait_until(lambda: ask(bob) == "OK", "a new token")
        self.token("revoke", "--token", bob_id)
        wait_until(lambda: ask(bob) == "TOKEN_REVOKED", "a revocation")
        self.token("revoke", "--principal", "early")
        wait_until(lambda: ask(early) == "TOKEN_REVOKED", "a principal's revocation")
      self.assertEqual({account["principal"] for account in self.token("list")["accounts"]}, {"early", "bob"})

  def test_a_killed_server_leaves_no_obstacle(self):
    self.create("bob", "--limit", "10")
    with OracleProcess("--data", self.data, "--ledger", self.ledger, "--auth", "tokens") as server:
      server.signal(signal.SIGKILL)
      server.wait()
    _, token = self.create("bob")
    with OracleProcess("--data", self.data, "--ledger", self.ledger, "--auth", "tokens") as server:
      self.assertEqual(self.ask(server.address, token=token, plaintext=True), "OK")
      self.create("bob")

  def test_the_client_shows_tokens_and_tells_budgets(self):
    self.create("bob", "--limit", "10")
    token_file = next(self.folder.glob("bob-*.token"))
    with self.serve("tokens", False) as server:
      to = ["--oracle", server.address, "--tls-ca", self.shared / "ca.pem"]
      refused = client("budget", *to)
      self.assertEqual(refused.returncode, 3, refused.stderr)
      environment = {"GRADORACLE_TOKEN_FILE": str(token_file)}
      result = client("budget", *to, "--json", environment=environment)
      self.assertEqual(json.loads(result.stdout), {"limit": 10, "spent": 0, "remaining": 10, "unit": "gradients"})
      query = ["query", *to, "--token-file", token_file, "--weights", "zeros", "--batch-size", 64, "--out",
               self.folder / "g.npy"]
      self.assertEqual(client(*query, "--count", 8).returncode, 0)
      refused = client(*query, "--count", 3, "--json")
      self.assertEqual(refused.returncode, 3)
      error = json.loads(refused.stdout)["error"]
      self.assertEqual((error["code"], error["reason"]), ("RESOURCE_EXHAUSTED", "BUDGET_EXHAUSTED"))
      for number in ("limit 10", "spent 8", "requested 3", "remaining 2"):
        self.assertIn(number, error["message"])
      self.token("grant", "--principal", "bob", "--limit", "50000")
      # Many chunks: refused as a whole, nothing spent on the first of them.
      refused = client(*query, "--count", 60000, "--json")
      self.assertEqual(json.loads(refused.stdout)["error"]["reason"], "BUDGET_EXHAUSTED")
      self.assertIn("spent      8", client("budget", *to, "--token-file", token_file).stdout)
      untrusted = client("info", "--oracle", server.address, "--tls-ca", self.shared / "foreign.pem")
      self.assertEqual(untrusted.returncode, 4)
      self.assertIn("not vouched for by tls_ca", untrusted.stderr)

  def test_refuses_to_start_half_secured(self):
    tls = ["--tls-cert", self.shared / "server.pem", "--tls-key", self.shared / "server.key"]
    for flags, word in (
        (["--auth", "tokens"], "--ledger memory"),
        (["--auth", "mtls", *tls, "--ledger", self.ledger], "--client-ca"),
        (["--tls-cert", self.shared / "server.pem"], "--tls-key"),
        (["--tls-cert", self.shared / "server.pem", "--tls-key", self.shared / "bob.key"], "not the key"),
        (["--tls-cert", self.shared / "expired.pem", "--tls-key", self.shared / "expired.key"], "expired"),
        (["--tls-cert", self.shared / "none.pem", "--tls-key", self.shared / "bob.key"], "none.pem"),
        (["--listen", "0.0.0.0:0", *tls], "no --auth"),
        (["--listen", "0.0.0.0:0", "--auth", "tokens", "--ledger", self.ledger], "no TLS"),
    ):
      for verb in ("serve", "check-config"):
        with self.subTest(flags=flags, verb=verb):
          completed = run(verb, "--data", self.data, *flags)
          self.assertEqual(completed.returncode, 2, completed.stderr)
          self.assertIn(word, completed.stderr)
    completed = run("token", "list", "--ledger", "memory")
    self.assertEqual(completed.returncode, 2)
    self.assertIn("knows no tokens", completed.stderr)
    deep = self.folder / ("d" * 100)
    deep.mkdir()
    completed = run("token", "create", "--principal", "p", "--limit", "1", "--out", self.folder / "t", "--ledger",
                    f"sqlite:{deep}/ledger.db")
    self.assertEqual(completed.returncode, 2)
    self.assertIn("107", completed.stderr)

  def test_reflection_is_off_where_callers_are_asked_who_they_are(self):
    self.create("bob", "--limit", "10")
    for flags, code in (([], grpc.StatusCode.UNIMPLEMENTED), (["--reflection"], None)):
      with OracleProcess("--data", self.data, "--ledger", self.ledger, "--auth", "tokens", *flags) as server:
        call = server.channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        try:
          list(call(iter([b"\x3a\x00"]), timeout=PATIENCE_SECONDS))
          found = None
        except grpc.RpcError as error:
          found = error.code()
        self.assertEqual(found, code)
        self.assertEqual(server.health(), "SERVING")  # probes have no token

  # Would catch: a token in a log line, an error, an argument list, the environment, the ledger's files, a core dump.
  def test_a_token_is_found_nowhere(self):
    workspace = self.folder / "work"
    workspace.mkdir()
    token_id, canary = self.create("bob", "--limit", "1000")
    out = next(self.folder.glob("bob-*.token"))
    secret = canary.removeprefix("gradoracle_")
    seen = []
    environment = {"GRPC_VERBOSITY": "DEBUG", "GRPC_TRACE": "all"}
    with self.serve("tokens", True, "--log-level", "debug", "--log-format", "json", "--audit-log",
                    self.folder / "audit.log", "--admin-listen", "127.0.0.1:0", environment=environment) as server:
      for certificate in (None, "bob", "alice"):
        self.ask(server.address, certificate, canary)
      self.ask(server.address, token=canary + "0")
      self.ask(server.address, token=canary, plaintext=True)
      to = ["--oracle", server.address, "--tls-ca", self.shared / "ca.pem", "--token-file", out]
      for words in (["budget"], ["info", "--json"], ["query", "--weights", "zeros", "--batch-size", "1", "--count", "2",
                                                     "--out", self.folder / "g.npy"]):
        completed = client(*words, *to, environment=environment)
        seen += [completed.stdout, completed.stderr]
      create = ["token", "create", "--ledger", self.ledger, "--principal", "bob", "--out"]
      for arguments in ([*create, out], [*create, "/dev/stdout"], ["token", "list", "--ledger", self.ledger],
                        ["token", "revoke", "--ledger", self.ledger, "--token", canary],
                        ["token", "revoke", "--ledger", self.ledger, "--token", token_id]):
        completed = run(*arguments, environment=environment)
        seen += [completed.stdout, completed.stderr] if canary not in arguments else [completed.stdout]
      self.ask(server.address, token=canary)
      admin = next(line["address"] for line in map(json.loads, server.log().splitlines()) if line["msg"] == "admin port")
      with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{admin}/metrics") as metrics:
        seen.append(metrics.read().decode())
      self.assertIn("grpc_server_handled_total", seen[-1])
      for file in ("cmdline", "environ"):
        try:
          seen.append(pathlib.Path(f"/proc/{server.process.pid}/{file}").read_bytes().decode("latin1"))
        except PermissionError:  # the server hides them from its own user
          pass
      server.signal(signal.SIGABRT)
      self.assertEqual(server.wait(), -signal.SIGABRT)
      seen.append(server.log())
    files = [path for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".token"]
    self.assertLessEqual({"ledger.db", "audit.log"}, {path.name for path in files})
    self.assertEqual([path for path in files if path.name.startswith("core")], [])
    seen += [path.read_bytes().decode("latin1") for path in files]
    for text in seen:
      self.assertNotIn(secret, text)
    self.assertTrue(any(re.search("TOKEN_REVOKED|revoked", text) for text in seen))


if __name__ == "__main__":
  unittest.main()
