#include "worker/plan_process.h"

#include <optional>
#include <utility>

#include "base/error.h"
#include "worker/channel.h"

namespace kraken {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLookForCancel{50}, kFatePatience{300}, kFarewell{2000};
// TensorRT looks whether it was cancelled between two kernels that it times.
constexpr milliseconds kCancelPatience{500};

class PlanConversation {
 public:
  PlanConversation(const PlanOptions& options, const WorkerLaunch& launch, const PlanProgress& progress)
      : options_(options),
        launch_(launch),
        progress_(progress),
        sockets_(make_socket_pair()),
        channel_(std::move(sockets_.first)),
        process_(launch, sockets_.second) {
    sockets_.second = Descriptor();
  }

  std::string hold() {
    channel_.post({MessageType::Hello, Hello{.build = build_id()}});
    const auto greeted_by = Clock::now() + launch_.start_timeout;
    auto next_beat = Clock::now() + launch_.heartbeat;
    for (int silent = 0; !facts_;) {
      const bool open =
          channel_.pump(kLookForCancel, [this](MessageType type, Reader& message) { handle(type, message); });
      if (!open && !facts_) lost();
      if (!progress_(done_)) cancel();
      const auto now = Clock::now();
      if (!greeted_ && now >= greeted_by) {
        throw Error("ERR_NATIVE_LOAD", launch_.path + " did not say hello: " + kWorkerRemedy);
      }
      if (now < next_beat) continue;
      next_beat = now + launch_.heartbeat;
      silent = std::exchange(heard_, false) ? 0 : silent + 1;
      if (greeted_ && silent >= launch_.missed_heartbeats) {
        throw Error("ERR_BACKEND_FAILED", "kraken-worker has given no sign of life for " +
                                              std::to_string((launch_.heartbeat * silent).count()) +
                                              " ms while it built: it hangs or was stopped");
      }
      if (greeted_ && !std::exchange(asked_, true)) channel_.post(Frame(MessageType::Ping));
    }
    channel_.close();
    process_.end(kFarewell);
    return *facts_;
  }

 private:
  void handle(MessageType type, Reader& message) {
    heard_ = true;
    if (!greeted_ && type != MessageType::Hello && type != MessageType::Failed) {
      garbled("no hello came first");
    }
    switch (type) {
      case MessageType::Hello: {
        Hello hello;
        read_all(message, hello);
        check_hello(hello);
        greeted_ = true;
        return channel_.post({MessageType::Build, options_});
      }
      case MessageType::Failed: {
        Failure failure;
        read_all(message, failure);
        throw Error(failure.code, failure.message);
      }
      case MessageType::BuildProgress:
        return read_all(message, done_);
      case MessageType::Built:
        return read_all(message, facts_.emplace());
      case MessageType::Pong:
        message.end();
        asked_ = false;
        return;
      default:
        garbled("type " + std::to_string(static_cast<int>(type)) + " is not of a build");
    }
  }

  [[noreturn]] void cancel() {
    channel_.close();
    process_.end(kCancelPatience);
    throw Error("ERR_ABORTED", "the build was cancelled");
  }

  [[noreturn]] void lost() {
    process_.ended(kFatePatience);
    if (!greeted_) {
      throw Error("ERR_NATIVE_LOAD",
                  launch_.path + " " + process_.fate() + " before it said hello: " + kWorkerRemedy);
    }
    throw Error("ERR_BACKEND_FAILED",
                "kraken-worker " + process_.fate() +
                    " while TensorRT built a plan; KRAKEN_TENSORRT_LOG=verbose shows what it did last");
  }

  const PlanOptions& options_;
  const WorkerLaunch& launch_;
  const PlanProgress& progress_;
  std::pair<Descriptor, Descriptor> sockets_;
  Channel channel_;
  WorkerProcess process_;
  bool greeted_ = false, heard_ = false, asked_ = false;
  double done_ = 0;
  std::optional<std::string> facts_;
};

}  // namespace

std::string build_plans_in_worker(const PlanOptions& options, const WorkerLaunch& launch,
                                  const PlanProgress& progress) {
  return PlanConversation(options, launch, progress).hold();
}

}  // namespace kraken
