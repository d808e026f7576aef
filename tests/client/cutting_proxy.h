#ifndef GRADORACLE_TESTS_CLIENT_CUTTING_PROXY_H_
#define GRADORACLE_TESTS_CLIENT_CUTTING_PROXY_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace gradoracle {

// A TCP proxy on loopback that cuts connections: connection i (from 0) goes to port upstream_port(i), at most budget(i)
// bytes of it pass from server to client, then both sides are closed.
class CuttingProxy {
 public:
  static constexpr int64_t kUncut = INT64_MAX;

  CuttingProxy(int upstream_port, std::function<int64_t(int connection)> budget)
      : CuttingProxy([upstream_port](int) { return upstream_port; }, std::move(budget)) {}
  CuttingProxy(std::function<int(int connection)> upstream_port, std::function<int64_t(int connection)> budget)
      : upstream_port_(std::move(upstream_port)),
        budget_(std::move(budget)),
        listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_, 64), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }

  ~CuttingProxy() {
    stopping_ = true;
    acceptor_.join();
    for (std::thread& pump : pumps_) pump.join();
    close(listener_);
  }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  int connections() const { return connections_; }
  int cuts() const { return cuts_; }

 private:
  static sockaddr_in Loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    return address;
  }

  void Accept() {
    while (!stopping_) {
      pollfd event{listener_, POLLIN, 0};
      if (poll(&event, 1, 20) <= 0) continue;
      const int client = accept(listener_, nullptr, nullptr);
      const int server = socket(AF_INET, SOCK_STREAM, 0);
      const int connection = connections_++;
      sockaddr_in address = Loopback(upstream_port_(connection));
      if (connect(server, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
        close(client);
        close(server);
        continue;
      }
      const int64_t budget = budget_(connection);
      pumps_.emplace_back([this, client, server, budget] { Pump(client, server, budget); });
    }
  }

  void Pump(int client, int server, int64_t budget) {
    std::vector<char> buffer(1 << 16);
    bool open = true;
    while (open && !stopping_) {
      pollfd events[2] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
      if (poll(events, 2, 20) <= 0) continue;
      for (int side = 0; side < 2 && open; ++side) {
        if (events[side].revents == 0) continue;
        ssize_t got = read(events[side].fd, buffer.data(), buffer.size());
        if (got <= 0) open = false;
        if (side == 1 && got > budget) {
          got = budget;
          ++cuts_;
        }
        for (ssize_t sent = 0; sent < got;) {
          const ssize_t part = send(events[1 - side].fd, buffer.data() + sent, got - sent, MSG_NOSIGNAL);
          if (part <= 0) open = false;
          if (part <= 0) break;
          sent += part;
        }
        if (side == 1 && budget != kUncut) {
          budget -= got;
          if (budget <= 0) open = false;
        }
      }
    }
    close(client);
    close(server);
  }

  const std::function<int(int)> upstream_port_;
  const std::function<int64_t(int)> budget_;
  const int listener_;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> connections_{0};
  std::atomic<int> cuts_{0};
  std::thread acceptor_;
  std::vector<std::thread> pumps_;
};

}  // namespace gradoracle

#endif  // GRADORACLE_TESTS_CLIENT_CUTTING_PROXY_H_
