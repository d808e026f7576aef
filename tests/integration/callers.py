"""What callers say to an oracle whose connections are tested."""

from gradoracle.v1 import oracle_pb2, oracle_pb2_grpc
from oracle_process import PATIENCE_SECONDS, channel_to

DIMENSION = 4
WEIGHTS = [0.1] * DIMENSION
UNARY = "/gradoracle.v1.OracleService/GetGradient"
INFO = "/gradoracle.v1.OracleService/GetInfo"
STREAM = "/gradoracle.v1.OracleService/StreamGradients"


def unary_request(**more):
  return oracle_pb2.GetGradientRequest(weights=WEIGHTS, batch_size=32, **more)


def stream_request(count=1_000_000):
  return oracle_pb2.StreamGradientsRequest(weights=WEIGHTS, batch_size=32, count=count).SerializeToString()


def ask(address, **more):
  """One honest call on a connection of its own."""
  with channel_to(address) as channel:
    stub = oracle_pb2_grpc.OracleServiceStub(channel)
    return stub.GetGradient(unary_request(**more), timeout=PATIENCE_SECONDS, wait_for_ready=True).gradient
