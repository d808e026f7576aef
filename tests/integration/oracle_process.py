"""Starts the real gradoracle-server on loopback and talks to it as any Python user would.

Every wait is bounded. Ports are always chosen by the system.
"""

import os
import pathlib
import signal
import subprocess
import tempfile
import time

import grpc
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from gradoracle.v1 import oracle_pb2, oracle_pb2_grpc

SERVER = os.environ["GRADORACLE_TEST_SERVER"]
STUBS = pathlib.Path(os.environ["GRADORACLE_TEST_STUBS"])
# For starting, loading and stopping: generous, since sanitizers and busy machines are slow.
PATIENCE_SECONDS = 60
ORACLE_SERVICE = "gradoracle.v1.OracleService"
HEALTH_SERVICE = "grpc.health.v1.Health"


def _standard_messages():
  pool = descriptor_pool.DescriptorPool()
  files = descriptor_pb2.FileDescriptorSet.FromString((STUBS / "standard.descriptors").read_bytes())
  for file in files.file:
    pool.Add(file)
  factory = message_factory.MessageFactory(pool)
  return lambda name: factory.GetPrototype(pool.FindMessageTypeByName(name))


message = _standard_messages()


def clean_environment(extra=None):
  """This process's environment without any setting of gradoracle and without proxies."""
  environment = {
      key: value
      for key, value in os.environ.items()
      if not key.startswith("GRADORACLE_") and not key.lower().endswith("_proxy")
  }
  environment.update(extra or {})
  return environment


def run(*arguments, environment=None, cwd=None):
  """Runs the program to its end; returns the completed process with text output."""
  return subprocess.run(
      [SERVER, *map(str, arguments)],
      env=clean_environment(environment),
      cwd=cwd,
      capture_output=True,
      text=True,
      timeout=PATIENCE_SECONDS,
  )


def wait_until(condition, what):
  deadline = time.monotonic() + PATIENCE_SECONDS
  while time.monotonic() < deadline:
    if condition():
      return
    time.sleep(0.02)
  raise AssertionError(f"{what}: not within {PATIENCE_SECONDS} s")


def channel_to(address):
  return grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0),
                                                 ("grpc.use_local_subchannel_pool", 1)])


class OracleProcess:
  """A gradoracle-server of its own: `with OracleProcess("--data", path) as server: ...`."""

  def __init__(self, *arguments, environment=None, listen="127.0.0.1:0", wait=True, program=(SERVER,)):
    self._folder = tempfile.TemporaryDirectory()
    folder = pathlib.Path(self._folder.name)
    self.port_file = folder / "port"
    self._log_path = folder / "log"
    placed = ["--port-file", str(self.port_file)] + (["--listen", listen] if listen else [])
    with open(self._log_path, "wb") as log:
      self.process = subprocess.Popen(
          [*program, *map(str, arguments), *placed],
          env=clean_environment(environment),
          stdout=subprocess.DEVNULL,
          stderr=log,
      )
    self._channel = None
    if wait:
      try:
        wait_until(lambda: self.port_file.exists() or self.process.poll() is not None, "server start")
        if self.process.poll() is not None:
          raise AssertionError(f"server exited with {self.process.returncode}: {self.log()}")
      except BaseException:
        self.close()
        raise

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    self.close()

  def close(self):
    if self._channel is not None:
      self._channel.close()
    if self.process.poll() is None:
      self.process.kill()
    self.process.wait(PATIENCE_SECONDS)
    self._folder.cleanup()

  def log(self):
    return self._log_path.read_text()

  @property
  def address(self):
    return self.port_file.read_text().strip()

  @property
  def channel(self):
    if self._channel is None:
      self._channel = channel_to(self.address)
    return self._channel

  @property
  def stub(self):
    return oracle_pb2_grpc.OracleServiceStub(self.channel)

  def info(self):
    return self.stub.GetInfo(oracle_pb2.GetInfoRequest(), timeout=PATIENCE_SECONDS)

  def health(self, service=ORACLE_SERVICE):
    """Name of the serving status; raises grpc.RpcError."""
    check = self.channel.unary_unary(
        f"/{HEALTH_SERVICE}/Check",
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=message("grpc.health.v1.HealthCheckResponse").FromString,
    )
    request = message("grpc.health.v1.HealthCheckRequest")(service=service)
    response = check(request, timeout=PATIENCE_SECONDS)
    return response.DESCRIPTOR.fields_by_name["status"].enum_type.values_by_number[response.status].name

  def signal(self, number=signal.SIGTERM):
    self.process.send_signal(number)

  def wait(self):
    return self.process.wait(PATIENCE_SECONDS)


def stream_request(weights, batch_size, count, **more):
  return oracle_pb2.StreamGradientsRequest(weights=weights, batch_size=batch_size, count=count, **more)


def collect(call, dimension):
  """All gradients of a stream as an (m, d) array; checks that the chunks follow each other."""
  blocks, received = [], 0
  for chunk in call:
    block = np.frombuffer(chunk.gradients, dtype="<f8").reshape(chunk.gradient_count, dimension)
    assert chunk.first_gradient == received, "chunks out of order"
    received += chunk.gradient_count
    blocks.append(block)
  return np.concatenate(blocks)


class Details:
  """Code, message, reason and field of a refused call (google.rpc details)."""

  def __init__(self, error):
    self.code = error.code().name
    self.message = error.details()
    self.reason, self.field = None, None
    trailers = dict(error.trailing_metadata() or ())
    status = message("google.rpc.Status").FromString(trailers.get("grpc-status-details-bin", b""))
    for packed in status.details:
      name = packed.type_url.split("/")[-1]
      detail = message(name).FromString(packed.value)
      if name == "google.rpc.ErrorInfo":
        self.reason = detail.reason
        self.field = detail.metadata.get("field", self.field)
        assert detail.domain == "gradoracle", detail.domain
      elif name == "google.rpc.BadRequest":
        self.field = detail.field_violations[0].field
      elif name == "google.rpc.PreconditionFailure":
        self.field = detail.violations[0].subject

  def __repr__(self):
    return f"{self.code} {self.reason} {self.field}: {self.message}"


def write_csv(path, features, targets, target_name="y"):
  """A data set as CSV with columns f0 ... and the target last; numbers survive exactly."""
  header = ",".join([f"f{j}" for j in range(features.shape[1])] + [target_name])
  np.savetxt(path, np.column_stack([features, targets]), delimiter=",", header=header, comments="", fmt="%.17g")


def regression_data(row_count=500, dimension=4, deviation=0.5, seed=1):
  """Correlated features in odd units and a linear target with Gaussian noise of the given deviation."""
  generator = np.random.default_rng(seed)
  mixing = np.eye(dimension) + 0.3 * generator.standard_normal((dimension, dimension))
  features = generator.standard_normal((row_count, dimension)) @ mixing
  features = features * (1 + np.arange(dimension)) + 7.3
  targets = features @ np.linspace(1, -1, dimension) + deviation * generator.standard_normal(row_count)
  return features, targets


def standardise(features, targets):
  scale = lambda column: (column - column.mean(axis=0)) / column.std(axis=0)
  return scale(features), scale(targets)


def least_squares(features, targets):
  """Weights, residual variance (degrees of freedom N - rank) and Hessian X'X/N."""
  weights, _, rank, _ = np.linalg.lstsq(features, targets, rcond=None)
  residual_variance = np.sum((features @ weights - targets) ** 2) / (len(targets) - rank)
  return weights, residual_variance, features.T @ features / len(targets)
