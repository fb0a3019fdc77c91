#include "hosts/mpi/mpi_worker.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <cstdio>
#include <list>
#include <string>
#include <thread>
#include <utility>

#include "base/error.h"
#include "comm/mpi/mpi_communicator.h"
#include "hosts/hosted_executor.h"
#include "hosts/mpi/mpi_follower.h"
#include "hosts/mpi/mpi_ranks.h"
#include "worker/rendezvous.h"
#include "worker/worker_session.h"

namespace kraken {
namespace {

constexpr unsigned kSecondsToEnd = 2;  // then the system ends a rank that is lost and still computes

void settle() {
  signal(SIGINT, SIG_IGN);  // Ctrl-C is for rank 0's command to handle
  signal(SIGPIPE, SIG_IGN);
#ifdef __linux__
  prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
}

// One engine's conversation with the addon.
class ServedSession {
 public:
  ServedSession(Descriptor socket, const ExecutorLoader& load) {
    thread_ = std::thread([this, socket = std::move(socket), &load]() mutable {
      try {
        WorkerSession(std::move(socket), load, no_plans).run();
      } catch (const std::exception& error) {  // the other side has been told
        std::fprintf(stderr, "kraken-worker-mpi: %s\n", error.what());
      }
      over_ = true;
    });
  }
  ~ServedSession() { thread_.join(); }
  bool over() const { return over_; }

 private:
  static std::string no_plans(const PlanOptions&, const PlanProgress&) {
    throw Error("ERR_INTERNAL", "plans are built by kraken-worker");
  }

  std::atomic<bool> over_{false};
  std::thread thread_;
};

// Until standard input ends.
void lead(const MpiWorld& world, FramedCommunicator& control) {
  const Rendezvous rendezvous;
  MpiLeader leader{world, control, {}, 0};
  const MeetRanks meet = [&](const ExecutorOptions& options, const std::atomic<bool>*) {
    return std::make_unique<MpiRanks>(leader, options);
  };
  const ExecutorLoader load = [&](const ExecutorOptions& given, ResponseSink sink,
                                  const std::atomic<bool>* cancelled, QueueObserver observer) {
    ExecutorOptions options = given;
    options.hosts = world.places();
    return make_hosted_executor(options, meet, std::move(sink), cancelled, std::move(observer));
  };
  std::printf("%s", rendezvous.name().c_str());
  for (const std::string& host : world.hosts()) std::printf(" %s", host.c_str());
  std::printf("\n");
  std::fflush(stdout);
  std::list<ServedSession> sessions;
  for (;;) {
    pollfd polled[2] = {{rendezvous.get(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    if (poll(polled, 2, -1) < 0) continue;
    char ignored[64];
    if (polled[1].revents != 0 && ::read(STDIN_FILENO, ignored, sizeof ignored) <= 0) return;
    if (polled[0].revents == 0) continue;
    sessions.remove_if([](const ServedSession& session) { return session.over(); });
    Descriptor socket = rendezvous.accept();
    if (socket.get() >= 0) sessions.emplace_back(std::move(socket), load);
  }
}

int run(const MpiWorld& world) {
  bool lost = false;
  FramedGroupOptions options;
  options.on_lost = [&](int) {
    lost = true;
    if (world.rank() != 0) alarm(kSecondsToEnd);
  };
  const auto control = make_mpi_communicator(world.rank(), world.hosts(), mpi_channel(world, 0), options);
  int code = 0;
  try {
    world.rank() == 0 ? lead(world, *control) : follow_rank_zero(world, *control);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kraken-worker-mpi, rank %d: %s\n", world.rank(), error.what());
    control->abort(error.what());
    code = 2;
  }
  control->leave();
  return lost ? 2 : code;
}

}  // namespace

int mpi_worker_main(int argc, char** argv) {
  const std::string argument = argc == 2 ? argv[1] : "";
  if (argument == "--version") {
    std::printf("%s\n", worker_version().c_str());
    return 0;
  }
  if (argument != "--rank") {
    std::fprintf(
        stderr,
        "kraken-worker-mpi is started by kraken under mpirun or srun; by hand it has only --version\n");
    return 1;
  }
  settle();
  try {
    MpiWorld world(&argc, &argv);
    // MPI's own end waits for ranks that are lost, so it is left out then.
    if (const int code = run(world)) MpiWorld::leave_at_once(code);
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "kraken-worker-mpi: %s: %s\n", error.code().c_str(), error.what());
  }
  return 1;
}

}  // namespace kraken
