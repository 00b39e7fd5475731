"""zeromq.py SAMPLES TIMES: GB/s of a NumPy array, SAMPLES x 3 x 32 x 32 of binary32, pickled and
sent over ZeroMQ on loopback from one process to another, TIMES times."""

import multiprocessing
import pickle
import sys
import time

import numpy
import zmq


def serve(shape, ports):
    socket = zmq.Context().socket(zmq.REP)
    ports.put(socket.bind_to_random_port("tcp://127.0.0.1"))
    array = numpy.random.default_rng(1).random(shape, numpy.float32)
    while socket.recv() == b"next":
        socket.send(pickle.dumps(array))
    socket.send(b"")


def main():
    shape, times = (int(sys.argv[1]), 3, 32, 32), int(sys.argv[2])
    ports = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(shape, ports))
    server.start()
    socket = zmq.Context().socket(zmq.REQ)
    socket.connect("tcp://127.0.0.1:%d" % ports.get())

    def fetch():
        socket.send(b"next")
        return pickle.loads(socket.recv())

    fetch()
    start = time.time()
    total = sum(fetch().nbytes for _ in range(times))
    print(total / (time.time() - start) / 1e9)
    socket.send(b"end")
    socket.recv()
    server.join()


if __name__ == "__main__":
    main()
