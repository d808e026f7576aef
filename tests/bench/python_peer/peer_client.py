"""The peer's client: gathers gradients into one array, then np.cov. Prints {"seconds": s} for the measured run."""

import argparse
import json
import os
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import grpc
import numpy as np

import peer_pb2
import peer_pb2_grpc


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--oracle", required=True)
    parser.add_argument("--dimension", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--form", choices=("stream", "unary"), required=True)
    args = parser.parse_args()
    dimension = args.dimension
    stub = peer_pb2_grpc.PeerOracleStub(grpc.insecure_channel(args.oracle))
    weights = np.zeros(dimension).tobytes()

    def unary(count):
        gradients = np.empty((count, dimension))
        for row in range(count):
            reply = stub.One(peer_pb2.Query(weights=weights, batch_size=args.batch_size))
            gradients[row] = np.frombuffer(reply.values)
        return gradients

    def stream(count):
        gradients = np.empty((count, dimension))
        row = 0
        query = peer_pb2.Query(weights=weights, batch_size=args.batch_size, count=count, gradients_per_message=32)
        for reply in stub.Many(query):
            block = np.frombuffer(reply.values).reshape(-1, dimension)
            gradients[row:row + len(block)] = block
            row += len(block)
        return gradients

    gather = unary if args.form == "unary" else stream
    np.cov(gather(64).T)  # connect, warm up
    start = time.perf_counter()
    hessian = np.cov(gather(args.count).T)
    seconds = time.perf_counter() - start
    assert hessian.shape == (dimension, dimension)
    print(json.dumps({"seconds": seconds, "trace": float(np.trace(hessian))}))


if __name__ == "__main__":
    main()
