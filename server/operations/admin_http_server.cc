#include "server/operations/admin_http_server.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "civetweb.h"
#include "core/errors.h"
#include "prometheus/collectable.h"
#include "prometheus/text_serializer.h"

namespace gradoracle {
namespace {

// Few and short: a probe and a scrape now and then.
constexpr char kThreads[] = "4";
constexpr char kTimeoutMilliseconds[] = "5000";

struct Reply {
  int code;
  absl::string_view reason;
  std::string body;
  absl::string_view type = "text/plain; charset=utf-8";
};

class CivetServer final : public AdminHttpServer {
 public:
  CivetServer(Collectables collectables, Readiness readiness)
      : collectables_(std::move(collectables)), readiness_(std::move(readiness)) {
    mg_init_library(0);
  }
  ~CivetServer() override {
    if (context_ != nullptr) mg_stop(context_);
    mg_exit_library();
  }

  bool Listen(const ListenAddress& address) {
    address_ = address;
    // civetweb takes addresses only, no names.
    const std::string port =
        (address.host == "localhost" ? ListenAddress{"127.0.0.1", address.port} : address).ToString();
    const char* const options[] = {"listening_ports",
                                   port.c_str(),
                                   "num_threads",
                                   kThreads,
                                   "request_timeout_ms",
                                   kTimeoutMilliseconds,
                                   "max_request_size",
                                   "4096",
                                   "enable_keep_alive",
                                   "no",
                                   nullptr};
    mg_callbacks callbacks{};
    // civetweb complains of broken clients on stderr; they are none of the log's business.
    callbacks.log_message = [](const mg_connection*, const char*) { return 1; };
    context_ = mg_start(&callbacks, this, const_cast<const char**>(options));
    if (context_ == nullptr) return false;
    mg_set_request_handler(context_, "**", Handle, this);
    std::array<mg_server_port, 2> ports{};
    if (mg_get_server_ports(context_, ports.size(), ports.data()) > 0) address_.port = ports[0].port;
    return true;
  }

  ListenAddress address() const override { return address_; }

 private:
  static int Handle(mg_connection* connection, void* self) {
    const mg_request_info* const request = mg_get_request_info(connection);
    const Reply reply =
        static_cast<const CivetServer*>(self)->Answer(request->request_method == nullptr ? "" : request->request_method,
                                                      request->local_uri == nullptr ? "" : request->local_uri);
    const std::string text =
        absl::StrCat("HTTP/1.1 ", reply.code, " ", reply.reason, "\r\nContent-Type: ", reply.type,
                     "\r\nContent-Length: ", reply.body.size(),
                     "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
                     absl::string_view(request->request_method) == "HEAD" ? "" : reply.body);
    mg_write(connection, text.data(), text.size());
    return reply.code;
  }

  Reply Answer(absl::string_view method, absl::string_view path) const {
    if (method != "GET" && method != "HEAD") return {405, "Method Not Allowed", "only GET\n"};
    if (path == "/livez") return {200, "OK", "ok\n"};
    if (path == "/readyz") {
      const std::vector<std::string> obstacles = readiness_();
      if (obstacles.empty()) return {200, "OK", "ok\n"};
      return {503, "Service Unavailable", absl::StrCat(absl::StrJoin(obstacles, "\n"), "\n")};
    }
    if (path == "/metrics") {
      std::vector<prometheus::MetricFamily> families;
      for (const auto& collectable : collectables_) {
        for (prometheus::MetricFamily& family : collectable->Collect()) families.push_back(std::move(family));
      }
      return {200, "OK", prometheus::TextSerializer().Serialize(families), "text/plain; version=0.0.4; charset=utf-8"};
    }
    return {404, "Not Found", "here are /metrics, /livez and /readyz\n"};
  }

  const Collectables collectables_;
  const Readiness readiness_;
  ListenAddress address_;
  mg_context* context_ = nullptr;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AdminHttpServer>> AdminHttpServer::Start(const ListenAddress& address,
                                                                        Collectables collectables,
                                                                        Readiness readiness) {
  auto server = std::make_unique<CivetServer>(std::move(collectables), std::move(readiness));
  if (server->Listen(address)) return server;
  return MakeError(absl::StatusCode::kUnavailable, "LISTEN_FAILED", "admin_listen",
                   absl::StrCat("--admin-listen ", address.ToString(),
                                ": cannot listen there. The port may be taken, or the host is not an address of this "
                                "machine (names other than localhost are not looked up here)"));
}

}  // namespace gradoracle
