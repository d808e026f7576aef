"""The peer's server: grpcio and NumPy, as a user would write it. Same data, same calibrated noise as gradoracle-server."""

import argparse
import os
from concurrent import futures

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # measured best: the matrices are small

import grpc
import numpy as np

import peer_pb2
import peer_pb2_grpc


class PeerOracle(peer_pb2_grpc.PeerOracleServicer):
    def __init__(self, path):
        data = np.load(path)
        data = (data - data.mean(axis=0)) / data.std(axis=0)
        self.features = np.ascontiguousarray(data[:, :-1])
        self.targets = np.ascontiguousarray(data[:, -1])
        gram = self.features.T @ self.features
        fit = np.linalg.solve(gram, self.features.T @ self.targets)
        residuals = self.targets - self.features @ fit
        self.residual_variance = residuals @ residuals / (len(data) - len(fit))
        self.random = np.random.default_rng()

    def gradient(self, weights, n):
        rows = self.random.integers(len(self.targets), size=n)
        batch = self.features[rows]
        noise = self.random.normal(0, np.sqrt(n - self.residual_variance), n)
        return batch.T @ (batch @ weights - self.targets[rows] - noise) / n

    def One(self, request, context):
        weights = np.frombuffer(request.weights)
        return peer_pb2.Gradients(values=self.gradient(weights, request.batch_size).tobytes())

    def Many(self, request, context):
        weights = np.frombuffer(request.weights)
        left = request.count
        while left > 0:
            block = min(left, request.gradients_per_message)
            gradients = [self.gradient(weights, request.batch_size) for _ in range(block)]
            yield peer_pb2.Gradients(values=np.concatenate(gradients).tobytes())
            left -= block


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--port-file", required=True)
    args = parser.parse_args()
    server = grpc.server(futures.ThreadPoolExecutor(8))
    peer_pb2_grpc.add_PeerOracleServicer_to_server(PeerOracle(args.data), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with open(args.port_file + ".new", "w") as file:
        file.write(f"127.0.0.1:{port}\n")
    os.rename(args.port_file + ".new", args.port_file)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
