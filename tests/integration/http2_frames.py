"""HTTP/2 by hand (RFC 9113, RFC 7541), for callers that break its rules: frames are made of any bytes asked for."""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 3, 4, 5, 6


def frame(kind, flags=0, stream=0, payload=b"", length=None):
  """`length`: what is claimed instead of the payload's."""
  claimed = len(payload) if length is None else length
  return struct.pack(">I", claimed)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*pairs):
  return frame(SETTINGS, payload=b"".join(struct.pack(">HI", key, value) for key, value in pairs))


def hpack_integer(value, prefix_bits, first=0):
  limit = (1 << prefix_bits) - 1
  if value < limit:
    return bytes([first | value])
  encoded, value = [first | limit], value - limit
  while value >= 128:
    encoded.append(value % 128 + 128)
    value //= 128
  return bytes(encoded + [value])


def hpack_string(text):
  data = text if isinstance(text, bytes) else text.encode()
  return hpack_integer(len(data), 7) + data


def header(name, value):
  """A literal without indexing."""
  return b"\x00" + hpack_string(name) + hpack_string(value)


def request_headers(path, *extra, scheme="http", te="trailers", method="POST"):
  pairs = [(":method", method), (":scheme", scheme), (":path", path), (":authority", "oracle"), ("te", te),
           ("content-type", "application/grpc"), *extra]
  return b"".join(header(name, value) for name, value in pairs if value is not None)


def message(payload, compressed=0, length=None):
  """gRPC's framing of one message."""
  return struct.pack(">BI", compressed, len(payload) if length is None else length) + payload


def call(stream, path, payload, *extra):
  """The frames of one whole unary request."""
  return (frame(HEADERS, END_HEADERS, stream, request_headers(path, *extra)) +
          frame(DATA, END_STREAM, stream, message(payload)))


class RawConnection:
  """A TCP connection that says what it is told to. Every wait is bounded by `patience` seconds."""

  def __init__(self, address, source="127.0.0.2", patience=30, hello=True, receive_buffer=None):
    host, port = address.rsplit(":", 1)
    self.socket = socket.socket()
    self.socket.settimeout(patience)
    if receive_buffer:
      self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    self.socket.bind((source, 0))
    try:
      self.socket.connect((host, int(port)))
    except ConnectionResetError:  # refused so fast that connecting was not over yet: as if it had been, and ended
      self.socket.close()
      self.socket, other = socket.socketpair()
      other.close()
    if hello:
      self.send(PREFACE + settings())

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    self.close()

  def close(self):
    self.socket.close()

  def send(self, data):
    """Whether all of it went out; the server may have closed."""
    try:
      self.socket.sendall(data)
      return True
    except (ConnectionError, TimeoutError):
      return False

  def reset(self):
    self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    self.socket.close()

  def _receive(self, size):
    data = b""
    while len(data) < size:
      try:
        more = self.socket.recv(min(1 << 16, size - len(data)))
      except ConnectionError:
        return None
      if not more:
        return None
      data += more
    return data

  def read_frame(self):
    """(kind, flags, stream, payload), or None at the end of the connection. Raises TimeoutError."""
    head = self._receive(9)
    if head is None:
      return None
    payload = self._receive(int.from_bytes(head[:3], "big"))
    return None if payload is None else (head[3], head[4], int.from_bytes(head[5:], "big"), payload)

  def await_frame(self, kind, stream=None):
    """The first such frame; None when the connection ended before."""
    while (read := self.read_frame()) is not None:
      if read[0] == kind and stream in (None, read[2]):
        return read
    return None

  def send_within_windows(self, stream, data):
    """Sends `data` on a stream whose request headers were said, as fast as the server's flow control allows. Returns how
    much was sent when the server ended the stream or the connection, or stopped giving leave for the patience."""
    windows = {0: 65_535, stream: 65_535}
    sent = 0
    try:
      while sent < len(data):
        size = min(16_384, len(data) - sent, *windows.values())
        if size > 0:
          if not self.send(frame(DATA, 0, stream, data[sent:sent + size])):
            break
          sent += size
          windows = {key: window - size for key, window in windows.items()}
          continue
        read = self.read_frame()
        if read is None or (read[0] == RST_STREAM and read[2] == stream):
          break
        kind, flags, of, payload = read
        if kind == WINDOW_UPDATE and of in windows:
          windows[of] += int.from_bytes(payload, "big")
        elif kind == PING and not flags & ACK:
          self.send(frame(PING, ACK, 0, payload))
        elif kind == SETTINGS and not flags & ACK:
          for offset in range(0, len(payload), 6):
            key, value = struct.unpack_from(">HI", payload, offset)
            if key == INITIAL_WINDOW_SIZE:
              windows[stream] += value - 65_535  # of the first settings; later ones do not change it
          self.send(frame(SETTINGS, ACK))
    except TimeoutError:
      pass
    return sent

  def drain(self):
    """Reads until the server has closed; raises TimeoutError if it does not."""
    try:
      while self.socket.recv(1 << 16):
        pass
    except ConnectionError:
      pass
